//! `/v1/ingest/tracks/{id}` and `GET /v1/me/tracks`: how an artist's own uploads stand, and how one is cancelled.

use axum::extract::State;
use futures::StreamExt as _;
use platform::{Artist, Json, NoContent, Page, Paging, Path, Problem};
use protocol::{Rung, TrackId, UnixMs, sheet::CardState};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Ingest, store,
    upload::{Reason, State as UploadState, Upload},
};

/// How many tracks of a page are asked for at the catalogue at once.
const ASKED_AT_ONCE: usize = 8;

/// An upload, as its artist sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrackStatus {
    #[schema(value_type = uuid::Uuid)]
    id: TrackId,
    state: UploadState,
    title: String,
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
            artist: upload.declared.artist,
            album: upload.declared.album,
            reason: upload.reason,
            progress,
            created_at: upload.created_at,
            published_at: upload.published_at,
        }
    }
}

/// How an upload stands. Another account's is not there.
#[utoipa::path(
    get,
    path = "/v1/ingest/tracks/{id}",
    tag = "ingest",
    params(("id" = uuid::Uuid, Path, description = "The track")),
    responses(
        (status = 200, body = TrackStatus),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 403, description = "`not_an_artist`"),
        (status = 404, description = "`no_such_track`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn read(artist: Artist, State(app): State<Ingest>, Path(id): Path<TrackId>) -> Result<Json<TrackStatus>, Problem> {
    let upload = store::of_track(&app.pool, artist.account, id).await?;
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
        (status = 403, description = "`not_an_artist`"),
        (status = 404, description = "`no_such_track`"),
        (status = 409, description = "`not_under_way`: it is published or about to be, or it was rejected or is held"),
    ),
    security(("session" = []))
)]
pub(crate) async fn cancel(artist: Artist, State(app): State<Ingest>, Path(id): Path<TrackId>) -> Result<NoContent, Problem> {
    if store::cancel(&app.pool, artist.account, id, app.clock.now()).await? {
        tracing::info!(track = %id, "its artist cancels an upload");
        return Ok(NoContent);
    }
    let upload = store::of_track(&app.pool, artist.account, id).await?.ok_or_else(no_such_track)?;
    let stands = match upload.state {
        UploadState::TakenDown => return Ok(NoContent),
        UploadState::Pending | UploadState::Uploaded | UploadState::Processing => "being published",
        state @ (UploadState::Published | UploadState::Rejected | UploadState::Held) => state.name(),
    };
    Err(Problem::conflict("not_under_way", format!("this upload cannot be cancelled any more: it is {stands}")))
}

fn no_such_track() -> Problem {
    Problem::not_found("no_such_track", "you have uploaded no such track")
}

/// The artist's own tracks, newest first.
#[utoipa::path(
    get,
    path = "/v1/me/tracks",
    tag = "ingest",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 200, 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, body = Page<TrackStatus>),
        (status = 400, description = "`invalid_query`, `invalid_cursor`"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 403, description = "`not_an_artist`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn list(artist: Artist, State(app): State<Ingest>, paging: Paging) -> Result<Page<TrackStatus>, Problem> {
    let uploads = store::of_owner(&app.pool, artist.account, paging.after()?, paging.rows()).await?;
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
