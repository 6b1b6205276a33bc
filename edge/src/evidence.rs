//! What a request tells of its connection: what it says itself (`protocol::evidence`), and the platform's own word (`request.cf`).

use std::borrow::Cow;

use protocol::{Territory, choose::Evidence};
use worker::{Request, js_sys::Reflect};

use crate::answer::header;

/// Gathers the evidence of `request`, whose query string is `query`.
pub(crate) fn of(request: &Request, query: Option<&str>, located_by_platform: bool) -> Evidence {
    let mut evidence = protocol::evidence::gather(|name| header(request.headers(), name).map(Cow::Owned), query);
    if located_by_platform && evidence.round_trip_ms.is_none() {
        // The platform measures the transport it terminates; whichever of the two carried this request is there.
        let measured = |name| platform(request, name)?.as_f64().filter(|ms| *ms > 0.0 && *ms < 60_000.0);
        evidence.round_trip_ms = measured("clientTcpRtt").or_else(|| measured("clientQuicRtt")).map(|ms| ms as u32);
    }
    evidence
}

/// The country the platform saw the connection come from; Tor and unknown places have none.
pub(crate) fn territory(request: &Request) -> Option<Territory> {
    let country = platform(request, "country")?.as_string().filter(|country| country != "XX")?;
    country.parse().ok()
}

/// What the client itself sent: the platform puts its own `Accept-Encoding` in the place of the client's, and the client's beside it.
pub(crate) fn accept_encoding(request: &Request) -> Option<String> {
    let sent = platform(request, "clientAcceptEncoding").and_then(|value| value.as_string());
    sent.or_else(|| header(request.headers(), "accept-encoding"))
}

fn platform(request: &Request, property: &str) -> Option<worker::wasm_bindgen::JsValue> {
    let cf = Reflect::get(request.inner(), &"cf".into()).ok()?;
    Reflect::get(&cf, &property.into()).ok()
}
