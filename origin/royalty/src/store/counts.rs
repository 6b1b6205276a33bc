//! What the collector and the buffers count: written by a merge in its own transaction, read as the identity of a period.

use std::collections::BTreeMap;

use protocol::tally::{HOURS_MAX, Hour, HourTally, Report, SET_ASIDE_MAX, Since};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use super::merge::{BatchKey, Tally};
use crate::{error::RoyaltyError, period::Period};

/// Every record of a period that a buffer has acknowledged and handed over, by what became of it.
/// `acked = counted + quarantined + duplicate + pending` at every moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Counts {
    /// Records merged.
    pub acked: i64,
    /// New events that the listen rule has seen.
    pub counted: i64,
    /// Records that cannot count, each kept with a reason.
    pub quarantined: i64,
    /// Records that were there already.
    pub duplicate: i64,
    /// New events that the listen rule has not seen yet.
    pub pending: i64,
}

/// The counts of a period, in one statement and therefore from one snapshot. A record that was replayed is no longer told as quarantined.
/// What waits to be judged is looked for at the accounts that wait: a merge marks them in its own transaction.
///
/// # Errors
/// Those of the database.
pub async fn of_period(pool: &PgPool, period: Period) -> Result<Counts, sqlx::Error> {
    let (low, high) = period.plays();
    let (first, end) = period.hours();
    sqlx::query_as(
        "SELECT merged.acked,
                merged.counted + replayed.counted - waiting.pending AS counted,
                merged.quarantined - replayed.counted - replayed.duplicate AS quarantined,
                merged.duplicate + replayed.duplicate AS duplicate,
                waiting.pending
         FROM (SELECT coalesce(sum(acked), 0)::BIGINT AS acked,
                      coalesce(sum(counted), 0)::BIGINT AS counted,
                      coalesce(sum(quarantined), 0)::BIGINT AS quarantined,
                      coalesce(sum(duplicate), 0)::BIGINT AS duplicate
               FROM royalty.batch_counts WHERE period = $1) AS merged,
              (SELECT coalesce(sum(counted), 0)::BIGINT AS counted,
                      coalesce(sum(duplicate), 0)::BIGINT AS duplicate
               FROM royalty.replayed WHERE hour >= $4 AND hour < $5) AS replayed,
              (SELECT coalesce(sum(events - folded), 0)::BIGINT AS pending
               FROM royalty.dirty_accounts AS dirty
               JOIN royalty.plays ON plays.pseudonym = dirty.pseudonym AND play BETWEEN dirty.earliest AND dirty.latest
               WHERE play >= $2 AND play < $3) AS waiting",
    )
    .bind(period.to_string())
    .bind(low)
    .bind(high)
    .bind(first.0)
    .bind(end.0)
    .fetch_one(pool)
    .await
}

/// Writes what became of the records of a batch, by the hour and by the month. That nothing is lost is not computed here: `acked` was counted
/// when the batch came in, and the database refuses the row when the rest does not add up to it.
///
/// # Errors
/// Those of the database.
pub(super) async fn write(tx: &mut PgConnection, key: &BatchKey, tallies: &BTreeMap<Hour, Tally>) -> Result<(), RoyaltyError> {
    let periods: Vec<String> = tallies.keys().map(|hour| Ok(period_of(*hour)?.to_string())).collect::<Result<_, RoyaltyError>>()?;
    let figure = |of: fn(&Tally) -> i64| tallies.values().map(of).collect::<Vec<_>>();
    sqlx::query(
        "WITH tally AS (
             SELECT hour, period, acked, counted, duplicate, quarantined
             FROM unnest($5::BIGINT[], $6::TEXT[], $7::BIGINT[], $8::BIGINT[], $9::BIGINT[], $10::BIGINT[])
                  AS tally (hour, period, acked, counted, duplicate, quarantined)
         ), by_hour AS (
             INSERT INTO royalty.batch_hours (buffer, epoch, number, part, hour, acked, counted, duplicate, quarantined)
             SELECT $1, $2, $3, $4, hour, acked, counted, duplicate, quarantined FROM tally
         )
         INSERT INTO royalty.batch_counts (buffer, epoch, number, part, period, acked, counted, duplicate, quarantined)
         SELECT $1, $2, $3, $4, period, sum(acked), sum(counted), sum(duplicate), sum(quarantined) FROM tally GROUP BY period",
    )
    .bind(&key.buffer)
    .bind(&key.epoch)
    .bind(key.number)
    .bind(&key.part)
    .bind(tallies.keys().map(|hour| hour.0).collect::<Vec<_>>())
    .bind(periods)
    .bind(figure(|tally| tally.acked))
    .bind(figure(|tally| tally.counted))
    .bind(figure(|tally| tally.duplicate))
    .bind(figure(|tally| tally.quarantined))
    .execute(tx)
    .await?;
    Ok(())
}

/// The month an hour lies in.
fn period_of(hour: Hour) -> Result<Period, RoyaltyError> {
    Period::of(hour.starts_at()).map_err(|error| RoyaltyError::Invariant(format!("hour {}: {error}", hour.0)))
}

/// Writes what the buffer says of itself. A batch that came in several parts carries one report, which is written once.
///
/// # Errors
/// Those of the database.
pub(super) async fn write_report(tx: &mut PgConnection, key: &BatchKey, report: &Report) -> Result<(), sqlx::Error> {
    let hours = || report.hours.iter().take(HOURS_MAX);
    let figure = |of: fn(&HourTally) -> u64| hours().map(|tally| narrow(of(tally))).collect::<Vec<_>>();
    let since = match report.since {
        Since::Epoch => "epoch",
        Since::Batch => "batch",
    };
    sqlx::query(
        "WITH report AS (
             INSERT INTO royalty.buffer_reports (buffer, epoch, number, since, posts_waiting, set_aside)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT DO NOTHING
         )
         INSERT INTO royalty.buffer_hours (buffer, epoch, number, hour, offered, refused, duplicate, stored, frozen)
         SELECT $1, $2, $3, hour, offered, refused, duplicate, stored, frozen
         FROM unnest($7::BIGINT[], $8::BIGINT[], $9::BIGINT[], $10::BIGINT[], $11::BIGINT[], $12::BIGINT[])
              AS tally (hour, offered, refused, duplicate, stored, frozen)
         ON CONFLICT DO NOTHING",
    )
    .bind(&key.buffer)
    .bind(&key.epoch)
    .bind(key.number)
    .bind(since)
    .bind(narrow(report.posts_waiting))
    .bind(report.set_aside.iter().take(SET_ASIDE_MAX).map(|number| narrow(*number)).collect::<Vec<_>>())
    .bind(hours().map(|tally| tally.hour.0).collect::<Vec<_>>())
    .bind(figure(|tally| tally.offered))
    .bind(figure(|tally| tally.refused))
    .bind(figure(|tally| tally.duplicate))
    .bind(figure(|tally| tally.stored))
    .bind(figure(|tally| tally.frozen))
    .execute(tx)
    .await?;
    Ok(())
}

/// No buffer has so many events. A figure beyond it is as wrong as this one, which can still be added up.
const FIGURE_MAX: i64 = 1 << 40;

fn narrow(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(FIGURE_MAX).min(FIGURE_MAX)
}
