//! `/v1/tracks/{id}`: a track's page, and its end.

use axum::{extract::State, http::StatusCode};
use platform::{
    Caller, Json, NoContent, Path, Problem,
    feed::TrackState,
    memberships::{MemberRole, NotAllowed, require},
};
use protocol::{AccountId, TrackId};

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

/// Take a track down, for good. Owners and editors of its artist may; again is no error.
#[utoipa::path(
    delete,
    path = "/v1/tracks/{id}",
    tag = "catalog",
    params(("id" = uuid::Uuid, Path, description = "The track")),
    responses(
        (status = 204, description = "It is down"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 403, description = "`not_yours`, `needs_editor`"),
        (status = 404, description = "`no_such_track`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn take_down(caller: Caller, State(catalog): State<Catalog>, Path(id): Path<TrackId>) -> Result<NoContent, Problem> {
    may_take_down(&catalog, caller.account, id).await?;
    match store::take_down::take_down(&catalog.pool, id, catalog.clock.now()).await? {
        TakeDown::Done => {
            catalog.outbox_grew();
            Ok(NoContent)
        }
        TakeDown::AlreadyDown => Ok(NoContent),
        TakeDown::NoSuchTrack => Err(no_such_track()),
    }
}

/// Whether the caller has a say in the track at this moment.
async fn may_take_down(catalog: &Catalog, caller: AccountId, track: TrackId) -> Result<(), Problem> {
    let say = store::take_down::say(&catalog.pool, track).await?.ok_or_else(no_such_track)?;
    let allowed = match say.acts_for {
        Some(artist) => require(catalog.memberships.role(caller, artist).await?, MemberRole::Editor),
        None if say.owner == caller => Ok(()),
        None => Err(NotAllowed::NotAMember),
    };
    allowed.map_err(|refusal| match refusal {
        NotAllowed::NotAMember => Problem::forbidden("not_yours", "only those who act for a track's artist may take it down"),
        NotAllowed::RoleTooLow { .. } => refusal.into(),
    })
}
