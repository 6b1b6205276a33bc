//! The feed of plays: `royalty.plays` in the order of their last changes, which a trigger keeps in `revision` (migration 0011).

use platform::activity::{Place, PlayDoc, ReadOn};
use protocol::{PlayId, TrackId, UnixMs};
use sqlx::PgPool;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct PlayRow {
    revision: i64,
    play: Uuid,
    pseudonym: Uuid,
    track: Uuid,
    version: Uuid,
    territory: String,
    plan: String,
    duration_ms: i64,
    minted_at_ms: i64,
    played_ms: i64,
    state: String,
    reason: Option<String>,
    corroborated: bool,
    rule_version: Option<i32>,
    settled_in: Option<String>,
}

/// The plays that changed after a place, as they are now.
///
/// # Errors
/// Those of the database.
pub async fn after(pool: &PgPool, from: &ReadOn) -> Result<Vec<(Place, PlayDoc)>, sqlx::Error> {
    let rows: Vec<PlayRow> = sqlx::query_as(
        "SELECT revision, play, pseudonym, track, version, territory, plan, duration_ms, minted_at_ms, played_ms, state, reason,
                corroborated, rule_version, settled_in
         FROM royalty.plays
         WHERE (revision, play) > ($1, $2)
           AND revision < pg_snapshot_xmin(pg_current_snapshot())::TEXT::BIGINT
         ORDER BY revision, play
         LIMIT $3",
    )
    .bind(from.after.revision)
    .bind(from.after.name)
    .bind(from.rows())
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (Place { revision: row.revision, name: row.play }, told(row))).collect())
}

/// The oldest transaction still open, when changes wait for its end.
///
/// # Errors
/// Those of the database.
pub async fn held_by(pool: &PgPool) -> Result<Option<i64>, sqlx::Error> {
    let open = "SELECT number FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::TEXT::BIGINT AS number) AS oldest
                WHERE EXISTS (SELECT FROM royalty.plays WHERE revision >= oldest.number)";
    sqlx::query_scalar(open).fetch_optional(pool).await
}

fn told(row: PlayRow) -> PlayDoc {
    PlayDoc {
        play: PlayId(row.play),
        pseudonym: row.pseudonym,
        track: TrackId(row.track),
        version: row.version,
        territory: row.territory,
        plan: row.plan,
        duration_ms: row.duration_ms,
        minted_at_ms: UnixMs(row.minted_at_ms),
        played_ms: row.played_ms,
        state: row.state,
        reason: row.reason,
        corroborated: row.corroborated,
        rule_version: row.rule_version,
        settled_in: row.settled_in,
    }
}
