//! `/v1/royalties/counts`: that nothing acknowledged is lost.

use axum::extract::State;
use platform::{Admin, Json, Problem, Query};
use serde::Deserialize;

use crate::{
    Royalty,
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
    ),
    security(("session" = []))
)]
pub(crate) async fn read(_: Admin, State(royalty): State<Royalty>, Query(of): Query<OfPeriod>) -> Result<Json<Counts>, Problem> {
    Ok(Json(counts::of_period(&royalty.pool, of.period).await?))
}
