//! What a request tells of its connection: what it says itself (`protocol::evidence`), and the platform's own word (`request.cf`).

use std::borrow::Cow;

use protocol::{Territory, choose::Evidence};

use crate::asked::Asked;

/// Gathers the evidence of a request.
pub(crate) fn of(asked: &Asked, located_by_platform: bool) -> Evidence {
    let mut evidence = protocol::evidence::gather(|name| asked.header(name).map(Cow::Owned), asked.query());
    if located_by_platform {
        // The platform measures the transport it terminates; whichever of the two carried this request is there.
        let said = asked.measured();
        let measured = |ms: Option<f64>| ms.filter(|ms| *ms > 0.0 && *ms < 60_000.0).map(|ms| ms as u32);
        evidence.round_trip_ms = evidence.round_trip_ms.or_else(|| measured(said.tcp_ms)).or_else(|| measured(said.quic_ms));
        // Bytes a second (`request.cf.edgeL4.deliveryRate`).
        evidence.delivery_kbps = said.delivery.filter(|rate| *rate > 0.0 && *rate < 1e12).map(|rate| (rate * 8.0 / 1000.0) as u32);
    }
    evidence
}

/// The country the platform saw the connection come from; Tor and unknown places have none.
pub(crate) fn territory(asked: &Asked) -> Option<Territory> {
    asked.measured().country.as_deref().filter(|country| *country != "XX")?.parse().ok()
}

/// What the client itself sent: the platform puts its own `Accept-Encoding` in the place of the client's, and the client's beside it.
pub(crate) fn accept_encoding(asked: &Asked) -> Option<String> {
    asked.measured().accept_encoding.clone().or_else(|| asked.header("accept-encoding"))
}
