//! What happened to tracks, in commit order. Appended inside the transaction that made it happen; read by the long poll.

use platform::feed::{OutboxKind, TrackDoc};
use protocol::{TrackId, UnixMs};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{FromRow, PgConnection, PgPool, types::Json};
use utoipa::ToSchema;

use super::tracks;

/// Held from taking a sequence number to the commit, so that numbers become visible in order and a reader's cursor skips nothing.
const OUTBOX_LOCK: i64 = 0x616e_7469_0003;

/// The name of a change in the table and in JSON.
const fn name(kind: OutboxKind) -> &'static str {
    match kind {
        OutboxKind::TrackPublished => "track_published",
        OutboxKind::TrackTakenDown => "track_taken_down",
    }
}

/// One change of one track.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub(crate) struct Event {
    /// Grows in commit order; gaps mean nothing.
    pub(crate) seq: i64,
    /// `track_published` or `track_taken_down`.
    pub(crate) kind: String,
    /// When it happened.
    pub(crate) at_ms: i64,
    /// The track as it was right after.
    #[schema(value_type = Object)]
    pub(crate) track: Json<Box<RawValue>>,
}

/// Appends a change of `track`, whose rows the transaction has already written. The last step of a transaction, because
/// everyone who publishes waits for this lock.
pub(crate) async fn append(tx: &mut PgConnection, kind: OutboxKind, track: TrackId, at: UnixMs) -> sqlx::Result<()> {
    let Some(track) = tracks::track(&mut *tx, track).await? else { return Err(sqlx::Error::RowNotFound) };
    let id = track.id;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(OUTBOX_LOCK).execute(&mut *tx).await?;
    sqlx::query(
        "INSERT INTO catalog.outbox (kind, track_id, at_ms, track)
         VALUES ($1, $2, $3, $4)",
    )
    .bind(name(kind))
    .bind(id.uuid())
    .bind(at.0)
    .bind(Json(TrackDoc::from(track)))
    .execute(tx)
    .await?;
    Ok(())
}

/// The changes after `seq`, oldest first.
pub(crate) async fn after(db: &PgPool, seq: i64, limit: i64) -> sqlx::Result<Vec<Event>> {
    sqlx::query_as(
        "SELECT seq,
                kind,
                at_ms,
                track
           FROM catalog.outbox
          WHERE seq > $1
          ORDER BY seq
          LIMIT $2",
    )
    .bind(seq)
    .bind(limit)
    .fetch_all(db)
    .await
}

/// The newest change, 0 when there is none.
pub(crate) async fn head(db: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM catalog.outbox").fetch_one(db).await
}
