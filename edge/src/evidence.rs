//! What a request tells of its connection: CMCD (headers or query), client hints, and the platform's own word (`request.cf`).

use protocol::{
    Territory,
    choose::{EffectiveType, Evidence},
    cmcd::Cmcd,
};
use worker::{Headers, Request, js_sys::Reflect};

use crate::answer::header;

/// Gathers the evidence of `request`, whose decoded `CMCD` query argument is `query`.
pub(crate) fn of(request: &Request, query: Option<&str>, located_by_platform: bool) -> Evidence {
    let headers = request.headers();
    let hint = |name| header(headers, name);
    Evidence {
        cmcd: cmcd(headers, query),
        downlink_kbps: hint("downlink").and_then(|text| megabits_as_kbps(&text)),
        effective_type: hint("ect").and_then(|text| EffectiveType::parse(&text)),
        save_data: hint("save-data").is_some_and(|text| text.trim().eq_ignore_ascii_case("on")),
        round_trip_ms: hint("rtt").and_then(|text| text.trim().parse().ok()).or_else(|| {
            // The platform measures the transport it terminates; whichever of the two carried this request is there.
            let measured = |name| platform(request, name)?.as_f64().filter(|ms| *ms > 0.0 && *ms < 60_000.0);
            let ms = located_by_platform.then(|| measured("clientTcpRtt").or_else(|| measured("clientQuicRtt"))).flatten()?;
            Some(ms as u32)
        }),
    }
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

fn cmcd(headers: &Headers, query: Option<&str>) -> Cmcd {
    let in_headers = ["cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status"].iter().filter_map(|name| header(headers, name));
    let cmcd = in_headers.fold(Cmcd::default(), |cmcd, text| cmcd.with(&text));
    query.map_or(cmcd, |text| cmcd.with(text))
}

fn megabits_as_kbps(text: &str) -> Option<u32> {
    let megabits: f64 = text.trim().parse().ok()?;
    (megabits.is_finite() && (0.0..1_000_000.0).contains(&megabits)).then(|| (megabits * 1000.0) as u32)
}

fn platform(request: &Request, property: &str) -> Option<worker::wasm_bindgen::JsValue> {
    let cf = Reflect::get(request.inner(), &"cf".into()).ok()?;
    Reflect::get(&cf, &property.into()).ok()
}
