//! The identity, read in one statement and therefore from one snapshot.

use serde::Serialize;
use sqlx::PgPool;

use crate::period::Period;

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

/// The counts of a period.
///
/// # Errors
/// Those of the database.
pub async fn of_period(pool: &PgPool, period: Period) -> Result<Counts, sqlx::Error> {
    let (low, high) = period.plays();
    sqlx::query_as(
        "SELECT merged.acked,
                merged.counted - waiting.pending AS counted,
                merged.quarantined,
                merged.duplicate,
                waiting.pending
         FROM (SELECT coalesce(sum(acked), 0)::BIGINT AS acked,
                      coalesce(sum(counted), 0)::BIGINT AS counted,
                      coalesce(sum(quarantined), 0)::BIGINT AS quarantined,
                      coalesce(sum(duplicate), 0)::BIGINT AS duplicate
               FROM royalty.batch_counts WHERE period = $1) AS merged,
              (SELECT coalesce(sum(events - folded), 0)::BIGINT AS pending
               FROM royalty.plays WHERE folded <> events AND play >= $2 AND play < $3) AS waiting",
    )
    .bind(period.to_string())
    .bind(low)
    .bind(high)
    .fetch_one(pool)
    .await
}
