//! `/v1/royalties/revenue`: where money comes from.

use axum::extract::State;
use platform::{Admin, Created, Json, Problem};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    Royalty,
    revenue::{self, Intake, Revenue},
};

/// Payments of listeners.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Payments {
    items: Vec<Revenue>,
}

/// Take revenue in: every item, or none of them.
#[utoipa::path(
    post,
    path = "/v1/royalties/revenue",
    tag = "royalties",
    request_body = Payments,
    responses(
        (status = 201, body = Intake),
        (status = 400, description = "`invalid_body`"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 403, description = "`not_an_admin`"),
        (status = 409, description = "`source_conflict`, `period_closed`"),
        (status = 422, description = "`bad_item`, `currency_not_supported`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn create(_: Admin, State(royalty): State<Royalty>, Json(payments): Json<Payments>) -> Result<Created<Intake>, Problem> {
    let taken = revenue::take(&royalty.pool, &royalty.keys, royalty.currency, &payments.items, royalty.clock.now()).await?;
    Ok(Created(taken))
}
