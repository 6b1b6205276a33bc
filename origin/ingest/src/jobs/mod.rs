//! The workers: from an object's arrival to a published track.
//!
//! A job is the receipt of a queue message. Its key is the raw object, its lease the message's, and "done" is an upload in a final state. It
//! begins by asking whether it is done already, and everything it writes before the end is named by its content, so a worker may die anywhere:
//! the next one makes the same bytes under the same names and publishes them once.

pub(crate) mod event;
mod folder;
mod janitor;
mod work;

use std::{path::PathBuf, sync::Arc, time::Duration};

use platform::{
    Clock, Shutdown,
    objects::Objects,
    queue::{Message, Queue, RECEIVES_MAX},
};
use sqlx::PgPool;

use self::{
    event::Arrival,
    work::{Outcome, Stop},
};
use crate::{
    catalog::Catalog,
    media::Studio,
    store::{self, End},
    upload::{Reason, State},
};

/// The queue that tells of new raw objects.
pub const OBJECT_CREATED: &str = "object-created";
/// How long a worker holds a message without a sign of life.
const LEASE_MS: i64 = 30_000;
/// How long to wait when the queue is empty.
const IDLE_MS: u64 = 200;
/// How long to wait when the database is away.
const AWAY_MS: u64 = 2_000;
/// The first wait before a failed job is tried again; it doubles.
const RETRY_MS: i64 = 2_000;
/// How often folders and uploads of dead workers are looked for, and files that are needed no more.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// An upload whose message was given up this long ago is held.
const ABANDONED_MS: i64 = 5 * 60_000;

/// What workers stand on.
pub struct Workers {
    pub(crate) pool: PgPool,
    pub(crate) queue: Queue,
    pub(crate) objects: Objects,
    pub(crate) catalog: Catalog,
    pub(crate) studio: Arc<Studio>,
    pub(crate) clock: Clock,
    pub(crate) shutdown: Shutdown,
    pub(crate) folder: PathBuf,
    pub(crate) raw_bucket: String,
    pub(crate) media_bucket: String,
    pub(crate) raw_days_max: u32,
}

/// What becomes of a message.
enum Fate {
    /// It is finished with.
    Done,
    /// It comes back after so many milliseconds.
    Later(i64),
    /// It is kept as a dead letter.
    Bury(String),
    /// Another worker has it.
    Lost,
}

impl Workers {
    /// Runs `count` workers until the stop.
    pub async fn run(self, count: u32) {
        let workers = Arc::new(self);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..count.max(1) {
            let worker = Arc::clone(&workers);
            tasks.spawn(async move { worker.consume().await });
        }
        let sweeper = Arc::clone(&workers);
        tasks.spawn(async move { sweeper.sweep().await });
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a worker ended");
                let worker = Arc::clone(&workers);
                tasks.spawn(async move { worker.consume().await });
            }
        }
    }

    async fn consume(&self) {
        let mut wait_ms = 0;
        while self.shutdown.pause(wait_ms).await {
            wait_ms = match self.next().await {
                Ok(true) => 0,
                Ok(false) => IDLE_MS,
                Err(error) => {
                    tracing::warn!(%error, "the queue is away");
                    AWAY_MS
                }
            };
        }
    }

    /// Takes one message to its fate; false when there is none.
    async fn next(&self) -> sqlx::Result<bool> {
        let Some(message) = self.queue.receive(OBJECT_CREATED, LEASE_MS, self.clock.now()).await? else { return Ok(false) };
        let fate = match event::arrivals(&message.body, &self.raw_bucket) {
            Ok(arrivals) => self.settle(&message, &arrivals).await?,
            Err(reason) => Fate::Bury(reason),
        };
        let ours = match fate {
            Fate::Done => self.queue.complete(&message).await?,
            Fate::Later(ms) => self.queue.retry_later(&message, ms).await?,
            Fate::Bury(reason) => {
                tracing::warn!(message = message.id, key = message.key, reason, "a message is buried");
                self.queue.bury(&message, &reason).await?
            }
            Fate::Lost => false,
        };
        if !ours {
            tracing::warn!(message = message.id, fence = message.fence, "another worker has the message");
        }
        Ok(true)
    }

    async fn settle(&self, message: &Message, arrivals: &[Arrival]) -> sqlx::Result<Fate> {
        for arrival in arrivals {
            match self.settle_one(message, arrival).await? {
                Fate::Done => {}
                other => return Ok(other),
            }
        }
        Ok(Fate::Done)
    }

    async fn settle_one(&self, message: &Message, arrival: &Arrival) -> sqlx::Result<Fate> {
        let Some(upload) = store::upload(&self.pool, arrival.upload).await? else {
            return Ok(Fate::Bury(format!("there is no upload {}", arrival.upload)));
        };
        if upload.state.is_final() || event::is_older(arrival.sequencer.as_deref(), upload.sequencer.as_deref()) {
            return Ok(Fate::Done);
        }
        let now = self.clock.now();
        store::arrived(&self.pool, arrival, now).await?;
        if !store::claim(&self.pool, upload.id, message, now.plus_ms(LEASE_MS), now).await? {
            // A repeated event, while the first is worked on. When that work ends this one finds it done.
            return Ok(Fate::Later(LEASE_MS));
        }

        match self.work(message, &upload).await {
            Ok(Outcome::End(end)) => self.end(message, &upload, &end).await,
            Ok(Outcome::FencedOut) | Err(Stop::Lost) => self.lost(&upload).await,
            Err(Stop::Interrupted) => {
                let now = self.clock.now();
                store::advance(&self.pool, upload.id, message.fence, now, [0; 3]).await?;
                Ok(Fate::Later(0))
            }
            Err(Stop::Failed(error)) if message.receive_count < RECEIVES_MAX => {
                tracing::warn!(error = format!("{error:#}"), upload = %upload.id, attempt = message.receive_count, "a job failed and is tried again");
                Ok(Fate::Later(RETRY_MS << message.receive_count.clamp(0, 8)))
            }
            Err(Stop::Failed(error)) => {
                tracing::error!(error = format!("{error:#}"), upload = %upload.id, "a job failed for the last time");
                store::end(&self.pool, upload.id, message.fence, &End::Held(failed()), self.clock.now()).await?;
                Ok(Fate::Bury(format!("{error:#}").chars().take(1000).collect()))
            }
        }
    }

    async fn end(&self, message: &Message, upload: &crate::upload::Upload, end: &End) -> sqlx::Result<Fate> {
        if !store::end(&self.pool, upload.id, message.fence, end, self.clock.now()).await? {
            return self.lost(upload).await;
        }
        match end {
            End::Published { version, .. } => tracing::info!(upload = %upload.id, track = %upload.track, %version, "published"),
            End::Rejected(reason) => {
                tracing::info!(upload = %upload.id, track = %upload.track, code = reason.code, detail = reason.detail, "rejected")
            }
            End::TakenDown => tracing::info!(upload = %upload.id, track = %upload.track, state = State::TakenDown.name(), "not published"),
            End::Held(reason) => tracing::error!(upload = %upload.id, track = %upload.track, detail = reason.detail, "held"),
        }
        Ok(Fate::Done)
    }

    /// The job is not ours any more: another worker has it, or the artist has cancelled, and then the message is finished with.
    async fn lost(&self, upload: &crate::upload::Upload) -> sqlx::Result<Fate> {
        let stands = store::upload(&self.pool, upload.id).await?;
        if stands.is_some_and(|upload| upload.state == State::TakenDown) {
            tracing::info!(upload = %upload.id, track = %upload.track, "cancelled");
            return Ok(Fate::Done);
        }
        Ok(Fate::Lost)
    }

    async fn sweep(&self) {
        let mut wait_ms = 0;
        while self.shutdown.pause(wait_ms).await {
            wait_ms = u64::try_from(SWEEP_EVERY.as_millis()).unwrap_or(u64::MAX);
            let folder = self.folder.clone();
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || folder::sweep(&folder)).await {
                tracing::warn!(%error, "folders of dead workers stay");
            }
            let now = self.clock.now();
            match store::hold_abandoned(&self.pool, &failed(), now.plus_ms(-ABANDONED_MS), now).await {
                Ok(0) => {}
                Ok(uploads) => tracing::error!(uploads, "uploads are held: their workers died each time"),
                Err(error) => tracing::warn!(%error, "abandoned uploads cannot be looked for"),
            }
            match self.clear_raw(now).await {
                Ok(0) => {}
                Ok(files) => tracing::info!(files, "removed files of uploads that ended"),
                Err(error) => tracing::warn!(%error, "files that are needed no more cannot be looked for"),
            }
        }
    }
}

/// What the artist reads when the fault is ours.
fn failed() -> Reason {
    let detail = "we failed to process this file, several times; it is not your fault. Our people have been told and will go on with it";
    Reason { code: "processing_failed".to_owned(), detail: detail.to_owned() }
}
