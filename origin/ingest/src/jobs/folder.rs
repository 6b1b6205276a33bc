//! A job's folder on disk. A worker that is killed leaves its folder behind; the lock in it, which the operating system lets go with the
//! process, tells the next one that it may be removed.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

const LOCK: &str = "lock";

/// A folder that is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// A new folder below `parent`, named for the receipt of a message.
    pub(crate) fn new(parent: &Path, fence: i64) -> io::Result<Self> {
        let path = parent.join(format!("job-{fence}"));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        let lock = File::create(path.join(LOCK))?;
        lock.try_lock().map_err(io::Error::other)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a job's folder stays");
        }
    }
}

/// Removes the folders of workers that are gone.
pub(crate) fn sweep(parent: &Path) -> io::Result<()> {
    fs::create_dir_all(parent)?;
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let alive = File::open(path.join(LOCK)).is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
        if !alive && path.is_dir() {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_that_nobody_holds_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let held = Folder::new(parent.path(), 1).unwrap();
        let left = parent.path().join("job-2");
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        sweep(parent.path()).unwrap();
        assert!(held.path().exists() && !left.exists());
        let path = held.path().to_owned();
        drop(held);
        assert!(!path.exists());
    }
}
