//! From a frozen batch to the one merge, whichever way the batch came.

use std::sync::Arc;

use platform::Clock;
use protocol::keys::TokenKeys;
use sqlx::PgPool;
use tokio::sync::Notify;

use super::part::Frozen;
use crate::{
    collector,
    error::RoyaltyError,
    period::Period,
    store::{
        log::Place,
        merge::{self, Outcome, Tally},
        partitions::Partitions,
    },
};

/// What a merge stands on.
#[derive(Clone)]
pub struct Merger {
    pub(crate) pool: PgPool,
    pub(crate) partitions: Arc<Partitions>,
    pub(crate) keys: TokenKeys,
    pub(crate) clock: Clock,
    pub(crate) merged: Arc<Notify>,
}

impl Merger {
    /// Sorts a batch and merges it. `place` is where it stood in a log.
    ///
    /// # Errors
    /// As [`merge::merge`].
    pub async fn merge(&self, frozen: &Frozen, place: Option<&Place>) -> Result<(Outcome, Tally), RoyaltyError> {
        let now = self.clock.now();
        let sorted = collector::sort(&frozen.batch, &self.keys, now)?;
        let key = frozen.key();
        let (outcome, tally) = merge::merge(&self.pool, &self.partitions, &key, sorted, place, now).await?;
        self.merged.notify_one();
        if tally.quarantined > 0 && outcome == Outcome::Merged {
            tracing::warn!(buffer = key.buffer, number = key.number, quarantined = tally.quarantined, "records were quarantined");
        }
        Ok((outcome, tally))
    }

    /// How many records of a batch are told under `period`.
    ///
    /// # Errors
    /// As [`collector::sort`].
    pub fn records(&self, frozen: &Frozen, period: Period) -> Result<i64, RoyaltyError> {
        let sorted = collector::sort(&frozen.batch, &self.keys, self.clock.now())?;
        Ok(sorted.acked.iter().filter(|(hour, _)| Period::of(hour.starts_at()) == Ok(period)).map(|(_, records)| records).sum())
    }
}
