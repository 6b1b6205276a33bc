//! Events not yet known to be sent. An entry is on disk before its object has a name and is removed after the queue has the
//! event, so no instant exists at which a crash loses one: what is left over is looked at at start and every few seconds.
//!
//! ```text
//!  put ─► entry ─► object ─► queue ─► entry removed ─► 200
//!             └──── crash anywhere here ────► sweep: is the object there, with this ETag? ─ yes ─► queue
//!                                                                                        └─ no ──► entry removed
//! ```
//!
//! The queue is at-least-once, and so is this: an event may be sent twice, byte for byte the same.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use platform::queue::Queue;
use s3s::crypto::{Checksum as _, Md5};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    StoreError,
    disk::{Disk, Place, Sidecars, remove_if_there, sync_dir},
    locks::Locks,
};

/// The queue that ingest listens on.
pub const OBJECT_CREATED: &str = "object-created";

/// How long a put waits for the queue. When it takes longer the put is answered all the same: the entry is durable, and the
/// sweep sends it when the queue is back.
const SEND_TIMEOUT: Duration = Duration::from_secs(3);

/// The queue, and whether it was away when last asked. While it is, puts do not wait for it; the sweep finds out when it is back.
#[derive(Debug)]
pub(crate) struct Outlet {
    queue: Queue,
    away: AtomicBool,
}

impl Outlet {
    pub(crate) const fn new(queue: Queue) -> Self {
        Self { queue, away: AtomicBool::new(false) }
    }

    async fn send(&self, key: &str, message: &Value) -> bool {
        let sent = tokio::time::timeout(SEND_TIMEOUT, self.queue.send(OBJECT_CREATED, key, message)).await;
        let failure = match sent {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        let was_away = self.away.swap(failure.is_some(), Ordering::Relaxed);
        match &failure {
            Some(error) if !was_away => tracing::warn!(error, "the queue is away: events wait on disk"),
            None if was_away => tracing::info!("the queue is back"),
            _ => {}
        }
        failure.is_none()
    }
}

/// An event on its way, with what it takes to finish the put it belongs to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    bucket: String,
    key: String,
    sequencer: String,
    sidecars: Sidecars,
    message: Value,
}

impl Entry {
    pub(crate) fn new(place: &Place, sequencer: String, sidecars: Sidecars, message: Value) -> Self {
        Self { bucket: place.bucket.clone(), key: place.key.clone(), sequencer, sidecars, message }
    }

    fn path(&self, disk: &Disk) -> PathBuf {
        disk.journal_dir().join(format!("{}.json", self.sequencer))
    }

    /// Names the event in the queue: sent again it is the same message, while a later object of the same key is another.
    fn message_key(&self) -> String {
        format!("{}#{}", self.key, self.sequencer)
    }

    /// Makes the entry durable. Called before the object gets its name.
    pub(crate) fn begin(&self, disk: &Disk) -> Result<(), StoreError> {
        disk.replace(&self.path(disk), &serde_json::to_vec(self).map_err(io::Error::from)?)?;
        Ok(sync_dir(&disk.journal_dir())?)
    }

    /// The put did not happen: nothing to tell.
    pub(crate) fn abandon(&self, disk: &Disk) {
        let _ = remove_if_there(&self.path(disk));
    }

    /// Tells the queue, unless it is known to be away: then the sweep will.
    pub(crate) async fn tell(&self, disk: &Disk, outlet: &Outlet) {
        if !outlet.away.load(Ordering::Relaxed) {
            self.send(disk, outlet).await;
        }
    }

    /// Sends the event and forgets the entry; false when the queue cannot be reached, and the entry stays.
    async fn send(&self, disk: &Disk, outlet: &Outlet) -> bool {
        let sent = outlet.send(&self.message_key(), &self.message).await;
        if sent {
            // Losing this removal in a crash means sending twice, which the queue's consumers are made for.
            let _ = remove_if_there(&self.path(disk));
        }
        sent
    }

    /// Whether the object that this entry tells of is there. Gives it its sidecars when the crash fell between the two.
    fn landed(&self, disk: &Disk) -> io::Result<bool> {
        let place = Place { bucket: self.bucket.clone(), key: self.key.clone() };
        if !disk.exists(&place) {
            return Ok(false);
        }
        let internal = disk.internal(&place)?;
        let e_tag = match internal.as_ref().and_then(|internal| internal.get("e_tag")).and_then(Value::as_str) {
            Some(e_tag) => e_tag.to_owned(),
            None => md5_of(disk, &place)?,
        };
        if self.sidecars.e_tag() != Some(&e_tag) {
            return Ok(false);
        }
        if internal.is_none() {
            disk.write_sidecars(&place, &self.sidecars)?;
            sync_dir(disk.root())?;
        }
        Ok(true)
    }
}

/// Sends what a crash or an unreachable queue left behind. Returns how many entries still wait.
pub(crate) async fn sweep(disk: &Arc<Disk>, locks: &Locks, outlet: &Outlet) -> io::Result<usize> {
    let mut paths = std::fs::read_dir(disk.journal_dir())?.collect::<io::Result<Vec<_>>>()?;
    paths.sort_by_key(std::fs::DirEntry::file_name);
    let mut waiting = 0;
    for path in paths.iter().map(std::fs::DirEntry::path) {
        let Ok(text) = std::fs::read(&path) else { continue };
        let Ok(entry) = serde_json::from_slice::<Entry>(&text) else {
            tracing::error!(path = %path.display(), "a journal entry cannot be read; it stays for a person to look at");
            continue;
        };
        // A put of this key that is under way sends its own event.
        let Some(_held) = locks.try_hold(&Place { bucket: entry.bucket.clone(), key: entry.key.clone() }) else { continue };
        if !path.exists() {
            continue;
        }
        // Looking may mean hashing a large object, when its sidecar is missing.
        let (entry, landed) = {
            let disk = Arc::clone(disk);
            tokio::task::spawn_blocking(move || {
                let landed = entry.landed(&disk);
                (entry, landed)
            })
            .await
            .map_err(io::Error::other)?
        };
        if !landed? {
            entry.abandon(disk);
        } else if !entry.send(disk, outlet).await {
            // The queue is away: the rest would wait as long, one after the other.
            waiting = paths.len();
            break;
        }
    }
    Ok(waiting)
}

fn md5_of(disk: &Disk, place: &Place) -> io::Result<String> {
    let mut file = std::fs::File::open(disk.object_path(place))?;
    let (mut md5, mut buffer) = (Md5::new(), vec![0; 256 * 1024]);
    loop {
        let read = io::Read::read(&mut file, &mut buffer)?;
        if read == 0 {
            return Ok(hex::encode(md5.finalize()));
        }
        md5.update(buffer.get(..read).unwrap_or_default());
    }
}
