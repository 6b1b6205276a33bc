//! The tier that survives a restart: one immutable file an object, named by a hash of its key, below `state.dir/shield`.
//! Files come from finished fills and go to the next miss in memory. Everything here blocks, and is called off the request threads.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use protocol::UnixMs;
use sha2::{Digest as _, Sha256};

use super::{Key, lru::Lru};

/// The name of a file: half of a SHA-256 is plenty against accidents, and keys are ours.
type Name = [u8; 16];

pub(crate) struct Disk {
    dir: PathBuf,
    files: Mutex<Lru<Name, ()>>,
    bytes_max: u64,
    next_temporary: AtomicU64,
}

impl Disk {
    /// Takes over what a former process left, oldest first, and clears its unfinished files.
    pub(crate) fn open(dir: &Path, bytes_max: u64) -> io::Result<Self> {
        let disk = Self { dir: dir.to_owned(), files: Mutex::new(Lru::new(bytes_max)), bytes_max, next_temporary: AtomicU64::new(0) };
        if bytes_max == 0 {
            return Ok(disk);
        }
        // Another process may be about to hand over to this one (an upgrade), so only old leftovers are swept.
        fs::create_dir_all(disk.temporary_dir())?;
        for entry in fs::read_dir(disk.temporary_dir())?.flatten() {
            let abandoned =
                entry.metadata().and_then(|meta| meta.modified()).is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() > 60));
            if abandoned {
                let _ = fs::remove_file(entry.path());
            }
        }
        let mut found = disk.scan()?;
        found.sort_unstable();
        for (_, name, bytes) in found {
            disk.admit(name, bytes);
        }
        Ok(disk)
    }

    fn scan(&self) -> io::Result<Vec<(SystemTime, Name, u64)>> {
        let mut found = Vec::new();
        for fan in fs::read_dir(&self.dir)?.flatten() {
            let Ok(files) = fs::read_dir(fan.path()) else { continue };
            for file in files.flatten() {
                let name = file.file_name().to_str().and_then(parse_name);
                if let (Some(name), Ok(meta)) = (name, file.metadata()) {
                    found.push((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), name, meta.len()));
                }
            }
        }
        Ok(found)
    }

    /// The bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).bytes()
    }

    /// Whether the object is worth a look.
    pub(crate) fn may_have(&self, key: &Key) -> bool {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).get(&name(key)).is_some()
    }

    /// The object, when it is there and as long as its key says; its file then counts as used `now`.
    pub(crate) fn read(&self, key: &Key, now: UnixMs) -> Option<Bytes> {
        let name = name(key);
        let path = self.path(&name);
        let contents = fs::read(&path).ok().filter(|contents| key.length().is_none_or(|length| length == contents.len() as u64));
        match contents {
            Some(contents) => {
                // So that the next process takes files over in the order of their use.
                let used_at = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now.0).unwrap_or_default());
                let _ = fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(used_at));
                Some(contents.into())
            }
            None => {
                self.remove(key);
                None
            }
        }
    }

    /// Keeps an object: written aside, made durable, then renamed, so that a name never stands for half a file.
    pub(crate) fn write(&self, key: &Key, contents: &[u8]) -> io::Result<()> {
        if contents.len() as u64 > self.bytes_max {
            return Ok(());
        }
        let name = name(key);
        let path = self.path(&name);
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.temporary_dir().join(format!("{}-{}-{number}", hex::encode(name), std::process::id()));
        let written = (|| {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(contents)?;
            file.sync_data()?;
            if let Some(fan) = path.parent() {
                fs::create_dir_all(fan)?;
            }
            fs::rename(&temporary, &path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
        self.admit(name, contents.len() as u64);
        Ok(())
    }

    /// Forgets an object.
    pub(crate) fn remove(&self, key: &Key) {
        let name = name(key);
        self.files.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        let _ = fs::remove_file(self.path(&name));
    }

    fn admit(&self, name: Name, bytes: u64) {
        let left = self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(name, (), bytes);
        for name in left {
            let _ = fs::remove_file(self.path(&name));
        }
    }

    fn temporary_dir(&self) -> PathBuf {
        self.dir.join("unfinished")
    }

    /// Fanned out over 256 directories.
    fn path(&self, name: &Name) -> PathBuf {
        let text = hex::encode(name);
        let (fan, _) = text.split_at(2);
        self.dir.join(fan).join(&text)
    }
}

fn name(key: &Key) -> Name {
    let digest = Sha256::digest(key.to_string().as_bytes());
    let mut name = [0; 16];
    name.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    name
}

fn parse_name(text: &str) -> Option<Name> {
    hex::decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use protocol::{MediaVersion, Rung};

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_556_280_000);

    fn key(offset: u64) -> Key {
        Key::Range { version: MediaVersion([7; 16]), rung: Rung::Aac128, offset, length: 10 }
    }

    #[test]
    fn what_was_kept_is_there_after_a_restart_within_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path(), 30).unwrap();
        for offset in 0..4 {
            disk.write(&key(offset), &[offset as u8; 10]).unwrap();
        }
        assert_eq!(disk.bytes(), 30);
        assert_eq!(disk.read(&key(0), NOW), None);
        drop(disk);
        let disk = Disk::open(dir.path(), 30).unwrap();
        assert_eq!(disk.bytes(), 30);
        assert_eq!(disk.read(&key(3), NOW).as_deref(), Some([3; 10].as_slice()));
        drop(disk);
        assert_eq!(Disk::open(dir.path(), 10).unwrap().bytes(), 10);
    }

    #[test]
    fn a_file_of_the_wrong_length_is_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path(), 100).unwrap();
        disk.write(&key(0), &[1; 10]).unwrap();
        fs::write(disk.path(&name(&key(0))), [1; 4]).unwrap();
        assert!(disk.may_have(&key(0)));
        assert_eq!(disk.read(&key(0), NOW), None);
        assert!(!disk.may_have(&key(0)));
    }

    #[test]
    fn without_room_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(&dir.path().join("none"), 0).unwrap();
        disk.write(&key(0), &[1; 10]).unwrap();
        assert!(!dir.path().join("none").exists());
    }
}
