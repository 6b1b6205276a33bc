//! The feed of likes: appended by the statements that like and unlike, read in the order of their transactions.

use platform::activity::{LikeDoc, Place, ReadOn};
use protocol::{AccountId, TrackId, UnixMs};
use sqlx::PgPool;
use uuid::Uuid;

/// What was liked and unliked after a place.
pub(crate) async fn after(db: &PgPool, from: &ReadOn) -> sqlx::Result<Vec<(Place, LikeDoc)>> {
    let rows: Vec<(i64, i64, Uuid, Uuid, bool, i64)> = sqlx::query_as(
        "SELECT revision,
                seq,
                account_id,
                track_id,
                liked,
                happened_at_ms
           FROM catalog.like_changes
          WHERE (revision, seq) > ($1, $2)
            AND revision < pg_snapshot_xmin(pg_current_snapshot())::TEXT::BIGINT
          ORDER BY revision, seq
          LIMIT $3",
    )
    .bind(from.after.revision)
    .bind(i64::try_from(from.after.name.as_u128()).unwrap_or(i64::MAX))
    .bind(from.rows())
    .fetch_all(db)
    .await?;
    let change = |(revision, seq, account, track, liked, at): (i64, i64, Uuid, Uuid, bool, i64)| {
        let place = Place { revision, name: Uuid::from_u128(u128::from(seq.unsigned_abs())) };
        (place, LikeDoc { account: AccountId(account), track: TrackId(track), liked, happened_at_ms: UnixMs(at) })
    };
    Ok(rows.into_iter().map(change).collect())
}

/// The oldest transaction still open, when changes wait for its end.
pub(crate) async fn held_by(db: &PgPool) -> sqlx::Result<Option<i64>> {
    let open = "SELECT number
                  FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::TEXT::BIGINT AS number) AS oldest
                 WHERE EXISTS (SELECT FROM catalog.like_changes WHERE revision >= oldest.number)";
    sqlx::query_scalar(open).fetch_optional(db).await
}
