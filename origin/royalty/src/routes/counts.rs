//! `/v1/royalties/counts`: that nothing acknowledged is lost.

use axum::extract::State;
use platform::{Admin, Json, Problem, Query};
use serde::Deserialize;

use crate::{
    Royalty, RoyaltyError,
    period::Period,
    store::counts::{self, Counts},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfPeriod {
    period: Period,
}

/// What became of every record of a period.
#[utoipa::path(
    get,
    path = "/v1/royalties/counts",
    tag = "royalties",
    params(("period" = String, Query, description = "The month, such as 2026-11")),
    responses(
        (status = 200, body = Counts),
        (status = 400, description = "`invalid_query`"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 403, description = "`not_an_admin`"),
        (status = 503, description = "`unavailable`, `intake_away`: what waits in the log cannot be counted now"),
    ),
    security(("session" = []))
)]
pub(crate) async fn read(_: Admin, State(royalty): State<Royalty>, Query(of): Query<OfPeriod>) -> Result<Json<Counts>, Problem> {
    Ok(Json(counted(&royalty, of.period).await?))
}

/// Tries to find a moment in which nothing was merged between the two counts.
const TRIES: u32 = 5;

/// What the database holds and what waits before it. Records that a log has acknowledged and nobody has merged are `acked` and `pending`:
/// the identity holds however many those are, and while nothing is merged in between, each record is counted exactly once.
async fn counted(royalty: &Royalty, period: Period) -> Result<Counts, RoyaltyError> {
    for _ in 0..TRIES {
        let place = royalty.intake.place().await?;
        let mut counts = counts::of_period(&royalty.pool, period).await?;
        let waiting = royalty.intake.waiting(period).await?;
        if royalty.intake.place().await? == place {
            counts.acked += waiting;
            counts.pending += waiting;
            return Ok(counts);
        }
    }
    Err(RoyaltyError::IntakeAway("batches are being merged faster than they can be counted".to_owned()))
}
