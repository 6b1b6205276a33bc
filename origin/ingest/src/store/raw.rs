//! The SQL of raw objects: which of them nobody needs any more, and that they are gone.

use protocol::{UnixMs, UploadId};
use sqlx::PgExecutor;
use uuid::Uuid;

/// Ended uploads whose file may go: cancelled ones that were declared before `cancelled`, others that ended before `ended`. The longest ended first.
pub(crate) async fn not_needed(db: impl PgExecutor<'_>, cancelled: UnixMs, ended: UnixMs, rows: i64) -> sqlx::Result<Vec<UploadId>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id
           FROM ingest.uploads
          WHERE raw_removed_at_ms IS NULL
            AND state IN ('published', 'rejected', 'taken_down')
            AND (updated_at_ms < $2 OR (state = 'taken_down' AND published_at_ms IS NULL AND created_at_ms < $1))
          ORDER BY updated_at_ms
          LIMIT $3",
    )
    .bind(cancelled.0)
    .bind(ended.0)
    .bind(rows)
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().map(UploadId).collect())
}

/// Remembers that their files are gone.
pub(crate) async fn removed(db: impl PgExecutor<'_>, uploads: &[UploadId], now: UnixMs) -> sqlx::Result<()> {
    sqlx::query("UPDATE ingest.uploads SET raw_removed_at_ms = $2 WHERE id = ANY ($1)")
        .bind(uploads.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .bind(now.0)
        .execute(db)
        .await?;
    Ok(())
}
