//! `/internal/cards/{track}`: what the edge needs to decide whether a track may be played. The gateway passes it on.

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use platform::{Json, Path, Problem};
use protocol::{TrackId, sheet::Card};

use super::no_such_track;
use crate::{Catalog, store};

/// The card of a track.
#[utoipa::path(
    get,
    path = "/internal/cards/{track}",
    tag = "internal",
    params(("track" = uuid::Uuid, Path, description = "The track")),
    responses(
        (status = 200, description = "The card: state, current version, territories and window", body = Object),
        (status = 404, description = "`no_such_track`"),
    )
)]
pub(crate) async fn read(State(catalog): State<Catalog>, Path(track): Path<TrackId>) -> Result<Response, Problem> {
    let track = store::tracks::track(&catalog.pool, track).await?.ok_or_else(no_such_track)?;
    let card = Json(Card::from(track));
    Ok(([(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60, stale-if-error=86400"))], card).into_response())
}
