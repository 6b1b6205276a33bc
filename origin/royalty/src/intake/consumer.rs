//! Reads one partition and merges what stands in it, record by record, each in the transaction that moves the place on. A restart therefore
//! resumes exactly. What can never be merged is kept apart and does not hold up what stands behind it.

use std::{sync::Arc, time::Duration};

use platform::Shutdown;
use protocol::heartbeat::Batch;
use rskafka::{
    client::partition::{OffsetAt, PartitionClient},
    record::{Record, RecordAndOffset},
};
use tokio::sync::Semaphore;

use super::{
    Frozen, Merger,
    kafka::{Log, PART_HEADER},
    part::PART_BYTES_MAX,
};
use crate::{
    error::RoyaltyError,
    store::log::{self, Place, Refused},
};

/// Merges that run at once in this process, so that requests find connections too.
pub(super) const MERGES_MAX: usize = 12;
const WAIT_MS: u16 = 500;
const PAUSE_MS_MIN: u64 = 50;
const PAUSE_MS_MAX: u64 = 2_000;
/// A record that the database itself refuses is tried so often: a cause that passes has passed by then.
const ATTEMPTS: u32 = 3;

/// The reader of one partition.
pub(super) struct Reader {
    log: Arc<Log>,
    partition: u16,
    source: String,
    merger: Merger,
    merging: Arc<Semaphore>,
}

impl Reader {
    pub(super) fn new(log: Arc<Log>, partition: u16, merger: Merger, merging: Arc<Semaphore>) -> Self {
        let source = log.source(partition);
        Self { log, partition, source, merger, merging }
    }

    /// Reads until the stop. Trouble is told once, and once more when it is over.
    pub(super) async fn run(&self, shutdown: Shutdown) {
        let mut pause_ms = PAUSE_MS_MIN;
        while !shutdown.is_requested() {
            match self.follow(&shutdown, &mut pause_ms).await {
                Ok(()) => {}
                Err(error) if pause_ms == PAUSE_MS_MIN => {
                    tracing::warn!(%error, partition = self.partition, "a partition cannot be merged now; trying on");
                }
                Err(error) => tracing::debug!(%error, partition = self.partition, "still not"),
            }
            if !shutdown.pause(pause_ms).await {
                return;
            }
            pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
        }
    }

    async fn follow(&self, shutdown: &Shutdown, pause_ms: &mut u64) -> Result<(), RoyaltyError> {
        let reader = self.log.reader(self.partition).await?;
        let mut position = self.position(&reader).await?;
        while !shutdown.is_requested() {
            let fetched = tokio::select! {
                fetched = self.log.fetch(&reader, position, WAIT_MS) => fetched,
                () = shutdown.requested() => return Ok(()),
            };
            let records = match fetched {
                Err(RoyaltyError::OutOfLog) => {
                    position = self.begin_again(&reader, position, "its place is not in the log").await?;
                    continue;
                }
                fetched => fetched?,
            };
            *pause_ms = PAUSE_MS_MIN;
            for record in records {
                if shutdown.is_requested() {
                    return Ok(());
                }
                position = self.take(record, position).await?;
            }
        }
        Ok(())
    }

    /// Where to go on. What stands just before it must be what was merged last: another log under the same name, or one that lost its end
    /// in a crash, would otherwise hide records.
    async fn position(&self, reader: &PartitionClient) -> Result<i64, RoyaltyError> {
        let pool = &self.merger.pool;
        let first = self.log.edge(reader, OffsetAt::Earliest).await?;
        let Some(position) = log::position(pool, &self.source).await? else {
            log::begin(pool, &self.source, first).await?;
            return Ok(log::position(pool, &self.source).await?.unwrap_or(first));
        };
        if position <= first {
            return Ok(position);
        }
        let before = match self.log.fetch(reader, position - 1, 0).await {
            Ok(records) => records.into_iter().find(|record| record.offset == position - 1),
            Err(RoyaltyError::OutOfLog) => None,
            Err(error) => return Err(error),
        };
        let known = match before.map(|record| read(&record.record)) {
            Some(Ok(frozen)) => log::is_merged(pool, &frozen.key(), &self.source, position - 1).await?,
            Some(Err(_)) => log::is_refused(pool, &self.source, position - 1).await?,
            None => false,
        };
        if known { Ok(position) } else { self.begin_again(reader, position, "what stands before its place was never merged").await }
    }

    /// From the first record on: what was merged already changes nothing. Records that are gone are told, loudly.
    async fn begin_again(&self, reader: &PartitionClient, position: i64, why: &str) -> Result<i64, RoyaltyError> {
        let first = self.log.edge(reader, OffsetAt::Earliest).await?;
        let place = Place { source: self.source.clone(), from: position, next: first };
        let reason = if first > position { "gone_before_it_was_read" } else { "log_begins_again" };
        let detail = format!("{why}: it was {position}, and the log's first is {first}");
        tracing::error!(partition = self.partition, reason, detail, "the log is not the one that was read before");
        log::refuse(&self.merger.pool, &place, &Refused { reason, detail, payload: Vec::new() }, self.merger.clock.now()).await?;
        Ok(first)
    }

    /// Merges a record, or sets it aside; gives the place behind it.
    async fn take(&self, record: RecordAndOffset, from: i64) -> Result<i64, RoyaltyError> {
        let place = Place { source: self.source.clone(), from, next: record.offset + 1 };
        let refused = match read(&record.record) {
            Err(refused) => refused,
            Ok(frozen) => match self.merge(&frozen, &place).await? {
                None => return Ok(place.next),
                Some((reason, detail)) => Refused { reason, detail, payload: frozen.bytes.to_vec() },
            },
        };
        tracing::error!(
            partition = self.partition,
            place = from,
            reason = refused.reason,
            detail = refused.detail,
            "a record is set aside"
        );
        // Named by where it stood, which is not `from` when the log has a gap.
        let place = Place { from: self.skip_to(&place, record.offset).await?, ..place };
        log::refuse(&self.merger.pool, &place, &refused, self.merger.clock.now()).await?;
        Ok(place.next)
    }

    async fn skip_to(&self, place: &Place, offset: i64) -> Result<i64, RoyaltyError> {
        if offset > place.from {
            let mut tx = self.merger.pool.begin().await?;
            log::advance(&mut tx, &Place { next: offset, ..place.clone() }).await?;
            tx.commit().await?;
        }
        Ok(offset.max(place.from))
    }

    /// Merges; a reason when that can never be.
    async fn merge(&self, frozen: &Frozen, place: &Place) -> Result<Option<(&'static str, String)>, RoyaltyError> {
        let _turn = self.merging.acquire().await.map_err(|error| RoyaltyError::Invariant(error.to_string()))?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match self.merger.merge(frozen, Some(place)).await {
                Ok(_) => return Ok(None),
                Err(error) => error,
            };
            let reason = match &error {
                RoyaltyError::BatchConflict { .. } => "batch_conflict",
                RoyaltyError::Invariant(_) => "invariant_broken",
                RoyaltyError::Database(cause) if attempt >= ATTEMPTS && is_about_the_record(cause) => "refused_by_the_database",
                RoyaltyError::Database(cause) if is_about_the_record(cause) => {
                    tokio::time::sleep(Duration::from_millis(PAUSE_MS_MIN << attempt)).await;
                    continue;
                }
                _ => return Err(error),
            };
            return Ok(Some((reason, error.to_string())));
        }
    }
}

/// The batch, or the part of one, that a record holds.
///
/// # Errors
/// Why it holds none.
pub(super) fn read(record: &Record) -> Result<Frozen, Refused> {
    let bytes = bytes::Bytes::copy_from_slice(record.value.as_deref().unwrap_or_default());
    let unreadable = |detail: String| Refused { reason: "unreadable", detail, payload: bytes.to_vec() };
    if bytes.len() > PART_BYTES_MAX {
        return Err(unreadable(format!("{} bytes are more than any part has", bytes.len())));
    }
    let part = match record.headers.get(PART_HEADER) {
        Some(name) => String::from_utf8(name.clone()).map_err(|error| unreadable(error.to_string()))?,
        None => String::new(),
    };
    let batch: Batch = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    Frozen::new(bytes.clone(), batch, part).map_err(|error| unreadable(error.to_string()))
}

/// Errors that the same record meets again: data exceptions and broken constraints (SQLSTATE classes 22 and 23).
fn is_about_the_record(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}
