//! `/v1/tracks/{id}`: a track's page, and its end.

use axum::{extract::State, http::StatusCode};
use platform::{Caller, Json, NoContent, Path, Problem, feed::TrackState};
use protocol::TrackId;

use super::no_such_track;
use crate::{
    Catalog,
    store::{self, take_down::TakeDown},
    track::TrackPage,
};

/// A track: what it is called, whose it is, what it can be played as.
#[utoipa::path(
    get,
    path = "/v1/tracks/{id}",
    tag = "catalog",
    params(("id" = uuid::Uuid, Path, description = "The track")),
    responses(
        (status = 200, body = TrackPage),
        (status = 404, description = "`no_such_track`"),
        (status = 410, description = "`taken_down`"),
    )
)]
pub(crate) async fn read(State(catalog): State<Catalog>, Path(id): Path<TrackId>) -> Result<Json<TrackPage>, Problem> {
    let track = store::tracks::track(&catalog.pool, id).await?.ok_or_else(no_such_track)?;
    match track.state {
        TrackState::Published => Ok(Json(track.into())),
        TrackState::TakenDown => Err(Problem::new(StatusCode::GONE, "taken_down", "this track has been taken down")),
    }
}

/// Take a track down, for good. Its owner may; again is no error.
#[utoipa::path(
    delete,
    path = "/v1/tracks/{id}",
    tag = "catalog",
    params(("id" = uuid::Uuid, Path, description = "The track")),
    responses(
        (status = 204, description = "It is down"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 403, description = "`not_yours`"),
        (status = 404, description = "`no_such_track`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn take_down(caller: Caller, State(catalog): State<Catalog>, Path(id): Path<TrackId>) -> Result<NoContent, Problem> {
    match store::take_down::take_down(&catalog.pool, id, caller.account, catalog.clock.now()).await? {
        TakeDown::Done => {
            catalog.outbox_grew();
            Ok(NoContent)
        }
        TakeDown::AlreadyDown => Ok(NoContent),
        TakeDown::NotTheOwner => Err(Problem::forbidden("not_yours", "only the account that uploaded a track may take it down")),
        TakeDown::NoSuchTrack => Err(no_such_track()),
    }
}
