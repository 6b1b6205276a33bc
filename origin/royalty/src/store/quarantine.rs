//! Quarantined records: what stands in quarantine, and what a replay takes out of it. A record is never changed or removed; that it counts after
//! all is a row in `royalty.replayed`, written in the transaction that merges it.

use protocol::UnixMs;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::period::Period;

/// A record in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct QuarantineRow {
    /// Its number.
    pub id: i64,
    /// Why it could not count.
    pub reason: String,
    /// The play, when a good ticket named one.
    pub play: Option<Uuid>,
    /// The hour it is told under, since the epoch.
    pub hour: i64,
    /// When a buffer received it.
    pub received_at_ms: i64,
    /// The buffer.
    pub buffer: String,
    /// Which life of it.
    pub epoch: String,
    /// The batch.
    pub number: i64,
    /// The record, JSON.
    pub record: String,
    /// When it was merged after all.
    pub replayed_at_ms: Option<i64>,
    /// Whether it was a new event then; otherwise it was a duplicate.
    pub replayed_as_new: Option<bool>,
}

/// Which records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// These only.
    pub ids: Option<Vec<i64>>,
    /// Of this period only.
    pub period: Option<Period>,
    /// Quarantined for this reason only.
    pub reason: Option<String>,
    /// With a number above this one only.
    pub after: i64,
    /// No more than so many.
    pub rows: i64,
}

/// The records that stand in quarantine, by their number.
///
/// # Errors
/// Those of the database.
pub async fn standing(connection: &mut PgConnection, which: &Selection) -> Result<Vec<QuarantineRow>, sqlx::Error> {
    let hours = which.period.map(Period::hours);
    sqlx::query_as(
        "SELECT id, reason, play, quarantine.hour, received_at_ms, buffer, epoch, number, record,
                NULL::BIGINT AS replayed_at_ms, NULL::BOOLEAN AS replayed_as_new
         FROM royalty.quarantine
         WHERE id > $1
           AND ($2::BIGINT[] IS NULL OR id = ANY ($2))
           AND ($3::BIGINT IS NULL OR hour >= $3) AND ($4::BIGINT IS NULL OR hour < $4)
           AND ($5::TEXT IS NULL OR reason = $5)
           AND NOT EXISTS (SELECT FROM royalty.replayed WHERE replayed.quarantine = quarantine.id)
         ORDER BY id
         LIMIT $6",
    )
    .bind(which.after)
    .bind(which.ids.as_deref())
    .bind(hours.map(|(first, _)| first.0))
    .bind(hours.map(|(_, end)| end.0))
    .bind(which.reason.as_deref())
    .bind(which.rows)
    .fetch_all(connection)
    .await
}

/// One record, whether it stands or was replayed.
///
/// # Errors
/// Those of the database.
pub async fn one(pool: &PgPool, id: i64) -> Result<Option<QuarantineRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, reason, play, quarantine.hour, received_at_ms, buffer, epoch, number, record,
                replayed_at_ms, counted = 1 AS replayed_as_new
         FROM royalty.quarantine LEFT JOIN royalty.replayed ON replayed.quarantine = quarantine.id
         WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await
}

/// Keeps other replays away until the transaction ends, so that a record that stands is not taken twice at once.
///
/// # Errors
/// Those of the database.
pub async fn lock_replays(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('royalty.replay', 0))").execute(tx).await?;
    Ok(())
}

/// What a replay made of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// The record.
    pub id: i64,
    /// The hour it is told under.
    pub hour: i64,
    /// Whether it was a new event.
    pub is_new: bool,
}

/// Takes records out of quarantine.
///
/// # Errors
/// Those of the database; a record that was replayed already is one.
pub async fn release(tx: &mut PgConnection, released: &[Released], now: UnixMs) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO royalty.replayed (quarantine, hour, counted, duplicate, replayed_at_ms)
         SELECT id, hour, is_new::INTEGER, (NOT is_new)::INTEGER, $4
         FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BOOLEAN[]) AS released (id, hour, is_new)",
    )
    .bind(released.iter().map(|record| record.id).collect::<Vec<_>>())
    .bind(released.iter().map(|record| record.hour).collect::<Vec<_>>())
    .bind(released.iter().map(|record| record.is_new).collect::<Vec<_>>())
    .bind(now.0)
    .execute(tx)
    .await?;
    Ok(())
}
