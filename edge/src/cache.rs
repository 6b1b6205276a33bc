//! The colo's cache (the platform's Cache API) under our own keys.
//!
//! A key is the URL of a host that does not exist: the version of what is stored, the host that was asked, and verified names. No token, no
//! query and no header of a client is ever part of one, so that nobody can reach or plant another's entry, and two hosts that one Worker
//! answers for never see each other's. Only answers of 200 are put in. A cache that fails is a miss.

use protocol::{MediaVersion, TrackId, media_path::MediaObject};
use worker::{
    js_sys::{self, futures::JsFuture},
    wasm_bindgen::{JsCast as _, JsValue},
    web_sys::{self, Headers, ReadableStream, RequestInit, Response, ResponseInit},
    worker_sys::ext::CacheStorageExt as _,
};

use crate::log;

/// What entries look like; a Worker that stores them otherwise counts this up and leaves the old ones to their end.
const FORMAT: u32 = 1;
/// How the colo keeps what never changes.
pub(crate) const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// A card, whose age is judged by us and not by the cache.
pub(crate) fn card_key(host: &str, track: TrackId) -> String {
    format!("https://antiphon.internal/{FORMAT}/{host}/cards/{track}")
}

/// A sheet.
pub(crate) fn sheet_key(host: &str, version: MediaVersion) -> String {
    format!("https://antiphon.internal/{FORMAT}/{host}/sheets/{version}")
}

/// An init section, a segment, or both in one.
pub(crate) fn media_key(host: &str, version: MediaVersion, object: MediaObject) -> String {
    format!("https://antiphon.internal/{FORMAT}/{host}/media/{version}/{object}")
}

/// A page of the feed of revocations.
pub(crate) fn revocations_key(host: &str, after: i64) -> String {
    format!("https://antiphon.internal/{FORMAT}/{host}/revocations/{after}")
}

thread_local! {
    static COLO: Option<web_sys::Cache> = {
        let global: web_sys::WorkerGlobalScope = js_sys::global().unchecked_into();
        global.caches().ok().map(|caches| caches.default())
    };
}

/// The entry under `key`.
pub(crate) async fn get(key: &str) -> Option<Response> {
    found(COLO.with(|colo| Some(colo.as_ref()?.match_with_str(key)))?).await
}

/// Bytes `first` to `last` of the entry under `key`, as a 206.
pub(crate) async fn get_part(key: &str, first: u64, last: u64) -> Option<Response> {
    let headers = Headers::new().ok()?;
    headers.set("range", &format!("bytes={first}-{last}")).ok()?;
    let init = RequestInit::new();
    init.set_headers(&headers);
    let request = web_sys::Request::new_with_str_and_init(key, &init).ok()?;
    let part = found(COLO.with(|colo| Some(colo.as_ref()?.match_with_request(&request)))?).await;
    part.filter(|response| response.status() == 206)
}

async fn found(promise: js_sys::Promise) -> Option<Response> {
    let answer = JsFuture::from(promise).await.map_err(|error| failed("get", error)).ok()?;
    answer.dyn_into().ok()
}

/// What is put in.
pub(crate) enum Content {
    /// A text.
    Text(String),
    /// A body that is on its way.
    Stream(ReadableStream),
}

/// Puts `content` under `key`; the `cache-control` among `headers` says how long.
pub(crate) async fn put(key: String, headers: &[(&str, &str)], content: Content) {
    let outcome = async {
        let said = Headers::new()?;
        for (name, value) in headers {
            said.set(name, value)?;
        }
        let init = ResponseInit::new();
        init.set_headers(&said);
        let entry = match content {
            Content::Text(text) => Response::new_with_opt_str_and_init(Some(&text), &init)?,
            Content::Stream(stream) => Response::new_with_opt_readable_stream_and_init(Some(&stream), &init)?,
        };
        match COLO.with(|colo| Some(colo.as_ref()?.put_with_str(&key, &entry))) {
            Some(promise) => JsFuture::from(promise).await.map(drop),
            None => Ok(()),
        }
    };
    if let Err(error) = outcome.await {
        failed("put", error);
    }
}

fn failed(what: &str, error: JsValue) {
    log::warn("cache_failed", serde_json::json!({ "what": what, "cause": worker::Error::from(error).to_string() }));
}
