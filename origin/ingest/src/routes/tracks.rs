//! `/v1/ingest/tracks/{id}` and `GET /v1/me/tracks`: how the uploads for one's artists stand, and how one is cancelled. Every member may look,
//! owners and editors may cancel.

use axum::extract::State;
use futures::StreamExt as _;
use platform::{Caller, Json, NoContent, Page, Paging, Path, Problem, Query, memberships::MemberRole};
use protocol::{ArtistId, Rung, TrackId, UnixMs, sheet::CardState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Ingest, store,
    upload::{Reason, State as UploadState, Upload},
};

/// How many tracks of a page are asked for at the catalogue at once.
const ASKED_AT_ONCE: usize = 8;

/// An upload, as the members of its artist see it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrackStatus {
    #[schema(value_type = uuid::Uuid)]
    id: TrackId,
    state: UploadState,
    title: String,
    /// The artist it was uploaded for.
    #[schema(value_type = uuid::Uuid)]
    artist_id: ArtistId,
    /// Who made it, as listeners read it.
    artist: String,
    album: Option<String>,
    /// Why it is rejected or held.
    reason: Option<Reason>,
    progress: Vec<RungProgress>,
    #[serde(with = "protocol::time::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: UnixMs,
    #[serde(with = "protocol::time::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    published_at: Option<UnixMs>,
}

/// How far a rung is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RungProgress {
    #[schema(value_type = String, example = "aac-128")]
    rung: Rung,
    #[schema(maximum = 100)]
    percent: u8,
}

impl From<Upload> for TrackStatus {
    fn from(upload: Upload) -> Self {
        let progress = upload.progress().into_iter().map(|(rung, percent)| RungProgress { rung, percent }).collect();
        Self {
            id: upload.track,
            state: upload.state,
            title: upload.declared.title,
            artist_id: upload.acts_for,
            artist: upload.declared.artist,
            album: upload.declared.album,
            reason: upload.reason,
            progress,
            created_at: upload.created_at,
            published_at: upload.published_at,
        }
    }
}

/// How an upload stands. One for an artist that the caller is no member of is not there.
#[utoipa::path(
    get,
    path = "/v1/ingest/tracks/{id}",
    tag = "ingest",
    params(("id" = uuid::Uuid, Path, description = "The track")),
    responses(
        (status = 200, body = TrackStatus),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 404, description = "`no_such_track`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn read(caller: Caller, State(app): State<Ingest>, Path(id): Path<TrackId>) -> Result<Json<TrackStatus>, Problem> {
    let acting = app.acting(caller.account).await?;
    let upload = store::of_track(&app.pool, &acting.artists(), id).await?;
    let upload = upload.ok_or_else(no_such_track)?;
    Ok(Json(current(&app, upload).await.into()))
}

/// Cancel an upload that is not published yet. Again is no error. A published track is taken down at `/v1/tracks/{id}`.
#[utoipa::path(
    delete,
    path = "/v1/ingest/tracks/{id}",
    tag = "ingest",
    params(("id" = uuid::Uuid, Path, description = "The track")),
    responses(
        (status = 204, description = "Nothing more becomes of it"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 403, description = "`needs_editor`"),
        (status = 404, description = "`no_such_track`"),
        (status = 409, description = "`not_under_way`: it is published or about to be, or it was rejected or is held"),
    ),
    security(("session" = []))
)]
pub(crate) async fn cancel(caller: Caller, State(app): State<Ingest>, Path(id): Path<TrackId>) -> Result<NoContent, Problem> {
    let acting = app.acting(caller.account).await?;
    let theirs = async || -> Result<Upload, Problem> { store::of_track(&app.pool, &acting.artists(), id).await?.ok_or_else(no_such_track) };
    acting.may(theirs().await?.acts_for, MemberRole::Editor)?;
    if store::cancel(&app.pool, id, app.clock.now()).await? {
        tracing::info!(track = %id, by = %caller.account, "its artist cancels an upload");
        return Ok(NoContent);
    }
    let upload = theirs().await?;
    let stands = match upload.state {
        UploadState::TakenDown => return Ok(NoContent),
        UploadState::Pending | UploadState::Uploaded | UploadState::Processing => "being published",
        state @ (UploadState::Published | UploadState::Rejected | UploadState::Held) => state.name(),
    };
    Err(Problem::conflict("not_under_way", format!("this upload cannot be cancelled any more: it is {stands}")))
}

fn no_such_track() -> Problem {
    Problem::not_found("no_such_track", "no artist that you act for has such a track")
}

/// Which of the caller's artists.
#[derive(Debug, Deserialize)]
pub(crate) struct Whose {
    artist_id: Option<ArtistId>,
}

/// The tracks of the artists that the caller acts for, newest first.
#[utoipa::path(
    get,
    path = "/v1/me/tracks",
    tag = "ingest",
    params(
        ("artist_id" = Option<uuid::Uuid>, Query, description = "Of this artist alone"),
        ("limit" = Option<u32>, Query, description = "1 to 200, 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, body = Page<TrackStatus>),
        (status = 400, description = "`invalid_query`, `invalid_cursor`"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 403, description = "`not_a_member`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn list(
    caller: Caller,
    State(app): State<Ingest>,
    Query(whose): Query<Whose>,
    paging: Paging,
) -> Result<Page<TrackStatus>, Problem> {
    let acting = app.acting(caller.account).await?;
    let artists = match whose.artist_id {
        Some(artist) => vec![acting.may(artist, MemberRole::Viewer)?.artist_id],
        None => acting.artists(),
    };
    let uploads = store::of_artists(&app.pool, &artists, paging.after()?, paging.rows()).await?;
    let page = Page::of(uploads, &paging, |upload| upload.track);
    let asked = futures::stream::iter(page.items).map(|upload| current(&app, upload)).buffered(ASKED_AT_ONCE);
    let items = asked.map(TrackStatus::from).collect().await;
    Ok(Page { items, next_cursor: page.next_cursor })
}

/// Once a track is published the catalogue owns its state. While that is away, what is known here is shown.
async fn current(app: &Ingest, mut upload: Upload) -> Upload {
    if upload.state != UploadState::Published {
        return upload;
    }
    match app.catalog.state(upload.track).await {
        Some(CardState::TakenDown) => {
            upload.state = UploadState::TakenDown;
            // There is no way back from there, so the catalogue need not be asked again.
            if let Err(error) = store::taken_down(&app.pool, upload.track, app.clock.now()).await {
                tracing::warn!(%error, track = %upload.track, "that a track is down could not be remembered");
            }
        }
        Some(CardState::Held) => upload.state = UploadState::Held,
        Some(CardState::Published) | None => {}
    }
    upload
}
