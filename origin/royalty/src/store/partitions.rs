//! Partitions of `royalty.events` and `royalty.plays`, one of each per UTC day of mint. Code keeps them ahead of time, and a merge
//! makes what it still lacks, so that nobody has to remember.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use protocol::UnixMs;
use sqlx::PgPool;

/// Days before and after today that always have partitions.
const BEHIND_DAYS: i64 = 8;
const AHEAD_DAYS: i64 = 3;

/// Days known to have partitions, so that a merge asks the database only about new ones. They are never dropped under a running service.
#[derive(Debug, Default)]
pub struct Partitions {
    known: Mutex<BTreeSet<i64>>,
}

impl Partitions {
    /// Makes the partitions around `now`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn keep_ahead(&self, pool: &PgPool, now: UnixMs) -> Result<(), sqlx::Error> {
        self.ensure(pool, (now.day() - BEHIND_DAYS)..=(now.day() + AHEAD_DAYS)).await
    }

    /// Makes the partitions of `days` (days since the epoch) that are not known to exist, outside any transaction of the caller: an
    /// attached partition's lock must not last as long as a merge.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn ensure(&self, pool: &PgPool, days: impl IntoIterator<Item = i64>) -> Result<(), sqlx::Error> {
        let missing: Vec<i64> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            days.into_iter().filter(|day| !known.contains(day)).collect()
        };
        for day in missing {
            let made: bool = sqlx::query_scalar("SELECT royalty.ensure_day(DATE '1970-01-01' + $1::INTEGER)")
                .bind(i32::try_from(day).unwrap_or(i32::MAX))
                .fetch_one(pool)
                .await?;
            if made {
                tracing::info!(day, "made the partitions of a day");
            }
            self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(day);
        }
        Ok(())
    }
}
