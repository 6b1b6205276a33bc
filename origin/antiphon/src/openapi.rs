//! The OpenAPI document of the whole service: what each service says of itself, and the entries for playback, which edge and
//! gateway answer with the same rules and which therefore belong to no service.
//!
//! The functions here are never called: they carry the documentation of paths whose handlers are the Worker and the gateway.
use utoipa::{OpenApi, ToSchema, openapi};

/// Everything a client may call, in one document.
pub(crate) fn merged() -> openapi::OpenApi {
    let mut whole = platform::openapi::base(
        "Antiphon",
        "A music streaming service. Instants are RFC 3339, durations milliseconds, money millionths of the unit; a refusal is \
         application/problem+json (RFC 9457) with a stable `code`. Send `Idempotency-Key` with a POST to make trying again safe.",
    );
    for service in [
        identity::openapi(),
        catalog::openapi(),
        Playback::openapi(),
        ingest::openapi(),
        search::openapi(),
        recommend::openapi(),
        royalty::openapi(),
    ] {
        whole.merge(service);
    }
    // Services describe their internal routes to each other; none is reachable from outside.
    whole.paths.paths.retain(|path, _| !path.starts_with("/internal/"));
    name_operations(&mut whole);
    describe_refusals(&mut whole);
    whole
}

/// Refusals that the path to every operation may give, whatever the operation itself says.
const REFUSALS: [(&str, &str); 6] = [
    ("400", "The request is not in the form this call takes"),
    ("404", "Nothing has this address"),
    ("413", "The body is too large"),
    ("429", "Too many requests; Retry-After says when to try again"),
    ("431", "The request's head is too large"),
    ("503", "Not now; Retry-After says when to try again"),
];
/// And those that an operation with a body may give.
const BODY_REFUSALS: [(&str, &str); 2] = [
    ("415", "The body is of another media type"),
    ("422", "The body is well-formed and cannot be accepted, or the Idempotency-Key belongs to another request"),
];

/// Edge and gateway answer for every operation with the same refusals; they are described here once instead of beside each handler.
fn describe_refusals(whole: &mut openapi::OpenApi) {
    let problem = |description: &str| {
        let content = openapi::ContentBuilder::new().schema(Some(openapi::Ref::from_schema_name("Problem"))).build();
        openapi::ResponseBuilder::new().description(description).content("application/problem+json", content).build()
    };
    for item in whole.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let with_body = if operation.request_body.is_some() { BODY_REFUSALS.as_slice() } else { &[] };
            for (status, description) in REFUSALS.iter().chain(with_body) {
                let responses = &mut operation.responses.responses;
                responses.entry((*status).to_owned()).or_insert_with(|| openapi::RefOr::T(problem(description)));
            }
        }
    }
}

/// Handlers of different services have the same names (`create`, `list`), and a document's operations may not: each is named for
/// its method and path, which a generated client turns into a readable function.
fn name_operations(whole: &mut openapi::OpenApi) {
    for (path, item) in &mut whole.paths.paths {
        let name = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_");
        let methods = [("get", &mut item.get), ("put", &mut item.put), ("post", &mut item.post), ("delete", &mut item.delete)];
        for (method, operation) in methods {
            if let Some(operation) = operation {
                operation.operation_id = Some(format!("{method}_{name}"));
            }
        }
    }
}

#[derive(OpenApi)]
#[openapi(
    paths(manifest, index, steering, media_playlist, init_section, first, segment, play_event, healthz, readyz),
    tags((name = "playback", description = "From a track to audio, and what was heard. Served by the edge, and by the gateway for players whose edge is down."))
)]
struct Playback;

/// A play that has begun, for a player of our own.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what protocol::manifest writes")]
struct Manifest {
    play: Play,
    /// Relative to the address that was asked.
    #[schema(example = "/v1/media/<token>/index.m3u8")]
    playlist_url: String,
    /// The same through the gateway.
    fallback_playlist_url: String,
    /// The rung to begin with.
    #[schema(example = "aac-128")]
    start: String,
    /// The rungs this play may use.
    allowed: Vec<String>,
    /// The lossless rung, when this plan and this recording have one.
    lossless: Option<String>,
    /// Why this rung, in words.
    reason: String,
    /// What `playlist_url` answers, its URIs as absolute paths.
    multivariant_playlist: String,
    first: First,
    /// The media version, 32 hex digits.
    version: String,
    duration_ms: u32,
    loudness: Loudness,
}

/// The play's name and what to report it with.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what protocol::manifest writes")]
struct Play {
    #[schema(format = Uuid)]
    id: String,
    /// Authorises `POST /v1/me/play-event`, and renews the play.
    ticket: String,
    #[schema(format = DateTime)]
    expires_at: String,
    heartbeat_every_ms: u32,
}

/// What to fetch first, so that audio starts without asking for a playlist.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what protocol::manifest writes")]
struct First {
    rung: String,
    /// The init section and the first segment in one answer: sound after one more request.
    #[schema(example = "/v1/media/<token>/aac-128/first.mp4")]
    url: String,
    /// How many bytes of that answer are the init section.
    init_bytes: u32,
    init_url: String,
    segment_url: String,
    media_playlist: String,
}

/// EBU R128, with the gain that brings the track to the service's level.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what protocol::manifest writes")]
struct Loudness {
    integrated_lufs: f64,
    true_peak_dbtp: f64,
    gain_db: f64,
}

/// Heartbeats of one player. At most 200 events and 64 KiB.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what protocol::heartbeat reads")]
struct PlayEventPost {
    /// From the manifest; nothing else authorises the post.
    ticket: String,
    /// Random, one for each player instance.
    sender: String,
    #[schema(max_items = 200)]
    events: Vec<PlayEvent>,
    /// `Antiphon-Receipt` of the segments fetched since the last post, in any order: what shows that the play was more than reported. One that
    /// is too long, too many or wrong is dropped and refuses no event.
    #[schema(max_items = 64)]
    receipts: Option<Vec<String>>,
}

/// One event; play, sender and `seq` name it, and sent again it counts once.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what protocol::heartbeat reads")]
struct PlayEvent {
    seq: u32,
    kind: PlayEventKind,
    /// The media heard since the sender's last event is `[from_ms, to_ms)`; equal where nothing was.
    from_ms: u32,
    to_ms: u32,
    muted: bool,
    background: bool,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes what protocol::heartbeat reads")]
enum PlayEventKind {
    Start,
    Progress,
    Pause,
    Resume,
    Seek,
    Stop,
    End,
}

/// What became of the events, once they are durable.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what protocol::heartbeat writes")]
struct PlayEventAnswer {
    accepted: u32,
    duplicate: u32,
    rejected: Vec<RejectedEvent>,
    /// Receipts that were not kept, when there are any: too many, too long, or not text.
    receipts_dropped: Option<u32>,
    /// `elsewhere` when the account plays on more devices than its plan allows: the player stops.
    stop: Option<String>,
}

/// An event that does not count, and why.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what protocol::heartbeat writes")]
struct RejectedEvent {
    index: u32,
    code: String,
    detail: String,
}

/// Begin a play: the multivariant playlist, or with `Accept: application/json` the same decision for our own player.
#[utoipa::path(
    get,
    path = "/v1/tracks/{id}/manifest",
    tag = "playback",
    security(("session" = [])),
    params(
        ("id" = String, Path, description = "The track"),
        ("play" = Option<String>, Query, description = "The event ticket of a play under way: renews its tokens and keeps its id"),
    ),
    responses(
        (status = 200, description = "Signed and private. `Server-Timing: choice` says why this rung", content((String = "application/vnd.apple.mpegurl"), (Manifest = "application/json")),
            headers(("Antiphon-Play" = String, description = "The play's id"), ("Antiphon-Ticket" = String, description = "The event ticket"))),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`, `session_revoked`, `ticket_invalid`, `ticket_expired`", content_type = "application/problem+json"),
        (status = 403, description = "`not_allowed_here`, `not_released`, `not_available`, `token_revoked`", content_type = "application/problem+json"),
        (status = 404, description = "No such track, or not published", content_type = "application/problem+json"),
        (status = 410, description = "`taken_down`", content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "documentation of the edge's and the gateway's handler")]
fn manifest() {}

/// The multivariant playlist of a play.
#[utoipa::path(
    get,
    path = "/v1/media/{token}/index.m3u8",
    tag = "playback",
    params(("token" = String, Path, description = "The media token; no header is needed")),
    responses(
        (status = 200, body = String, content_type = "application/vnd.apple.mpegurl"),
        (status = 403, description = "`token_invalid`, `token_expired`, `token_revoked`", content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "documentation of the edge's and the gateway's handler")]
fn index() {}

/// Where players that know content steering find the second path (HLS, section 7.1).
#[utoipa::path(
    get,
    path = "/v1/media/{token}/steering.json",
    tag = "playback",
    params(("token" = String, Path, description = "The media token")),
    responses(
        (status = 200, description = "A steering manifest", body = Object, content_type = "application/json"),
        (status = 403, description = "`token_invalid`, `token_expired`, `token_revoked`", content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "documentation of the edge's and the gateway's handler")]
fn steering() {}

/// The media playlist of one rung.
#[utoipa::path(
    get,
    path = "/v1/media/{token}/{rung}.m3u8",
    tag = "playback",
    params(("token" = String, Path, description = "The media token"), ("rung" = String, Path, description = "aac-64, aac-128, aac-256 or flac")),
    responses(
        (status = 200, body = String, content_type = "application/vnd.apple.mpegurl"),
        (status = 403, description = "`token_invalid`, `token_expired`, `token_revoked`, `not_allowed_here`", content_type = "application/problem+json"),
        (status = 404, description = "`no_such_segment`", content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "documentation of the edge's and the gateway's handler")]
fn media_playlist() {}

/// The init section of one rung.
#[utoipa::path(
    get,
    path = "/v1/media/{token}/{rung}/init.mp4",
    tag = "playback",
    params(("token" = String, Path, description = "The media token"), ("rung" = String, Path, description = "The rung")),
    responses(
        (status = 200, description = "CMAF header", body = Vec<u8>, content_type = "audio/mp4"),
        (status = 403, description = "`token_invalid`, `token_expired`, `token_revoked`, `not_allowed_here`", content_type = "application/problem+json"),
        (status = 404, description = "`no_such_segment`", content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "documentation of the edge's and the gateway's handler")]
fn init_section() {}

/// The init section and the first segment of one rung, joined.
#[utoipa::path(
    get,
    path = "/v1/media/{token}/{rung}/first.mp4",
    tag = "playback",
    params(("token" = String, Path, description = "The media token"), ("rung" = String, Path, description = "The rung")),
    responses(
        (status = 200, description = "CMAF header and segment 0", body = Vec<u8>, content_type = "audio/mp4",
            headers(("Antiphon-Receipt" = String, description = "Of segment 0, as a segment has it"))),
        (status = 403, description = "`token_invalid`, `token_expired`, `token_revoked`, `not_allowed_here`", content_type = "application/problem+json"),
        (status = 404, description = "`no_such_segment`", content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "documentation of the edge's and the gateway's handler")]
fn first() {}

/// One segment of one rung, counted from 0.
#[utoipa::path(
    get,
    path = "/v1/media/{token}/{rung}/{n}.m4s",
    tag = "playback",
    params(
        ("token" = String, Path, description = "The media token"),
        ("rung" = String, Path, description = "The rung"),
        ("n" = u32, Path, description = "The segment"),
    ),
    responses(
        (status = 200, description = "CMAF segment", body = Vec<u8>, content_type = "audio/mp4",
            headers(("Antiphon-Receipt" = String, description = "To a GET of all of it: evidence that it was fetched, to echo in `receipts` of a heartbeat"))),
        (status = 403, description = "`token_invalid`, `token_expired`, `token_revoked`, `not_allowed_here`", content_type = "application/problem+json"),
        (status = 404, description = "`no_such_segment`", content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "documentation of the edge's and the gateway's handler")]
fn segment() {}

/// Say what was heard. The ticket in the body alone authorises it, so `navigator.sendBeacon` works.
#[utoipa::path(
    post,
    path = "/v1/me/play-event",
    tag = "playback",
    request_body = PlayEventPost,
    responses(
        (status = 202, description = "The accepted events are durable", body = PlayEventAnswer),
        (status = 400, description = "The body cannot be read at all", content_type = "application/problem+json"),
        (status = 401, description = "`ticket_invalid`, `ticket_expired`", content_type = "application/problem+json"),
        (status = 410, description = "`play_ended`: the play or its account was revoked, and nothing more of it is counted", content_type = "application/problem+json"),
        (status = 429, description = "Too fast; keep the events and send them after `Retry-After`", content_type = "application/problem+json"),
        (status = 503, description = "Cannot be kept now; keep the events and send them after `Retry-After`", content_type = "application/problem+json"),
    )
)]
#[expect(dead_code, reason = "documentation of the edge's and the gateway's handler")]
fn play_event() {}

/// Alive.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200)))]
#[expect(dead_code, reason = "documentation of the edge's and the gateway's handler")]
fn healthz() {}

/// Ready to serve; 503 with what is missing while starting or draining.
#[utoipa::path(get, path = "/readyz", tag = "operation", responses((status = 200), (status = 503)))]
#[expect(dead_code, reason = "documentation of the edge's and the gateway's handler")]
fn readyz() {}

#[cfg(test)]
mod tests {
    use super::merged;

    /// API.md, line by line.
    const CONTRACT: &[(&str, &[&str])] = &[
        ("/v1/accounts", &["post"]),
        ("/v1/sessions", &["post", "delete"]),
        ("/v1/sessions/refresh", &["post"]),
        ("/.well-known/jwks.json", &["get"]),
        ("/v1/revocations", &["get", "post"]),
        ("/v1/revocations/{kind}/{id}", &["delete"]),
        ("/v1/artists/{id}/members", &["get", "post"]),
        ("/v1/artists/{id}/members/{account}", &["put", "delete"]),
        ("/v1/me/artists", &["get"]),
        ("/v1/me/artists/{id}", &["put", "delete"]),
        ("/v1/ingest/upload", &["post"]),
        ("/v1/ingest/tracks/{id}", &["get"]),
        ("/v1/tracks/{id}", &["get", "delete"]),
        ("/v1/me/tracks", &["get"]),
        ("/v1/tracks/{id}/manifest", &["get"]),
        ("/v1/media/{token}/index.m3u8", &["get"]),
        ("/v1/media/{token}/steering.json", &["get"]),
        ("/v1/media/{token}/{rung}.m3u8", &["get"]),
        ("/v1/media/{token}/{rung}/init.mp4", &["get"]),
        ("/v1/media/{token}/{rung}/first.mp4", &["get"]),
        ("/v1/media/{token}/{rung}/{n}.m4s", &["get"]),
        ("/v1/me/play-event", &["post"]),
        ("/v1/search", &["get"]),
        ("/v1/search/suggest", &["get"]),
        ("/v1/me/history", &["get"]),
        ("/v1/royalties/revenue", &["post"]),
        ("/v1/royalties/settlements", &["post"]),
        ("/v1/royalties/statements", &["get"]),
        ("/v1/royalties/balance", &["get"]),
        ("/v1/royalties/counts", &["get"]),
    ];

    #[test]
    fn the_document_names_every_call_of_the_contract() -> Result<(), serde_json::Error> {
        let document = serde_json::to_value(merged())?;
        let missing: Vec<String> = CONTRACT
            .iter()
            .flat_map(|(path, methods)| methods.iter().map(move |method| (path, method)))
            .filter(|(path, method)| document["paths"][*path][**method].is_null())
            .map(|(path, method)| format!("{method} {path}"))
            .collect();
        assert!(missing.is_empty(), "not in the document: {missing:?}");
        Ok(())
    }

    #[test]
    fn nothing_internal_is_in_the_document() -> Result<(), serde_json::Error> {
        let document = serde_json::to_value(merged())?;
        let paths: Vec<&String> =
            document["paths"].as_object().into_iter().flat_map(|paths| paths.keys()).filter(|path| path.contains("/internal/")).collect();
        assert!(paths.is_empty(), "{paths:?}");
        Ok(())
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() -> Result<(), serde_json::Error> {
        let document = serde_json::to_value(merged())?;
        let operations = document["paths"]
            .as_object()
            .into_iter()
            .flat_map(|paths| paths.values())
            .filter_map(serde_json::Value::as_object)
            .flat_map(|methods| methods.values());
        let mut names: Vec<String> = operations.filter_map(|operation| Some(operation.get("operationId")?.as_str()?.to_owned())).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "two operations share an operationId");
        Ok(())
    }
}
