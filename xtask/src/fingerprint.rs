//! Whether something must be built again: a digest over its sources, kept in a stamp file beside what was built.
//!
//! Contents are hashed, not times: a fresh clone, a branch switch or a `touch` rebuilds nothing that did not change.
use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Directories that are made from the sources, never part of them.
const MADE: &[&str] = &["node_modules", "target", "build", "dist", ".wrangler", ".git"];

/// The digest of files and, below directories, of every file that is a source.
pub(crate) fn of(root: &Path, sources: &[&str], extra: &str) -> Result<String> {
    let mut files = Vec::new();
    for source in sources {
        collect(&root.join(source), &mut files)?;
    }
    files.sort();
    let mut digest = Sha256::new();
    digest.update(extra.as_bytes());
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        digest.update((name.len() as u64).to_be_bytes());
        digest.update(name.as_bytes());
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(&bytes);
    }
    Ok(hex::encode(digest.finalize()))
}

/// Whether the stamp already carries this digest.
pub(crate) fn matches(stamp: &Path, digest: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|known| known.trim() == digest)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.push(path.to_path_buf());
    } else if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("{} cannot be read", path.display()))? {
            let entry = entry?;
            if !MADE.iter().any(|made| entry.file_name() == *made) {
                collect(&entry.path(), files)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot write to the temporary directory should stop")]
    use super::*;

    #[test]
    fn only_a_change_of_a_source_changes_the_fingerprint() {
        let root = std::env::temp_dir().join(format!("antiphon-fingerprint-{}", std::process::id()));
        fs::create_dir_all(root.join("src")).unwrap();
        fs::create_dir_all(root.join("node_modules")).unwrap();
        fs::write(root.join("src/a"), "one").unwrap();
        let before = of(&root, &["."], "").unwrap();

        fs::write(root.join("node_modules/b"), "made").unwrap();
        assert_eq!(of(&root, &["."], "").unwrap(), before, "what was made from the sources does not count");
        assert_ne!(of(&root, &["."], "other tool").unwrap(), before, "another tool makes another artefact");
        fs::write(root.join("src/a"), "two").unwrap();
        assert_ne!(of(&root, &["."], "").unwrap(), before);
        fs::remove_dir_all(root).unwrap();
    }
}
