//! `/v1/me/artists`: whom the caller acts for, what it is invited to, and how it accepts and leaves.

use axum::extract::State;
use platform::{Caller, Json, NoContent, Page, Path, Problem, problem::ProblemDocument};
use protocol::ArtistId;

use crate::{Identity, member::OwnArtist};

/// Whom I act for and as what, and the latest invitations.
#[utoipa::path(
    get, path = "/v1/me/artists", tag = "identity", security(("session" = [])),
    responses(
        (status = 200, description = "At most 100 artists, and 50 invitations", body = Page<OwnArtist>),
        (status = 401, description = "`session_missing`, `session_invalid` or `session_expired`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list(caller: Caller, State(app): State<Identity>) -> Result<Page<OwnArtist>, Problem> {
    Ok(Page::whole(app.store.own_artists(caller.account).await?))
}

/// Accept an invitation. Again changes nothing.
#[utoipa::path(
    put, path = "/v1/me/artists/{id}", tag = "identity", security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The artist")),
    responses(
        (status = 200, description = "The caller acts for it", body = OwnArtist),
        (status = 401, description = "`session_missing`, `session_invalid` or `session_expired`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`no_such_invitation`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`too_many_artists`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn accept(caller: Caller, State(app): State<Identity>, Path(artist): Path<ArtistId>) -> Result<Json<OwnArtist>, Problem> {
    let own = app.store.accept(caller.account, artist, app.now()).await?;
    tracing::info!(%artist, account = %caller.account, role = own.role.name(), "an account acts for an artist");
    Ok(Json(own))
}

/// Act for an artist no more, or decline its invitation. Again is no error.
#[utoipa::path(
    delete, path = "/v1/me/artists/{id}", tag = "identity", security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The artist")),
    responses(
        (status = 204, description = "The caller is no member"),
        (status = 401, description = "`session_missing`, `session_invalid` or `session_expired`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`last_owner`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn leave(caller: Caller, State(app): State<Identity>, Path(artist): Path<ArtistId>) -> Result<NoContent, Problem> {
    app.store.remove_member(caller.account, artist, caller.account).await?;
    tracing::info!(%artist, account = %caller.account, "an account acts for an artist no more");
    Ok(NoContent)
}
