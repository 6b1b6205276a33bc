//! What the edge asks the gateway for, and what it remembers of the answers.
//!
//! Every request under `/internal/` is signed (`protocol::edge_auth`). Cards may be up to [`CARD_TTL_MS`] old, and older while the origin
//! cannot be asked; sheets and media never change, so they are kept as long as the cache likes.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    hash::Hash,
    pin::pin,
    rc::Rc,
    time::Duration,
};

use futures::future::{Either, select};
use protocol::{
    MediaVersion, Problem, Rung, TrackId, UnixMs, edge_auth,
    sheet::{Card, Sheet},
};
use worker::{
    AbortController, Delay, Fetch, Headers, Method, Request, RequestInit, RequestRedirect, Response, ResponseBody, console_warn,
    wasm_bindgen::JsValue,
};

use crate::{Edge, answer, cache, settings::Settings};

/// A take-down reaches every listener within this, as long as the origin answers.
const CARD_TTL_MS: i64 = 15_000;
/// How old a card may be when the origin cannot be asked.
const CARD_STALE_MS: i64 = 24 * 3_600_000;
/// The origin answers a card from memory or not at all: past this an older card is the better answer.
const CARD_PATIENCE_MS: u64 = 1_500;
const SHEET_PATIENCE_MS: u64 = 5_000;
const MEDIA_PATIENCE_MS: u64 = 10_000;
const HEALTH_PATIENCE_MS: u64 = 1_000;
/// Sheets, and cards, that an isolate remembers; one is at most a few kilobytes.
const REMEMBERED_MAX: usize = 512;
const FETCHED_AT: &str = "antiphon-fetched-at";

thread_local! {
    static SHEETS: RefCell<Remembered<MediaVersion, Rc<Sheet>>> = RefCell::new(Remembered::new());
    static CARDS: RefCell<Remembered<TrackId, (Rc<Card>, UnixMs)>> = RefCell::new(Remembered::new());
}

/// The track's card: from this isolate or the colo's cache while fresh, else from the catalogue, else an older one.
pub(crate) async fn card(edge: &Edge<'_>, track: TrackId) -> Result<Rc<Card>, Problem> {
    let age_ms = |fetched_at| edge.now.since(fetched_at);
    let key = cache::card_key(track);
    let mut known = CARDS.with_borrow(|cards| cards.get(track));
    if !known.as_ref().is_some_and(|(_, fetched_at)| age_ms(*fetched_at) <= CARD_TTL_MS) {
        // Another isolate of this colo may have asked since.
        known = cached_card(&key).await.or(known);
    }
    if let Some((card, fetched_at)) = &known
        && age_ms(*fetched_at) <= CARD_TTL_MS
    {
        remember_card(card, *fetched_at);
        return Ok(Rc::clone(card));
    }
    match fetch_card(edge, track).await {
        Ok(text) => {
            let card: Rc<Card> = Rc::new(serde_json::from_str(&text).map_err(|error| answer::fault("reading a card", &error))?);
            if card.track != track {
                return Err(answer::fault("reading a card", &"it belongs to another track"));
            }
            let stored = answer::text(
                200,
                &[
                    ("content-type", "application/json"),
                    ("cache-control", &format!("public, max-age={}", CARD_STALE_MS / 1000)),
                    (FETCHED_AT, &edge.now.0.to_string()),
                ],
                text,
            );
            edge.context.wait_until(cache::put(key, stored));
            remember_card(&card, edge.now);
            Ok(card)
        }
        Err(problem) if problem.status < 500 => Err(problem),
        Err(problem) => match known {
            Some((card, fetched_at)) if age_ms(fetched_at) <= CARD_STALE_MS => {
                console_warn!("the card of {track} is {} ms old: {}", age_ms(fetched_at), problem.detail);
                Ok(card)
            }
            _ => Err(problem),
        },
    }
}

fn remember_card(card: &Rc<Card>, fetched_at: UnixMs) {
    CARDS.with_borrow_mut(|cards| cards.insert(card.track, (Rc::clone(card), fetched_at)));
}

async fn cached_card(key: &str) -> Option<(Rc<Card>, UnixMs)> {
    let mut response = cache::get(key).await?;
    let fetched_at = answer::header(response.headers(), FETCHED_AT)?.parse().ok().map(UnixMs)?;
    let card = serde_json::from_str(&response.text().await.ok()?).ok()?;
    Some((Rc::new(card), fetched_at))
}

async fn fetch_card(edge: &Edge<'_>, track: TrackId) -> Result<String, Problem> {
    let mut response = get(edge, &format!("/internal/cards/{track}"), CARD_PATIENCE_MS).await?;
    match response.status_code() {
        200 => response.text().await.map_err(|error| unreachable_origin(&error)),
        404 => Err(Problem::new(404, "no_such_track", "there is no such track")),
        status => Err(refused_by_origin(status)),
    }
}

/// The sheet of a media version: from this isolate, else the colo's cache, else the shield.
pub(crate) async fn sheet(edge: &Edge<'_>, version: MediaVersion) -> Result<Rc<Sheet>, Problem> {
    if let Some(sheet) = SHEETS.with_borrow(|sheets| sheets.get(version)) {
        return Ok(sheet);
    }
    let key = cache::sheet_key(version);
    let cached = match cache::get(&key).await {
        Some(mut response) => response.text().await.ok(),
        None => None,
    };
    let (text, fresh) = match cached {
        Some(text) => (text, false),
        None => (fetch_sheet(edge, version).await?, true),
    };
    let sheet: Rc<Sheet> = Rc::new(serde_json::from_str(&text).map_err(|error| answer::fault("reading a sheet", &error))?);
    if sheet.version != version {
        return Err(answer::fault("reading a sheet", &"it belongs to another media version"));
    }
    if fresh {
        let stored = answer::text(200, &[("content-type", "application/json"), ("cache-control", IMMUTABLE)], text);
        edge.context.wait_until(cache::put(key, stored));
    }
    SHEETS.with_borrow_mut(|sheets| sheets.insert(version, Rc::clone(&sheet)));
    Ok(sheet)
}

/// How the colo keeps what never changes.
pub(crate) const IMMUTABLE: &str = "public, max-age=31536000, immutable";

async fn fetch_sheet(edge: &Edge<'_>, version: MediaVersion) -> Result<String, Problem> {
    let mut response = get(edge, &format!("/internal/sheets/{version}"), SHEET_PATIENCE_MS).await?;
    match response.status_code() {
        200 => response.text().await.map_err(|error| unreachable_origin(&error)),
        404 => Err(Problem::new(404, "no_such_media", "this media version is not in the store")),
        status => Err(refused_by_origin(status)),
    }
}

/// `length` bytes of a rendition's file from `offset`, as a stream that has not been read.
pub(crate) async fn media(edge: &Edge<'_>, version: MediaVersion, rung: Rung, offset: u64, length: u32) -> Result<Response, Problem> {
    let response = get(edge, &format!("/internal/media/{version}/{rung}/{offset}-{length}"), MEDIA_PATIENCE_MS).await?;
    let declared = answer::header(response.headers(), "content-length").and_then(|text| text.parse::<u32>().ok());
    match response.status_code() {
        200 if declared.is_none_or(|bytes| bytes == length) => Ok(response),
        200 => Err(answer::fault("the shield", &format!("{declared:?} bytes of {version} {rung} instead of {length}"))),
        404 => Err(Problem::new(404, "no_such_segment", "this segment is not in the store")),
        status => Err(refused_by_origin(status)),
    }
}

/// Sends a frozen batch. Only the origin's 200 means that it is durable there.
pub(crate) async fn send_batch(settings: &Settings, body: &str, now: UnixMs, patience_ms: u64) -> Result<String, Problem> {
    let path = "/internal/batches";
    let request = signed(settings, Method::Post, path, Some(body), now)?;
    let mut response = within(request, patience_ms).await?;
    match response.status_code() {
        200 => response.text().await.map_err(|error| unreachable_origin(&error)),
        status => Err(refused_by_origin(status)),
    }
}

/// `/readyz`: the edge serves what is cached even without its gateway, so a gateway that is away is said and is no reason to be unready.
pub(crate) async fn readiness(settings: &Settings) -> Response {
    let health =
        Request::new(&format!("{}/healthz", settings.gateway_url), Method::Get).map_err(|error| answer::fault("a request", &error));
    let reachable = match health {
        Ok(request) => within(request, HEALTH_PATIENCE_MS).await.is_ok_and(|response| response.status_code() == 200),
        Err(_) => false,
    };
    let gateway = if reachable { "reachable" } else { "unreachable" };
    answer::json(200, serde_json::json!({"status": "ready", "gateway": gateway}).to_string())
}

async fn get(edge: &Edge<'_>, path: &str, patience_ms: u64) -> Result<Response, Problem> {
    let request = signed(&edge.settings, Method::Get, path, None, edge.now)?;
    let _ = request.headers().set(answer::REQUEST_ID, edge.request_id);
    within(request, patience_ms).await
}

fn signed(settings: &Settings, method: Method, path: &str, body: Option<&str>, now: UnixMs) -> Result<Request, Problem> {
    let signature = edge_auth::sign(&settings.edge_secret, method.as_ref(), path, body.unwrap_or_default().as_bytes(), now);
    let headers = Headers::new();
    let set = |name, value: &str| headers.set(name, value).map_err(|error| answer::fault("a request header", &error));
    set(edge_auth::HEADER, &signature)?;
    if body.is_some() {
        set("content-type", "application/json")?;
    }
    let mut init = RequestInit::new();
    init.with_method(method).with_headers(headers).with_redirect(RequestRedirect::Manual).with_body(body.map(JsValue::from_str));
    Request::new_with_init(&format!("{}{path}", settings.gateway_url), &init).map_err(|error| answer::fault("a request", &error))
}

/// Waits for the head of the answer at most `patience_ms`; the body may then take its time.
pub(crate) async fn within(request: Request, patience_ms: u64) -> Result<Response, Problem> {
    let controller = AbortController::default();
    let signal = controller.signal();
    let fetch = Fetch::Request(request);
    let sent = pin!(fetch.send_with_signal(&signal));
    let outcome = match select(sent, pin!(Delay::from(Duration::from_millis(patience_ms)))).await {
        Either::Left((response, _)) => response.map_err(|error| unreachable_origin(&error)),
        Either::Right(_) => Err(unreachable_origin(&format!("no answer within {patience_ms} ms"))),
    };
    if outcome.is_err() {
        controller.abort();
    }
    outcome
}

/// The origin did not answer.
pub(crate) fn unreachable_origin(error: &dyn std::fmt::Display) -> Problem {
    console_warn!("the origin cannot be reached: {error}");
    Problem::unavailable("origin_unreachable", "the origin cannot be reached now", 2)
}

fn refused_by_origin(status: u16) -> Problem {
    console_warn!("the origin answered {status}");
    Problem {
        status: if status == 503 { 503 } else { 502 },
        ..Problem::unavailable("origin_failed", format!("the origin answered {status}"), 2)
    }
}

/// What an isolate has parsed, oldest out first: what is popular is in the colo's cache anyway.
struct Remembered<K, V> {
    by_key: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Copy + Eq + Hash, V: Clone> Remembered<K, V> {
    fn new() -> Self {
        Self { by_key: HashMap::new(), order: VecDeque::new() }
    }

    fn get(&self, key: K) -> Option<V> {
        self.by_key.get(&key).cloned()
    }

    fn insert(&mut self, key: K, value: V) {
        if self.by_key.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > REMEMBERED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.by_key.remove(&oldest);
            }
        }
    }
}

/// A body that is passed on as it comes.
pub(crate) fn body_of(response: Response) -> ResponseBody {
    response.into_parts().1
}
