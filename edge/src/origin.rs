//! What the edge asks the gateway for. Every request under `/internal/` is signed (`protocol::edge_auth`).

use std::{pin::pin, time::Duration};

use futures::future::{Either, select};
use protocol::{MediaVersion, Problem, Rung, TrackId, UnixMs, edge_auth};
use worker::{
    AbortController, Delay, Method,
    js_sys::{self, futures::JsFuture},
    wasm_bindgen::{JsCast as _, JsValue},
    web_sys::{self, Request, RequestInit, RequestRedirect, Response},
};

use crate::{Edge, answer, log, settings::Settings};

/// The origin answers a card from memory or not at all: past this an older card is the better answer.
const CARD_PATIENCE_MS: u64 = 1_500;
const SHEET_PATIENCE_MS: u64 = 5_000;
const MEDIA_PATIENCE_MS: u64 = 10_000;
/// Less than the time between two attempts, so that one has failed before the next begins.
const FEED_PATIENCE_MS: u64 = 900;
const HEALTH_PATIENCE_MS: u64 = 1_000;

/// A track's card, as JSON.
pub(crate) async fn card(edge: &Edge, track: TrackId) -> Result<String, Problem> {
    let response = get(edge, &format!("/internal/cards/{track}"), CARD_PATIENCE_MS).await?;
    match response.status() {
        200 => text_of(&response).await.map_err(|cause| unreachable(edge, &cause)),
        404 => Err(Problem::new(404, "no_such_track", "there is no such track")),
        status => Err(refused(edge, status)),
    }
}

/// A media version's sheet, as JSON.
pub(crate) async fn sheet(edge: &Edge, version: MediaVersion) -> Result<String, Problem> {
    let response = get(edge, &format!("/internal/sheets/{version}"), SHEET_PATIENCE_MS).await?;
    match response.status() {
        200 => text_of(&response).await.map_err(|cause| unreachable(edge, &cause)),
        404 => Err(Problem::new(404, "no_such_media", "this media version is not in the store")),
        status => Err(refused(edge, status)),
    }
}

/// `length` bytes of a rendition's file from `offset`, as a response whose body has not been read.
pub(crate) async fn media(edge: &Edge, version: MediaVersion, rung: Rung, offset: u64, length: u32) -> Result<Response, Problem> {
    let response = get(edge, &format!("/internal/media/{version}/{rung}/{offset}-{length}"), MEDIA_PATIENCE_MS).await?;
    let declared = response.headers().get("content-length").ok().flatten().and_then(|text| text.parse::<u32>().ok());
    match response.status() {
        200 if declared.is_none_or(|bytes| bytes == length) => Ok(response),
        200 => Err(answer::fault("the shield", &format!("{declared:?} bytes of {version} {rung} instead of {length}"))),
        404 => Err(Problem::new(404, "no_such_segment", "this segment is not in the store")),
        status => Err(refused(edge, status)),
    }
}

/// The page of the feed of revocations after `after`, as JSON. What failed is the caller's to tell, who asks every second.
pub(crate) async fn revocations(edge: &Edge, after: i64) -> Result<String, String> {
    let request = signed_get(edge, &format!("/internal/revocations?after={after}")).map_err(|problem| problem.detail)?;
    let response = within(&request, FEED_PATIENCE_MS).await?;
    match response.status() {
        200 => text_of(&response).await,
        status => Err(format!("the origin answered {status}")),
    }
}

/// What became of a batch.
pub(crate) enum Sent {
    /// It is durable at the origin.
    Merged,
    /// The origin itself judged these bytes and will never take them.
    Refused {
        /// The status of its problem document.
        status: u16,
    },
    /// Anything else: nobody answered, or whoever did may think better of it.
    Again {
        /// What happened.
        cause: String,
        /// How long the origin asked to be left alone.
        retry_after_s: u32,
    },
}

/// Statuses that judge the bytes of a batch. Others may be about us (401, 403: a secret that is being changed), about a deployment under way
/// (404, 405) or about now (408, 429, 5xx).
const JUDGES_THE_BYTES: [u16; 4] = [400, 409, 413, 422];

/// Sends a frozen batch, whose SHA-256 was taken when it was frozen.
pub(crate) async fn send_batch(settings: &Settings, body: &str, sha256: &str, now: UnixMs, patience_ms: u64) -> Sent {
    let again = |cause| Sent::Again { cause, retry_after_s: 0 };
    let request = match signed(settings, Method::Post, "/internal/batches", Some((body, sha256)), now) {
        Ok(request) => request,
        Err(problem) => return again(problem.detail),
    };
    match within(&request, patience_ms).await {
        // A 200 whose body was cut off may not be the origin's: the batch is sent again, which changes nothing if it was.
        Ok(response) if response.status() == 200 => text_of(&response).await.map_or_else(again, |_| Sent::Merged),
        Ok(response) if JUDGES_THE_BYTES.contains(&response.status()) && is_problem(&response) => {
            Sent::Refused { status: response.status() }
        }
        Ok(response) => {
            let retry_after = response.headers().get("retry-after").ok().flatten().and_then(|seconds| seconds.parse().ok());
            Sent::Again { cause: format!("the origin answered {}", response.status()), retry_after_s: retry_after.unwrap_or(0) }
        }
        Err(cause) => again(cause),
    }
}

/// Whether the origin's own code wrote it; a proxy on the way has no problem documents.
fn is_problem(response: &Response) -> bool {
    response.headers().get("content-type").ok().flatten().is_some_and(|kind| kind.starts_with(Problem::CONTENT_TYPE))
}

/// Whether the gateway answers.
pub(crate) async fn answers(settings: &Settings) -> bool {
    match Request::new_with_str(&format!("{}/healthz", settings.gateway_url)) {
        Ok(request) => within(&request, HEALTH_PATIENCE_MS).await.is_ok_and(|response| response.status() == 200),
        Err(_) => false,
    }
}

async fn get(edge: &Edge, path: &str, patience_ms: u64) -> Result<Response, Problem> {
    let request = signed_get(edge, path)?;
    within(&request, patience_ms).await.map_err(|cause| unreachable(edge, &cause))
}

fn signed_get(edge: &Edge, path: &str) -> Result<Request, Problem> {
    let request = signed(&edge.settings, Method::Get, path, None, edge.now)?;
    let _ = request.headers().set(answer::REQUEST_ID, &edge.request_id);
    Ok(request)
}

/// `body` comes with its SHA-256 in hex.
fn signed(settings: &Settings, method: Method, path: &str, body: Option<(&str, &str)>, now: UnixMs) -> Result<Request, Problem> {
    let signature = match body {
        Some((_, sha256)) => edge_auth::sign_digest(&settings.edge_secret, method.as_ref(), path, sha256, now),
        None => edge_auth::sign(&settings.edge_secret, method.as_ref(), path, b"", now),
    };
    let made = || -> Result<Request, JsValue> {
        let headers = web_sys::Headers::new()?;
        headers.set(edge_auth::HEADER, &signature)?;
        let init = RequestInit::new();
        init.set_method(method.as_ref());
        init.set_redirect(RequestRedirect::Manual);
        if let Some((body, _)) = body {
            headers.set("content-type", "application/json")?;
            init.set_body(&JsValue::from_str(body));
        }
        init.set_headers(&headers);
        Request::new_with_str_and_init(&format!("{}{path}", settings.gateway_url), &init)
    };
    made().map_err(|error| answer::fault("a request", &worker::Error::from(error)))
}

/// Waits for the head of the answer at most `patience_ms`; the body may then take its time. The error tells why there is none.
pub(crate) async fn within(request: &Request, patience_ms: u64) -> Result<Response, String> {
    let controller = AbortController::default();
    let signal = controller.signal();
    let init = RequestInit::new();
    init.set_signal(Some(&signal));
    let global: web_sys::WorkerGlobalScope = js_sys::global().unchecked_into();
    let sent = JsFuture::from(global.fetch_with_request_and_init(request, &init));
    let outcome = match select(pin!(sent), pin!(Delay::from(Duration::from_millis(patience_ms)))).await {
        Either::Left((response, _)) => response.and_then(|response| response.dyn_into()).map_err(said),
        Either::Right(_) => Err(format!("no answer within {patience_ms} ms")),
    };
    if outcome.is_err() {
        controller.abort();
    }
    outcome
}

/// The whole body as text; the error tells why there is none.
pub(crate) async fn text_of(response: &Response) -> Result<String, String> {
    let text = JsFuture::from(response.text().map_err(said)?).await.map_err(said)?;
    text.as_string().ok_or_else(|| "the body is not text".to_owned())
}

fn said(error: JsValue) -> String {
    worker::Error::from(error).to_string()
}

/// The origin did not answer.
pub(crate) fn unreachable(edge: &Edge, cause: &str) -> Problem {
    log::warn("origin_unreachable", serde_json::json!({ "request_id": edge.request_id, "cause": cause }));
    Problem::unavailable("origin_unreachable", "the origin cannot be reached now", 2)
}

fn refused(edge: &Edge, status: u16) -> Problem {
    log::warn("origin_failed", serde_json::json!({ "request_id": edge.request_id, "status": status }));
    Problem {
        status: if status == 503 { 503 } else { 502 },
        ..Problem::unavailable("origin_failed", format!("the origin answered {status}"), 2)
    }
}
