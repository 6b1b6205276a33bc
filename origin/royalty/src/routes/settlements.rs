//! `/v1/royalties/settlements`: giving a period's money out.

use axum::extract::State;
use platform::{Admin, Created, Json, Problem};

use crate::{
    Royalty,
    settlement::{SettleRequest, Settlement},
};

/// Settle a period. The same again answers the same and posts nothing.
#[utoipa::path(
    post,
    path = "/v1/royalties/settlements",
    tag = "royalties",
    request_body = SettleRequest,
    responses(
        (status = 201, body = Settlement),
        (status = 400, description = "`invalid_body`"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 403, description = "`not_an_admin`"),
        (status = 409, description = "`settled_otherwise`: another model posted"),
        (status = 422, description = "`currency_not_supported`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn create(
    _: Admin,
    State(royalty): State<Royalty>,
    Json(request): Json<SettleRequest>,
) -> Result<Created<Settlement>, Problem> {
    Ok(Created(royalty.settle(request).await?))
}
