//! The state directory: everything a system makes while it runs. Only one system may use it at a time.
use std::{
    fs::{self, File, TryLockError},
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// Below this much free space a start is refused, before anything is half written.
const FREE_BYTES_MIN: u64 = 512 * 1024 * 1024;

/// An open state directory, locked until this process ends, however it ends.
pub(crate) struct State {
    directory: PathBuf,
    _lock: File,
}

impl State {
    /// Makes the directory where it is missing and takes its lock.
    ///
    /// # Errors
    /// When another system runs on it, or the disk is nearly full.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let cannot_make = || format!("the state directory {} cannot be made", directory.display());
        fs::create_dir_all(directory.join("log")).with_context(cannot_make)?;
        let directory = directory.canonicalize().with_context(cannot_make)?;
        // PostgreSQL runs as another user when we are root, and must be able to pass through to its own directory.
        let mode = directory.metadata()?.permissions().mode();
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode | 0o111)).with_context(cannot_make)?;

        let lock = lock(&directory)?;
        let free_bytes = rustix::fs::statvfs(&directory).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)).unwrap_or(u64::MAX);
        if free_bytes < FREE_BYTES_MIN {
            bail!(
                "the disk is nearly full: {} MiB are free for {}; free some space, or use another --state DIR",
                free_bytes >> 20,
                directory.display()
            );
        }
        // What a killed system left behind describes nothing that runs.
        let state = Self { directory, _lock: lock };
        for stale in ["run.json", "processes.json"] {
            state.remove(stale);
        }
        Ok(state)
    }

    /// A path below the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The log file of a part.
    pub(crate) fn log(&self, part: &str) -> PathBuf {
        self.directory.join("log").join(format!("{part}.log"))
    }

    /// Replaces a file as a whole: a reader sees the old text or the new one. Only this user may read it.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let (path, beside) = (self.path(name), self.path(&format!("{name}.new")));
        let written = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_data()))
            .and_then(|()| fs::rename(&beside, &path));
        written.with_context(|| format!("{} cannot be written", path.display()))
    }

    /// A file's text, or none when there is no such file.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>> {
        match fs::read_to_string(self.path(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", self.path(name).display())),
        }
    }

    /// Removes a file if it is there.
    pub(crate) fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.path(name));
    }
}

fn lock(directory: &Path) -> Result<File> {
    let path = directory.join("lock");
    let cannot = || format!("{} cannot be locked", path.display());
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).with_context(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            bail!("a system already runs on {} (process {}); stop it, or use another --state DIR", directory.display(), holder.trim());
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).with_context(cannot)?;
    Ok(file)
}

/// Random bytes from the kernel, as hex: passwords of things that only this machine reaches.
pub(crate) fn secret(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut buffer)).context("/dev/urandom cannot be read")?;
    Ok(hex::encode(buffer))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot write to the temporary directory should stop")]
    use super::*;

    #[test]
    fn a_second_system_on_the_same_state_is_refused_until_the_first_ends() {
        let directory = std::env::temp_dir().join(format!("antiphon-state-{}", std::process::id()));
        let first = State::open(&directory).unwrap();
        let refusal = State::open(&directory).err().unwrap().to_string();
        assert!(refusal.contains(&format!("(process {})", std::process::id())), "{refusal}");
        drop(first);
        State::open(&directory).unwrap();
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_private() {
        let directory = std::env::temp_dir().join(format!("antiphon-write-{}", std::process::id()));
        let state = State::open(&directory).unwrap();
        state.write("run.json", "old").unwrap();
        state.write("run.json", "new").unwrap();
        assert_eq!(state.read("run.json").unwrap().as_deref(), Some("new"));
        assert_eq!(state.path("run.json").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(state.read("absent").unwrap(), None);
        fs::remove_dir_all(directory).unwrap();
    }
}
