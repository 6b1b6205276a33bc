//! `/v1/me/follows`: the artists an account follows.

use axum::extract::State;
use platform::{Caller, NoContent, Path, Problem};
use protocol::ArtistId;

use crate::{
    Catalog,
    store::affinity::{self, Wish},
};

/// Follow an artist. Again is no error.
#[utoipa::path(
    put,
    path = "/v1/me/follows/{artist_id}",
    tag = "catalog",
    params(("artist_id" = uuid::Uuid, Path, description = "The artist")),
    responses(
        (status = 204, description = "It is followed; its counter follows within seconds"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 404, description = "`no_such_artist`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn follow(caller: Caller, State(catalog): State<Catalog>, Path(artist): Path<ArtistId>) -> Result<NoContent, Problem> {
    match affinity::follow(&catalog.pool, caller.account, artist, catalog.clock.now()).await? {
        Wish::Held => Ok(NoContent),
        Wish::NoSuchThing => Err(Problem::not_found("no_such_artist", "there is no artist with this id")),
    }
}

/// Follow an artist no more. Again is no error.
#[utoipa::path(
    delete,
    path = "/v1/me/follows/{artist_id}",
    tag = "catalog",
    params(("artist_id" = uuid::Uuid, Path, description = "The artist")),
    responses(
        (status = 204, description = "It is not followed"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn unfollow(caller: Caller, State(catalog): State<Catalog>, Path(artist): Path<ArtistId>) -> Result<NoContent, Problem> {
    affinity::unfollow(&catalog.pool, caller.account, artist).await?;
    Ok(NoContent)
}
