//! The media shield: the one place that reads media from the object store, so that a thousand misses are one read.
//!
//! ```text
//!  a range of a rung's file ──► memory ──► being filled? join ──► disk ──► object store (one read, bounded concurrency)
//!                                  ▲                                          │
//!                                  └────────── finished, then to disk ◄───────┘
//! ```
//!
//! Its objects are immutable (a media version is named by what it is made of), so nothing is ever stale and nothing is revalidated. The
//! unit is exactly the range asked for, since sheets name the only ranges anyone asks. Readers get bytes as they arrive. A reader that
//! goes away does not end the fill. A failure is remembered for at most a second, which is what keeps a dead store from being asked a
//! thousand times.

mod disk;
mod lru;
mod object;

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher as _, RandomState},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use platform::{
    Clock,
    objects::{Objects, ObjectsError},
};
use protocol::{MediaVersion, Rung, UnixMs};
use tokio::sync::Semaphore;

pub(crate) use self::object::Reader;
use self::{
    disk::Disk,
    lru::Lru,
    object::{Object, Source, Taken},
};
use crate::{conf::ShieldConf, metrics::Metrics};

/// What can be asked of the shield.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A range of a rendition's file: an init section or a segment.
    Range { version: MediaVersion, rung: Rung, offset: u64, length: u64 },
    /// The sheet of a media version.
    Sheet { version: MediaVersion },
}

impl Key {
    /// The object's length, where the key says it.
    pub(crate) const fn length(&self) -> Option<u64> {
        match self {
            Self::Range { length, .. } => Some(*length),
            Self::Sheet { .. } => None,
        }
    }

    /// Where it is in the media bucket.
    fn object_key(&self) -> String {
        match self {
            Self::Range { version, rung, .. } => format!("media/{version}/{rung}.mp4"),
            Self::Sheet { version } => format!("media/{version}/sheet.json"),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { version, rung, offset, length } => write!(f, "{version}/{rung}/{offset}-{length}"),
            Self::Sheet { version } => write!(f, "{version}/sheet"),
        }
    }
}

/// Why an object cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShieldError {
    #[error("there is no such media")]
    NotFound,
    #[error("the object store does not answer as it should")]
    Unavailable,
    #[error("too many reads of the object store are waiting")]
    Overloaded,
    #[error("the stored media is not what its name promises")]
    Corrupt,
}

/// A failure is remembered this long.
const FAILURE_MS: i64 = 1_000;
const FAILURES_MAX: usize = 1_024;
/// The store must send its next bytes within this.
const STORE_PATIENCE: Duration = Duration::from_secs(10);
const SHARDS: usize = 16;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shield(Arc<Inner>);

struct Inner {
    conf: ShieldConf,
    objects: Objects,
    bucket: String,
    clock: Clock,
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    disk: Disk,
    fills: Semaphore,
    metrics: Arc<Metrics>,
}

/// A part of the keys: one short lock for memory, fills and failures together, so that no one can slip between them.
struct Shard {
    memory: Lru<Key, Arc<Object>>,
    filling: HashMap<Key, Arc<Object>>,
    failed: HashMap<Key, (UnixMs, ShieldError)>,
}

impl Shield {
    /// Opens the shield over what a former process left in `dir`.
    pub(crate) fn open(
        conf: ShieldConf,
        dir: &Path,
        objects: Objects,
        bucket: String,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let shard = || {
            let memory = Lru::new(conf.memory_bytes_max / SHARDS as u64);
            Mutex::new(Shard { memory, filling: HashMap::new(), failed: HashMap::new() })
        };
        let shards = (0..SHARDS).map(|_| shard()).collect();
        let disk = Disk::open(dir, conf.disk_bytes_max)?;
        let fills = Semaphore::new(conf.fills_max);
        Ok(Self(Arc::new(Inner { conf, objects, bucket, clock, shards, hasher: RandomState::new(), disk, fills, metrics })))
    }

    /// A reader of the object, once its first byte is there.
    pub(crate) async fn read(&self, key: Key) -> Result<Reader, ShieldError> {
        if key.length().is_some_and(|length| length == 0 || length > self.0.conf.object_bytes_max) {
            return Err(ShieldError::NotFound);
        }
        let (object, taken) = self.object(key);
        let mut reader = Reader::new(object, taken);
        reader.begun().await?;
        Ok(reader)
    }

    /// Drops an object that turned out not to be what its name promises.
    pub(crate) fn forget(&self, key: &Key) {
        if let Some(mut shard) = self.0.shard(key) {
            shard.memory.remove(key);
        }
        self.0.disk.remove(key);
    }

    /// Bytes in memory and on disk.
    pub(crate) fn held(&self) -> (u64, u64) {
        let memory = self.0.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).memory.bytes()).sum();
        (memory, self.0.disk.bytes())
    }

    /// The object in memory, the one being filled, or a new one whose fill this call has begun.
    fn object(&self, key: Key) -> (Arc<Object>, Taken) {
        let failed = |error| (Arc::new(Object::failed(error)), Taken::Memory);
        let Some(mut shard) = self.0.shard(&key) else { return failed(ShieldError::Unavailable) };
        if let Some(object) = shard.memory.get(&key) {
            self.0.metrics.shield("memory");
            return (object.clone(), Taken::Memory);
        }
        if let Some(object) = shard.filling.get(&key) {
            self.0.metrics.shield("joined");
            return (object.clone(), Taken::Joined);
        }
        if let Some((until, error)) = shard.failed.get(&key) {
            if self.0.clock.now() < *until {
                self.0.metrics.shield("failed_lately");
                return failed(error.clone());
            }
            shard.failed.remove(&key);
        }
        let object = Arc::new(Object::empty());
        shard.filling.insert(key, object.clone());
        drop(shard);
        let fill = Fill { shield: self.0.clone(), key, object: object.clone() };
        // On its own: whoever asked may leave, the others stay.
        tokio::spawn(fill.run());
        (object, Taken::Fetched)
    }
}

impl Inner {
    fn shard(&self, key: &Key) -> Option<std::sync::MutexGuard<'_, Shard>> {
        let at = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).ok()?;
        Some(self.shards.get(at)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends an object and moves it from "being filled" to where the next reader looks, in one step.
    fn settle(&self, key: &Key, object: &Arc<Object>, end: Result<(), ShieldError>) {
        object.end(end.clone());
        let Some(mut shard) = self.shard(key) else { return };
        shard.filling.remove(key);
        match end {
            Ok(()) => {
                shard.memory.insert(*key, object.clone(), object.bytes());
            }
            // That says something about this moment, not about the object.
            Err(ShieldError::Overloaded) => {}
            Err(error) => {
                if shard.failed.len() >= FAILURES_MAX {
                    shard.failed.clear();
                }
                shard.failed.insert(*key, (self.clock.now().plus_ms(FAILURE_MS), error));
            }
        }
    }
}

/// One fill under way. Dropped half-way (a panic, a runtime that stops) it still ends its object: no reader waits for ever.
struct Fill {
    shield: Arc<Inner>,
    key: Key,
    object: Arc<Object>,
}

impl Drop for Fill {
    fn drop(&mut self) {
        if !self.object.has_ended() {
            self.shield.settle(&self.key, &self.object, Err(ShieldError::Unavailable));
        }
    }
}

impl Fill {
    async fn run(self) {
        if let Some(bytes) = self.read_disk().await {
            self.shield.metrics.shield("disk");
            self.object.append(Source::Disk, bytes);
            return self.shield.settle(&self.key, &self.object, Ok(()));
        }
        let wait = Duration::from_millis(self.shield.conf.fill_wait_ms_max);
        let Ok(Ok(_turn)) = tokio::time::timeout(wait, self.shield.fills.acquire()).await else {
            self.shield.metrics.shield("overloaded");
            return self.shield.settle(&self.key, &self.object, Err(ShieldError::Overloaded));
        };
        self.shield.metrics.shield("store");
        let end = self.read_store().await;
        if let Err(error) = &end {
            tracing::warn!(key = %self.key, %error, "a fill failed");
        }
        self.shield.settle(&self.key, &self.object, end);
        // Within this fill's turn, so that a slow disk slows fills down instead of piling up memory.
        self.write_disk().await;
    }

    async fn read_disk(&self) -> Option<Bytes> {
        if !self.shield.disk.may_have(&self.key) {
            return None;
        }
        let (shield, key) = (self.shield.clone(), self.key);
        tokio::task::spawn_blocking(move || shield.disk.read(&key, shield.clock.now())).await.ok().flatten()
    }

    /// Appends what the store sends; good only when it is as long as the key says.
    async fn read_store(&self) -> Result<(), ShieldError> {
        let Inner { objects, bucket, conf, .. } = &*self.shield;
        let name = self.key.object_key();
        let opening = async {
            match self.key {
                Key::Range { offset, length, .. } => objects.get_range(bucket, &name, offset, length).await,
                Key::Sheet { .. } => objects.get_stream(bucket, &name).await.map(|(_, stream)| stream),
            }
        };
        let mut stream = patient(opening).await?.map_err(refused)?;
        let bytes_max = self.key.length().unwrap_or(conf.object_bytes_max);
        let mut bytes = 0;
        while let Some(chunk) = patient(stream.next()).await? {
            let chunk = chunk.map_err(refused)?;
            bytes += chunk.len() as u64;
            if bytes > bytes_max {
                return Err(ShieldError::Corrupt);
            }
            self.object.append(Source::Store, chunk);
        }
        if self.key.length().is_some_and(|length| length != bytes) { Err(ShieldError::Corrupt) } else { Ok(()) }
    }

    async fn write_disk(&self) {
        let Some(whole) = self.object.whole() else { return };
        let (shield, key) = (self.shield.clone(), self.key);
        let written = tokio::task::spawn_blocking(move || shield.disk.write(&key, &whole)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(key = %self.key, %error, "media is not kept on disk");
        }
    }
}

/// The store's next word, or the end of patience.
async fn patient<T>(word: impl Future<Output = T>) -> Result<T, ShieldError> {
    tokio::time::timeout(STORE_PATIENCE, word).await.map_err(|_| ShieldError::Unavailable)
}

fn refused(error: ObjectsError) -> ShieldError {
    match error {
        ObjectsError::NotFound(_) => ShieldError::NotFound,
        // A range that begins beyond the end of the file.
        ObjectsError::Refused { status: http::StatusCode::RANGE_NOT_SATISFIABLE, .. } => ShieldError::NotFound,
        error => {
            tracing::warn!(%error, "the object store fails a read");
            ShieldError::Unavailable
        }
    }
}
