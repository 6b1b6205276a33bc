//! The colo's cache (the platform's Cache API) under our own keys.
//!
//! Keys are URLs of hosts that do not exist, made from verified names only: no token, no query and no header of a client is ever part
//! of one, so that nobody can reach or plant another's entry. Only answers of 200 are put in. A cache that fails is a miss.

use protocol::{MediaVersion, TrackId, media_path::MediaObject};
use worker::{Cache, Headers, Method, Request, RequestInit, Response, console_warn};

/// A card, whose age is judged by us and not by the cache.
pub(crate) fn card_key(track: TrackId) -> String {
    format!("https://cards.antiphon.internal/{track}")
}

/// A sheet.
pub(crate) fn sheet_key(version: MediaVersion) -> String {
    format!("https://sheets.antiphon.internal/{version}")
}

/// An init section, a segment, or both in one.
pub(crate) fn media_key(version: MediaVersion, object: MediaObject) -> String {
    format!("https://media.antiphon.internal/{version}/{object}")
}

/// The entry under `key`.
pub(crate) async fn get(key: &str) -> Option<Response> {
    Cache::default().get(key, false).await.unwrap_or_else(|error| failed("get", key, &error))
}

/// Bytes `first` to `last` of the entry under `key`, as a 206.
pub(crate) async fn get_part(key: &str, first: u64, last: u64) -> Option<Response> {
    let headers = Headers::new();
    headers.set("range", &format!("bytes={first}-{last}")).ok()?;
    let mut init = RequestInit::new();
    init.with_method(Method::Get).with_headers(headers);
    let request = Request::new_with_init(key, &init).ok()?;
    let found = Cache::default().get(&request, false).await.unwrap_or_else(|error| failed("get", key, &error));
    found.filter(|response| response.status_code() == 206)
}

/// Puts `response` under `key`; its own `Cache-Control` says how long.
pub(crate) async fn put(key: String, response: Response) {
    if let Err(error) = Cache::default().put(&key, response).await {
        failed::<()>("put", &key, &error);
    }
}

fn failed<T>(what: &str, key: &str, error: &worker::Error) -> Option<T> {
    console_warn!("cache {what} of {key} failed: {error}");
    None
}
