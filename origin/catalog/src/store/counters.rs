//! Summing changes into counters: the changes that are deleted are the ones that are counted, in one statement.

use sqlx::PgPool;

/// Drains up to `limit` changes; returns how many there were. Two drains at once count each change once, since a deleted row
/// is returned to one of them only.
pub(crate) async fn drain(db: &PgPool, limit: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "WITH drained AS (
             DELETE FROM catalog.counter_changes
              WHERE id IN (SELECT id
                             FROM catalog.counter_changes
                            ORDER BY id
                            LIMIT $1)
             RETURNING kind, subject, delta
         ), summed AS (
             INSERT INTO catalog.counters (kind, subject, value)
             SELECT kind, subject, sum(delta)
               FROM drained
              GROUP BY kind, subject
              ORDER BY kind, subject
                 ON CONFLICT (kind, subject) DO UPDATE
                SET value = counters.value + excluded.value
         )
         SELECT count(*)
           FROM drained",
    )
    .bind(limit)
    .fetch_one(db)
    .await
}
