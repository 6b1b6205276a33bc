//! Which headers cross the gateway, and which it adds: what a client may not say to a service, what a browser may read of an answer,
//! and the id that names a request in every log it passes.

use http::{HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};

/// Names a request in answers and logs.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers by which a proxy speaks to a service: a client's own are dropped. `antiphon-*` as a whole is ours
/// (the edge's signature has been verified by then), and the client's address is set anew. Hop-by-hop headers are Pingora's business
/// (RFC 9110 section 7.6.1).
const PROXY_HEADERS: &[&str] = &[
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-real-ip",
    "cf-connecting-ip",
    "true-client-ip",
    "x-original-url",
    "x-rewrite-url",
];
const OURS: &str = "antiphon-";

/// Prepares the headers a service sees.
pub(crate) fn prepare_upstream(request: &mut RequestHeader, client: &str, request_id: &str) -> pingora::Result<()> {
    let internal: Vec<HeaderName> = request.headers.keys().filter(|name| is_dropped(name)).cloned().collect();
    for name in internal {
        request.remove_header(&name);
    }
    request.insert_header(platform::peer::HEADER, client)?;
    request.insert_header(REQUEST_ID, request_id)
}

fn is_dropped(name: &HeaderName) -> bool {
    name.as_str().starts_with(OURS) || PROXY_HEADERS.contains(&name.as_str())
}

/// The id a client gave when it is a sensible one, so that its own logs and ours can be joined.
pub(crate) fn kept_request_id(given: Option<&HeaderValue>) -> Option<String> {
    let text = given?.to_str().ok()?;
    let sensible = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    ((8..=64).contains(&text.len()) && text.bytes().all(sensible)).then(|| text.to_owned())
}

/// What any page may read of any public answer. No cookie is ever used, so `*` gives nothing away.
const CORS: [(&str, &str); 4] = [
    ("access-control-allow-origin", "*"),
    (
        "access-control-expose-headers",
        "Antiphon-Play, Antiphon-Receipt, Antiphon-Ticket, Antiphon-Model, Cache-Status, Content-Length, Content-Range, ETag, Location, Retry-After, Server-Timing, X-Request-Id",
    ),
    ("cross-origin-resource-policy", "cross-origin"),
    ("timing-allow-origin", "*"),
];

/// The answer to a preflight (Fetch standard, section 3.2.2); a day is the longest any browser remembers it.
pub(crate) const PREFLIGHT: [(&str, &str); 3] = [
    ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
    (
        "access-control-allow-headers",
        "Authorization, Content-Type, Idempotency-Key, Range, If-None-Match, X-Request-Id, CMCD-Request, CMCD-Object, CMCD-Status, CMCD-Session",
    ),
    ("access-control-max-age", "86400"),
];

/// Marks an answer on its way out: the request's id, and CORS unless the path is for the edge alone.
pub(crate) fn finish_response(response: &mut ResponseHeader, request_id: &str, public: bool) -> pingora::Result<()> {
    response.insert_header(REQUEST_ID, request_id)?;
    response.remove_header("server");
    if public {
        for (name, value) in CORS {
            response.insert_header(name, value)?;
        }
        response.insert_header("x-content-type-options", "nosniff")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_speak_as_a_proxy() {
        let mut request = RequestHeader::build("GET", b"/v1/search", None).unwrap();
        for (name, value) in [
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Real-IP", "6.6.6.6"),
            ("Forwarded", "for=6.6.6.6"),
            ("Antiphon-Peer", "6.6.6.6"),
            ("Antiphon-Edge", "t=1,s=00"),
            ("Antiphon-Anything", "x"),
            ("Authorization", "Bearer x"),
            ("Idempotency-Key", "k"),
        ] {
            request.append_header(name, value).unwrap();
        }
        prepare_upstream(&mut request, "192.0.2.1", "req-12345678").unwrap();
        let names: Vec<_> = request.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(request.headers.get("antiphon-peer").unwrap(), "192.0.2.1");
        assert_eq!(request.headers.get("x-request-id").unwrap(), "req-12345678");
        assert!(names.contains(&"authorization") && names.contains(&"idempotency-key"));
        for gone in ["x-forwarded-for", "x-real-ip", "forwarded", "antiphon-edge", "antiphon-anything"] {
            assert!(!names.contains(&gone), "{gone}");
        }
    }

    #[test]
    fn a_request_id_is_kept_only_when_a_log_can_hold_it() {
        let kept = |text: &str| kept_request_id(Some(&HeaderValue::from_str(text).unwrap()));
        assert_eq!(kept("0190a-abc_1.2").as_deref(), Some("0190a-abc_1.2"));
        for refused in ["short", "has space inside", "semi;colon;1", &"x".repeat(65)] {
            assert_eq!(kept(refused), None, "{refused}");
        }
        assert_eq!(kept_request_id(None), None);
    }

    #[test]
    fn every_header_a_player_needs_is_readable_in_a_browser() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        finish_response(&mut response, "req-12345678", true).unwrap();
        let exposed = response.headers.get("access-control-expose-headers").unwrap().to_str().unwrap().to_owned();
        for name in ["Antiphon-Play", "Antiphon-Receipt", "Antiphon-Ticket", "Server-Timing", "Retry-After", "X-Request-Id"] {
            assert!(exposed.contains(name), "{name}");
        }
        let mut response = ResponseHeader::build(200, None).unwrap();
        finish_response(&mut response, "req-12345678", false).unwrap();
        assert!(response.headers.get("access-control-allow-origin").is_none());
    }
}
