//! What a request tells of its connection: what it says itself (`protocol::evidence`), and the platform's own word (`request.cf`).

use std::borrow::Cow;

use protocol::{Territory, choose::Evidence};
use worker::js_sys::Reflect;

use crate::asked::Asked;

/// Gathers the evidence of a request.
pub(crate) fn of(asked: &Asked, located_by_platform: bool) -> Evidence {
    let mut evidence = protocol::evidence::gather(|name| asked.header(name).map(Cow::Owned), asked.query());
    if located_by_platform {
        // The platform measures the transport it terminates; whichever of the two carried this request is there.
        let measured = |name| asked.platform(name)?.as_f64().filter(|ms| *ms > 0.0 && *ms < 60_000.0);
        let round_trip_ms = || measured("clientTcpRtt").or_else(|| measured("clientQuicRtt")).map(|ms| ms as u32);
        evidence.round_trip_ms = evidence.round_trip_ms.or_else(round_trip_ms);
        evidence.delivery_kbps = delivery_kbps(asked);
    }
    evidence
}

/// What the platform's transport delivers to the client (`request.cf.edgeL4.deliveryRate`, bytes a second).
fn delivery_kbps(asked: &Asked) -> Option<u32> {
    let rate = Reflect::get(&asked.platform("edgeL4")?, &"deliveryRate".into()).ok()?.as_f64()?;
    (rate > 0.0 && rate < 1e12).then_some((rate * 8.0 / 1000.0) as u32)
}

/// The country the platform saw the connection come from; Tor and unknown places have none.
pub(crate) fn territory(asked: &Asked) -> Option<Territory> {
    let country = asked.platform("country")?.as_string().filter(|country| country != "XX")?;
    country.parse().ok()
}

/// What the client itself sent: the platform puts its own `Accept-Encoding` in the place of the client's, and the client's beside it.
pub(crate) fn accept_encoding(asked: &Asked) -> Option<String> {
    let sent = asked.platform("clientAcceptEncoding").and_then(|value| value.as_string());
    sent.or_else(|| asked.header("accept-encoding"))
}
