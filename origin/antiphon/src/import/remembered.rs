//! What was uploaded before: one line of JSON for each upload, appended before its bytes are sent.
use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Account and digest name an upload; the last track begun for them is the one that counts.
#[derive(Serialize, Deserialize)]
struct Line {
    account: String,
    sha256: String,
    track: String,
}

/// The file and what stands in it.
pub(super) struct Remembered {
    path: PathBuf,
    kept: Mutex<Kept>,
}

struct Kept {
    file: File,
    tracks: HashMap<(String, String), String>,
}

impl Remembered {
    /// Reads the file; makes it where it is missing.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let open = || {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            File::options().read(true).append(true).create(true).open(path)
        };
        let file = open().with_context(|| format!("{} cannot be opened", path.display()))?;
        let mut tracks = HashMap::new();
        for line in BufReader::new(&file).lines() {
            let line = line.with_context(|| format!("{} cannot be read", path.display()))?;
            // A line cut off by a crash names an upload whose bytes were never sent.
            if let Ok(Line { account, sha256, track }) = serde_json::from_str(&line) {
                tracks.insert((account, sha256), track);
            }
        }
        Ok(Self { path: path.to_path_buf(), kept: Mutex::new(Kept { file, tracks }) })
    }

    /// The track begun for these bytes.
    pub(super) fn track(&self, account: &str, sha256: &str) -> Option<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.tracks.get(&(account.to_owned(), sha256.to_owned())).cloned()
    }

    /// Keeps a track that was begun.
    pub(super) fn keep(&self, account: &str, sha256: &str, track: &str) -> Result<()> {
        let line = serde_json::to_string(&Line { account: account.to_owned(), sha256: sha256.to_owned(), track: track.to_owned() })?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(kept.file, "\n{line}").with_context(|| format!("{} cannot be written", self.path.display()))?;
        kept.tracks.insert((account.to_owned(), sha256.to_owned()), track.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_that_was_killed_knows_what_it_had_begun() -> Result<()> {
        let path = std::env::temp_dir().join(format!("antiphon-imports-{}.jsonl", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Remembered::open(&path)?.keep("artist", "aa", "track-1")?;
        write!(File::options().append(true).open(&path)?, "{{\"account\":\"artist\",\"sha")?;
        Remembered::open(&path)?.keep("artist", "bb", "track-2")?;
        let remembered = Remembered::open(&path)?;
        assert_eq!(remembered.track("artist", "aa").as_deref(), Some("track-1"));
        assert_eq!(remembered.track("artist", "bb").as_deref(), Some("track-2"));
        assert_eq!(remembered.track("somebody else", "aa"), None);
        std::fs::remove_file(path)?;
        Ok(())
    }
}
