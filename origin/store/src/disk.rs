//! Objects on disk. Verified bytes come in from [`crate::receive`] as a [`Staged`] file; they leave as objects under
//! `<root>/<bucket>/<key>`, in the layout that `s3s-fs` reads (its sidecars hold the ETag, the checksums and the content
//! type; the formats are private to it, which is one reason why its version is pinned).
//!
//! ```text
//! <root>/.lock                                          one process owns the directory
//! <root>/.staging/<n>                                   bytes not yet proved; emptied at start
//! <root>/.journal/<sequencer>.json                      events not yet known to be sent (see `journal`)
//! <root>/<bucket>/<key>                                 an object
//! <root>/.bucket-<b64>.object-<b64>.internal.json       its ETag and checksums
//! <root>/.bucket-<b64>.object-<b64>.metadata.json       its content type and the like
//! ```
//!
//! Everything here blocks, and runs on the blocking pool. What has been committed has been through `fsync`, directories
//! included, so an acknowledged object survives a lost process and a lost machine.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::StoreError;

/// The longest key whose sidecar name still fits in a file name of 255 bytes, for bucket names up to 24 bytes.
const KEY_BYTES_MAX: usize = 128;
const BUCKET_BYTES_MAX: usize = 24;

/// The directory that holds everything.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    staged: AtomicU64,
    _lock: File,
}

/// One object's place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) bucket: String,
    pub(crate) key: String,
}

/// What `s3s-fs` keeps beside an object.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Sidecars {
    /// `e_tag`, the checksums, and our `sequencer`.
    pub(crate) internal: Map<String, Value>,
    /// `content_type`, `cache_control`, `user_metadata`.
    pub(crate) attributes: Map<String, Value>,
}

impl Sidecars {
    pub(crate) fn e_tag(&self) -> Option<&str> {
        self.internal.get("e_tag").and_then(Value::as_str)
    }
}

/// A file in the staging directory, removed when dropped before it became an object.
#[derive(Debug)]
pub(crate) struct Staged {
    path: PathBuf,
    kept: bool,
}

impl Staged {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Disk {
    /// Opens the directory, making it and `buckets` when absent, and throws away what a dead process was still receiving.
    pub(crate) fn open(root: &Path, buckets: &[&str]) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        let lock = File::create(root.join(".lock"))?;
        lock.try_lock().map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "another store owns this directory"))?;
        let staging = root.join(".staging");
        if staging.exists() {
            fs::remove_dir_all(&staging)?;
        }
        fs::create_dir(&staging)?;
        fs::create_dir_all(root.join(".journal"))?;
        for bucket in buckets {
            fs::create_dir_all(root.join(bucket))?;
        }
        sync_dir(&root)?;
        Ok(Self { root, staged: AtomicU64::new(0), _lock: lock })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn journal_dir(&self) -> PathBuf {
        self.root.join(".journal")
    }

    /// The place of an object, for names that stay inside their bucket. `s3s-fs` would resolve `raw/../media/x` to another
    /// bucket's object; here it has no place at all.
    pub(crate) fn place(&self, bucket: &str, key: &str) -> Result<Place, StoreError> {
        if key.len() > KEY_BYTES_MAX || bucket.len() > BUCKET_BYTES_MAX {
            return Err(StoreError::KeyTooLong { max: KEY_BYTES_MAX });
        }
        let plain = |name: &str| {
            !name.is_empty()
                && name.split('/').all(|part| matches!(Path::new(part).components().next(), Some(Component::Normal(only)) if only == part))
        };
        if bucket.starts_with('.') || !plain(bucket) || !plain(key) || key.contains('\0') {
            return Err(StoreError::KeyNotAllowed);
        }
        if !self.root.join(bucket).is_dir() {
            return Err(StoreError::NoSuchBucket);
        }
        Ok(Place { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    pub(crate) fn object_path(&self, place: &Place) -> PathBuf {
        self.root.join(&place.bucket).join(&place.key)
    }

    pub(crate) fn exists(&self, place: &Place) -> bool {
        self.object_path(place).is_file()
    }

    fn sidecar_path(&self, place: &Place, kind: &str) -> PathBuf {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        self.root.join(format!(".bucket-{}.object-{}.{kind}.json", encode(&place.bucket), encode(&place.key)))
    }

    /// A new name in the staging directory.
    pub(crate) fn stage(&self) -> Staged {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        Staged { path: self.root.join(".staging").join(number.to_string()), kept: false }
    }

    /// Makes staged bytes the object at `place`, replacing what was there. The caller holds the key's lock, has synced the
    /// staged file, and has decided that a replacement is wanted.
    ///
    /// The old ETag goes before the new bytes come: between the two there is no ETag on disk, and a reader computes the
    /// right one, so a crash at any point leaves no object under another's ETag.
    pub(crate) fn commit(&self, mut staged: Staged, place: &Place, sidecars: &Sidecars) -> Result<(), StoreError> {
        let object = self.object_path(place);
        let folder = object.parent().unwrap_or(&self.root);
        let new_folder = !folder.is_dir();
        if new_folder {
            // A part of the key that is an object already cannot be a folder as well: a limit of a file system.
            fs::create_dir_all(folder).map_err(|error| match error.kind() {
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => StoreError::KeyNotAllowed,
                _ => StoreError::Disk(error),
            })?;
        }
        if object.is_dir() {
            return Err(StoreError::KeyNotAllowed);
        }
        remove_if_there(&self.sidecar_path(place, "internal"))?;
        fs::rename(&staged.path, &object)?;
        staged.kept = true;
        self.write_sidecars(place, sidecars)?;
        let bucket = self.root.join(&place.bucket);
        for ancestor in folder.ancestors().take_while(|ancestor| new_folder && ancestor.starts_with(&bucket)) {
            sync_dir(ancestor)?;
        }
        if !new_folder {
            sync_dir(folder)?;
        }
        sync_dir(&self.root)?;
        Ok(())
    }

    pub(crate) fn write_sidecars(&self, place: &Place, sidecars: &Sidecars) -> io::Result<()> {
        self.replace(&self.sidecar_path(place, "metadata"), &serde_json::to_vec(&sidecars.attributes)?)?;
        self.replace(&self.sidecar_path(place, "internal"), &serde_json::to_vec(&sidecars.internal)?)
    }

    /// The internal sidecar of an object, when there is one.
    pub(crate) fn internal(&self, place: &Place) -> io::Result<Option<Map<String, Value>>> {
        match fs::read(self.sidecar_path(place, "internal")) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes an object away, sidecars first, so that no later object of that name inherits them.
    pub(crate) fn remove(&self, place: &Place) -> Result<(), StoreError> {
        let object = self.object_path(place);
        if object.is_dir() {
            return Err(StoreError::KeyNotAllowed);
        }
        remove_if_there(&self.sidecar_path(place, "internal"))?;
        remove_if_there(&self.sidecar_path(place, "metadata"))?;
        if remove_if_there(&object)? {
            sync_dir(object.parent().unwrap_or(&self.root))?;
        }
        Ok(())
    }

    /// Writes a small file whole or not at all, synced; the caller syncs the folder.
    pub(crate) fn replace(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        let mut staged = self.stage();
        let mut file = File::create(&staged.path)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&staged.path, path)?;
        staged.kept = true;
        Ok(())
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// True when there was something to remove.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_cannot_leave_its_bucket() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path(), &["raw", "media"]).unwrap();
        for key in ["../media/x", "a/../../x", "/x", "a//b", "a/", "", ".", "a/./b", "a\0"] {
            assert!(disk.place("raw", key).is_err(), "{key:?}");
        }
        assert!(disk.place(".staging", "0").is_err());
        assert!(matches!(disk.place("other", "x"), Err(StoreError::NoSuchBucket)));
        assert!(disk.place("raw", "raw/0190-x.y").is_ok());
        assert!(Disk::open(folder.path(), &[]).is_err(), "a second store on the same directory");
    }
}
