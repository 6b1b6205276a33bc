//! One upload from its raw object to its publication, in the order it happens: fetch, check, encode, store, publish. Beside it the lease is kept; when
//! it is lost, or the process is to stop, everything ends where it is.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt as _;
use platform::{objects::ObjectsError, queue::Message};
use protocol::{MediaVersion, sheet::Sheet};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use super::{LEASE_MS, Workers, folder::Folder};
use crate::{
    catalog::{Handover, Publication},
    media::{
        Master, Take, mismatch,
        reject::{MediaError, Rejection},
    },
    store::{self, End},
    upload::{Reason, Upload},
};

/// How long a publication is tried before the job is put back: everything is made by then, and making it again would cost more.
const PUBLISH_TRIES: u32 = 30;
const PUBLISH_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Why a job ended before the upload did.
#[derive(Debug)]
pub(super) enum Stop {
    /// The lease passed to another worker, or the artist has cancelled.
    Lost,
    /// The process is to stop.
    Interrupted,
    /// Ours to fix: try again later.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<ObjectsError> for Stop {
    fn from(error: ObjectsError) -> Self {
        Self::Failed(error.into())
    }
}

/// What came of a job.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The upload's end.
    End(End),
    /// A later job has published.
    FencedOut,
}

/// A job in which nothing moves for this long is stuck, most likely in a decoder that a hostile file has sent round in circles.
const STALL_MAX: Duration = Duration::from_secs(180);
/// How often the lease's keeper looks.
const BEAT: Duration = Duration::from_secs(1);
/// The lease needs a sign of life only now and then; progress is told as it comes.
const BEATS_PER_EXTENSION: u32 = 8;

/// How far a job is, seen by the encoder's thread and by the lease's keeper.
#[derive(Debug, Default)]
struct Progress {
    percents: [AtomicU8; 3],
    /// Grows with every step of the work.
    steps: AtomicU64,
    cancelled: Arc<AtomicBool>,
}

impl Progress {
    fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    fn all(&self, percent: u8) {
        self.step();
        self.percents.iter().for_each(|rung| rung.store(percent, Ordering::Relaxed));
    }

    fn read(&self) -> [u8; 3] {
        self.percents.each_ref().map(|rung| rung.load(Ordering::Relaxed))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Workers {
    /// Works on `upload` under the lease of `message`.
    pub(super) async fn work(&self, message: &Message, upload: &Upload) -> Result<Outcome, Stop> {
        let progress = Arc::new(Progress::default());
        // The encoder's thread outlives this future when it is dropped; the flag is what ends it.
        let cancelled = Arc::clone(&progress.cancelled);
        let stop = tokio::select! {
            outcome = self.produce(message, upload, &progress) => return outcome,
            stop = self.keep_lease(message, upload, &progress) => stop,
            () = self.shutdown.requested() => Stop::Interrupted,
        };
        cancelled.store(true, Ordering::Relaxed);
        Err(stop)
    }

    /// Extends the lease and tells how far the job is, until the lease is lost or the work stands still.
    async fn keep_lease(&self, message: &Message, upload: &Upload, progress: &Progress) -> Stop {
        let mut lease_until = self.clock.now().plus_ms(LEASE_MS);
        let (mut told, mut steps, mut moved) = ([0; 3], 0, Instant::now());
        for beat in 1_u32.. {
            tokio::time::sleep(BEAT).await;
            let seen = progress.steps.load(Ordering::Relaxed);
            if seen != steps {
                (steps, moved) = (seen, Instant::now());
            }
            if moved.elapsed() > STALL_MAX {
                return Stop::Failed(anyhow::anyhow!("nothing moved for {} s", STALL_MAX.as_secs()));
            }
            let percents = progress.read();
            if percents == told && beat % BEATS_PER_EXTENSION != 0 {
                continue;
            }
            told = percents;
            let now = self.clock.now();
            let next = now.plus_ms(LEASE_MS);
            let held = async {
                Ok::<_, sqlx::Error>(
                    self.queue.extend(message, LEASE_MS).await?
                        && store::advance(&self.pool, upload.id, message.fence, next, percents).await?,
                )
            };
            match held.await {
                Ok(true) => lease_until = next,
                Ok(false) => return Stop::Lost,
                Err(error) if now >= lease_until => {
                    tracing::warn!(%error, upload = %upload.id, "the lease ran out while the database was away");
                    return Stop::Lost;
                }
                Err(error) => tracing::warn!(%error, upload = %upload.id, "the lease could not be extended yet"),
            }
        }
        Stop::Lost
    }

    async fn produce(&self, message: &Message, upload: &Upload, progress: &Arc<Progress>) -> Result<Outcome, Stop> {
        let folder = Arc::new(Folder::new(&self.folder, message.fence).context("a folder for the job")?);
        let source = folder.path().join("source");
        let (size, sha256) = self.fetch(upload, &source, progress).await?;
        if let Some(rejection) = mismatch(upload.declared.size_bytes, &upload.declared.sha256, size, &sha256) {
            return Ok(rejected(rejection));
        }

        let version = self.studio.version(&sha256);
        let sheet = match self.stored_sheet(version).await? {
            Some(sheet) => sheet,
            None => match self.encode(&folder, source, size, sha256, progress).await {
                Ok(master) => {
                    self.keep(&master, progress).await?;
                    master.sheet
                }
                Err(MediaError::Rejected(rejection)) => return Ok(rejected(rejection)),
                Err(MediaError::Interrupted) => return Err(Stop::Interrupted),
                Err(MediaError::Failed(error)) => return Err(Stop::Failed(error)),
            },
        };
        progress.all(100);
        self.publish(message, upload, &sheet, progress).await
    }

    /// Brings the raw object to disk; its size and digest as they are, whatever was declared.
    async fn fetch(&self, upload: &Upload, path: &Path, progress: &Progress) -> Result<(u64, [u8; 32]), Stop> {
        let key = Upload::raw_key(upload.id);
        let (told, mut stream) = self.objects.get_stream(&self.raw_bucket, &key).await?;
        let mut file = tokio::fs::File::create(path).await.context("the job's folder")?;
        let (mut size, mut hash) = (0, Sha256::new());
        while let Some(bytes) = stream.next().await {
            let bytes = bytes?;
            size += bytes.len() as u64;
            progress.step();
            if size > upload.declared.size_bytes {
                // More than was declared is refused for its size; how much more need not fill the disk.
                return Ok((told.unwrap_or(size).max(size), [0; 32]));
            }
            hash.update(&bytes);
            file.write_all(&bytes).await.context("the job's folder")?;
        }
        file.flush().await.context("the job's folder")?;
        if told.is_some_and(|told| told != size) {
            return Err(anyhow::anyhow!("the object store sent {size} of {told:?} bytes").into());
        }
        Ok((size, hash.finalize().into()))
    }

    /// The sheet of a version that is complete already: it is written last, so all it names is there.
    async fn stored_sheet(&self, version: MediaVersion) -> Result<Option<Sheet>, Stop> {
        match self.objects.get(&self.media_bucket, &sheet_key(version)).await {
            Ok(bytes) => Ok(serde_json::from_slice::<Sheet>(&bytes).ok().filter(|sheet| sheet.version == version)),
            Err(ObjectsError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn encode(
        &self,
        folder: &Arc<Folder>,
        source: PathBuf,
        size: u64,
        sha256: [u8; 32],
        progress: &Arc<Progress>,
    ) -> Result<Master, MediaError> {
        let (studio, folder, progress) = (Arc::clone(&self.studio), Arc::clone(folder), Arc::clone(progress));
        let cancelled = Arc::clone(&progress.cancelled);
        let made = tokio::task::spawn_blocking(move || {
            let take = Take { source: &source, size, sha256: &sha256, folder: folder.path() };
            studio.make(take, &|percent| progress.all(percent), &cancelled)
        });
        made.await.unwrap_or_else(|error| Err(MediaError::Failed(error.into())))
    }

    /// Stores what was made, the sheet last.
    async fn keep(&self, master: &Master, progress: &Progress) -> Result<(), Stop> {
        let version = master.sheet.version;
        for ((rung, file), percent) in master.files.iter().zip(&progress.percents) {
            self.objects.put_file(&self.media_bucket, &format!("media/{version}/{rung}.mp4"), file, "audio/mp4").await?;
            percent.store(100, Ordering::Relaxed);
            progress.step();
        }
        let sheet = serde_json::to_vec(&master.sheet).context("the sheet")?;
        Ok(self.objects.put(&self.media_bucket, &sheet_key(version), Bytes::from(sheet), "application/json").await?)
    }

    async fn publish(&self, message: &Message, upload: &Upload, sheet: &Sheet, progress: &Progress) -> Result<Outcome, Stop> {
        let declared = &upload.declared;
        let publication = Publication {
            track: upload.track,
            owner: upload.owner,
            acts_for: upload.acts_for,
            fence: message.fence,
            title: &declared.title,
            artist: &declared.artist,
            album: declared.album.as_deref(),
            isrc: declared.isrc.as_deref(),
            genre: declared.genre.as_deref(),
            explicit: declared.explicit,
            territories: declared.territories.as_deref(),
            release_at_ms: declared.release_at,
            sheet,
        };
        if !store::hand_over(&self.pool, upload.id, message.fence, sheet.version, self.clock.now()).await.context("the hand-over")? {
            return Err(Stop::Lost);
        }
        let mut pause = Duration::from_millis(200);
        for _ in 1..PUBLISH_TRIES {
            match self.catalog.publish(&publication).await {
                Ok(handover) => return outcome(handover),
                Err(error) => tracing::warn!(error = format!("{error:#}"), upload = %upload.id, "the catalogue is away"),
            }
            progress.step();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PUBLISH_PAUSE_MAX);
        }
        outcome(self.catalog.publish(&publication).await?)
    }
}

fn outcome(handover: Handover) -> Result<Outcome, Stop> {
    Ok(match handover {
        Handover::Published { version, at } => Outcome::End(End::Published { version, at }),
        Handover::TakenDown => Outcome::End(End::TakenDown),
        Handover::FencedOut => Outcome::FencedOut,
        Handover::Refused(why) => return Err(anyhow::anyhow!("the catalogue refused the publication: {why}").into()),
    })
}

fn rejected(rejection: Rejection) -> Outcome {
    Outcome::End(End::Rejected(Reason { code: rejection.code.name().to_owned(), detail: rejection.detail }))
}

fn sheet_key(version: MediaVersion) -> String {
    format!("media/{version}/sheet.json")
}
