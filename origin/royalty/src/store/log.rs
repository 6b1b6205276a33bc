//! How far each partition of a log has been merged (`royalty.cursors`), and what of it cannot be (`royalty.refused_records`). A place moves
//! in the transaction that writes what stood there, so that a restart resumes exactly.

use protocol::UnixMs;
use sqlx::{PgConnection, PgPool};

use super::merge::BatchKey;
use crate::error::RoyaltyError;

/// Where a record stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The log and its partition.
    pub source: String,
    /// The place that the reader believes to be next.
    pub from: i64,
    /// The place that is next after the record.
    pub next: i64,
}

/// Why a record cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Stable code.
    pub reason: &'static str,
    /// What is wrong.
    pub detail: String,
    /// The record.
    pub payload: Vec<u8>,
}

/// The next place of `source`; `None` when it was never read.
///
/// # Errors
/// Those of the database.
pub async fn position(pool: &PgPool, source: &str) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar("SELECT position FROM royalty.cursors WHERE source = $1").bind(source).fetch_optional(pool).await
}

/// The next places of all partitions whose source begins with `prefix`.
///
/// # Errors
/// Those of the database.
pub async fn positions(pool: &PgPool, prefix: &str) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as("SELECT source, position FROM royalty.cursors WHERE starts_with(source, $1) ORDER BY source")
        .bind(prefix)
        .fetch_all(pool)
        .await
}

/// Begins to keep the place of `source`, unless it is kept already.
///
/// # Errors
/// Those of the database.
pub async fn begin(pool: &PgPool, source: &str, position: i64) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO royalty.cursors (source, position) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(source)
        .bind(position)
        .execute(pool)
        .await?;
    Ok(())
}

/// Moves the place in the caller's transaction. A second reader of the same partition waits here for the first, and then is told.
///
/// # Errors
/// [`RoyaltyError::PlaceMoved`] when the place is not where the caller believes.
pub async fn advance(tx: &mut PgConnection, place: &Place) -> Result<(), RoyaltyError> {
    let moved = sqlx::query("UPDATE royalty.cursors SET position = $3 WHERE source = $1 AND position = $2")
        .bind(&place.source)
        .bind(place.from)
        .bind(place.next)
        .execute(tx)
        .await?;
    if moved.rows_affected() == 1 { Ok(()) } else { Err(RoyaltyError::PlaceMoved(place.source.clone())) }
}

/// Keeps a record that cannot be merged and moves on.
///
/// # Errors
/// As [`advance`], and those of the database.
pub async fn refuse(pool: &PgPool, place: &Place, refused: &Refused, now: UnixMs) -> Result<(), RoyaltyError> {
    let mut tx = pool.begin().await?;
    advance(&mut tx, place).await?;
    sqlx::query(
        "INSERT INTO royalty.refused_records (source, position, reason, detail, payload, refused_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&place.source)
    .bind(place.from)
    .bind(refused.reason)
    .bind(refused.detail.replace('\0', "\u{fffd}"))
    .bind(&refused.payload)
    .bind(now.0)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Whether the record at `position` was merged, or refused.
///
/// # Errors
/// Those of the database.
pub async fn is_merged(pool: &PgPool, key: &BatchKey, source: &str, position: i64) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM royalty.batches
                        WHERE buffer = $1 AND epoch = $2 AND number = $3 AND part = $4 AND sha256 = decode($5, 'hex'))
             OR EXISTS (SELECT FROM royalty.refused_records WHERE source = $6 AND position = $7)",
    )
    .bind(&key.buffer)
    .bind(&key.epoch)
    .bind(key.number)
    .bind(&key.part)
    .bind(&key.sha256)
    .bind(source)
    .bind(position)
    .fetch_one(pool)
    .await
}

/// Whether the record at `position` was refused.
///
/// # Errors
/// Those of the database.
pub async fn is_refused(pool: &PgPool, source: &str, position: i64) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM royalty.refused_records WHERE source = $1 AND position = $2)")
        .bind(source)
        .bind(position)
        .fetch_one(pool)
        .await
}
