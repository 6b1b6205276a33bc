//! `POST /v1/ingest/upload`: declare a track, get a place to put its bytes.

use std::{collections::BTreeMap, time::Duration};

use axum::extract::State;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use platform::{Caller, Created, Json, Problem, random_bytes};
use protocol::{TrackId, UnixMs, UploadId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Ingest, store,
    upload::{Declared, NewUpload, State as UploadState, Upload},
};

/// How long the place is held open.
const EXPIRES: Duration = Duration::from_secs(3600);

/// A pending track and the way to upload it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Begun {
    track: PendingTrack,
    upload: Place,
}

/// The track to be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PendingTrack {
    #[schema(value_type = uuid::Uuid)]
    id: TrackId,
    state: UploadState,
    title: String,
}

/// Where and how to send the bytes: exactly this request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Place {
    #[schema(value_type = uuid::Uuid)]
    id: UploadId,
    method: &'static str,
    url: String,
    /// All of them are signed: other values are refused. A browser sets `content-length` itself.
    headers: BTreeMap<&'static str, String>,
    #[serde(with = "protocol::time::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: UnixMs,
}

/// Start an upload for an artist that one owns or edits: a pending track and a place to put its bytes. What it earns is the artist's: of its
/// owners the one who is it longest is paid, whoever uploads, until a split says otherwise.
#[utoipa::path(
    post,
    path = "/v1/ingest/upload",
    tag = "ingest",
    request_body = NewUpload,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same request under the same key gets the same answer")),
    responses(
        (status = 201, body = Begun),
        (status = 400, description = "`invalid_body`, with `errors`"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 403, description = "`not_an_artist`, `not_a_member`, `needs_editor`"),
        (status = 422, description = "`artist_not_named`: the caller acts for several"),
    ),
    security(("session" = []))
)]
pub(crate) async fn create(caller: Caller, State(app): State<Ingest>, Json(new): Json<NewUpload>) -> Result<Created<Begun>, Problem> {
    let acting = app.acting(caller.account).await?;
    let acts_for = acting.uploads_for(new.artist_id)?;
    let declared = new.validate(&acts_for.artist_name, app.upload_bytes_max).map_err(|wrong| {
        Problem::bad_request("invalid_body", "the upload cannot be taken as it is declared; see `errors`").with_errors(wrong)
    })?;
    let now = app.clock.now();
    let (upload, track) = (UploadId::v7(now, random_bytes()), TrackId::v7(now, random_bytes()));
    let place = place(&app, upload, &declared, now)?;
    store::begin(&app.pool, upload, track, caller.account, acts_for, &declared, now).await?;
    let track = PendingTrack { id: track, state: UploadState::Pending, title: declared.title };
    Ok(Created(Begun { track, upload: place }))
}

/// The store itself will refuse other bytes, and a second object under the key: a URL that leaks cannot change what was uploaded.
fn place(app: &Ingest, upload: UploadId, declared: &Declared, now: UnixMs) -> Result<Place, Problem> {
    let headers = BTreeMap::from([
        ("content-length", declared.size_bytes.to_string()),
        ("if-none-match", "*".to_owned()),
        ("x-amz-checksum-sha256", STANDARD.encode(declared.sha256)),
    ]);
    let signed: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let url = app.objects.presign_put(&app.raw_bucket, &Upload::raw_key(upload), &signed, EXPIRES, now)?;
    let expires_at = now.plus_ms(i64::try_from(EXPIRES.as_millis()).unwrap_or(i64::MAX));
    Ok(Place { id: upload, method: "PUT", url, headers, expires_at })
}
