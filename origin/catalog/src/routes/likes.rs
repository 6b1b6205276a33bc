//! `/v1/me/likes`: the tracks an account likes.

use axum::extract::State;
use platform::{Caller, NoContent, Page, Paging, Path, Problem};
use protocol::{ArtistId, TrackId, UnixMs};
use serde::Serialize;
use utoipa::ToSchema;

use super::no_such_track;
use crate::{
    Catalog,
    store::affinity::{self, After, LikedTrack, Wish},
    track::ArtistRef,
};

/// A like.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Like {
    track: TrackLine,
    /// When it was liked, RFC 3339.
    #[serde(serialize_with = "protocol::time::rfc3339::serialize")]
    #[schema(value_type = String)]
    liked_at: UnixMs,
}

/// A track where it is listed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrackLine {
    #[schema(value_type = uuid::Uuid)]
    id: TrackId,
    title: String,
    artist: ArtistRef,
    album: Option<String>,
    duration_ms: i64,
}

impl From<LikedTrack> for Like {
    fn from(row: LikedTrack) -> Self {
        let track = TrackLine {
            id: TrackId(row.track_id),
            title: row.title,
            artist: ArtistRef { id: ArtistId(row.artist_id), name: row.artist_name },
            album: row.album,
            duration_ms: row.duration_ms,
        };
        Self { track, liked_at: UnixMs(row.liked_at_ms) }
    }
}

/// The caller's likes, newest first.
#[utoipa::path(
    get,
    path = "/v1/me/likes",
    tag = "catalog",
    params(
        ("limit" = Option<u32>, Query, description = "How many, 1 to 200"),
        ("cursor" = Option<String>, Query, description = "Where to go on, as the page before said"),
    ),
    responses(
        (status = 200, body = Page<Like>),
        (status = 400, description = "`invalid_query`, `invalid_cursor`"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn list(caller: Caller, State(catalog): State<Catalog>, paging: Paging) -> Result<Page<Like>, Problem> {
    let after = paging.after::<After>()?;
    let rows = affinity::likes(&catalog.pool, caller.account, after, paging.rows()).await?;
    let likes = rows.into_iter().map(Like::from).collect();
    Ok(Page::of(likes, &paging, |like: &Like| After { liked_at_ms: like.liked_at.0, track: like.track.id }))
}

/// Like a track. Again is no error.
#[utoipa::path(
    put,
    path = "/v1/me/likes/{track_id}",
    tag = "catalog",
    params(("track_id" = uuid::Uuid, Path, description = "The track")),
    responses(
        (status = 204, description = "It is liked; its counter follows within seconds"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 404, description = "`no_such_track`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn like(caller: Caller, State(catalog): State<Catalog>, Path(track): Path<TrackId>) -> Result<NoContent, Problem> {
    match affinity::like(&catalog.pool, caller.account, track, catalog.clock.now()).await? {
        Wish::Held => Ok(NoContent),
        Wish::NoSuchThing => Err(no_such_track()),
    }
}

/// Take a like back. Again is no error.
#[utoipa::path(
    delete,
    path = "/v1/me/likes/{track_id}",
    tag = "catalog",
    params(("track_id" = uuid::Uuid, Path, description = "The track")),
    responses(
        (status = 204, description = "It is not liked"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn unlike(caller: Caller, State(catalog): State<Catalog>, Path(track): Path<TrackId>) -> Result<NoContent, Problem> {
    affinity::unlike(&catalog.pool, caller.account, track, catalog.clock.now()).await?;
    Ok(NoContent)
}
