//! How answers are made: problem documents, headers every answer carries, and what a HEAD leaves out.

use protocol::Problem;
use worker::{EncodeBody, Headers, Response, ResponseBody, console_error, web_sys};

/// Names the request in logs of edge and origin.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// Headers a page of another origin may read.
const EXPOSED: &str = "Antiphon-Play, Antiphon-Ticket, Antiphon-Model, Cache-Status, Content-Length, Content-Range, ETag, Location, \
                       Retry-After, Server-Timing, X-Request-Id";
/// A preflight may be remembered for a day.
const PREFLIGHT_MAX_AGE_S: &str = "86400";

/// The caller's request id when a log can hold it, else a new one.
pub(crate) fn request_id(headers: &Headers) -> String {
    let given =
        header(headers, REQUEST_ID).filter(|id| (8..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    given.unwrap_or_else(|| uuid::Builder::from_random_bytes(crate::random().unwrap_or_default()).into_uuid().to_string())
}

/// A header's value; a value that is not text counts as absent.
pub(crate) fn header(headers: &Headers, name: &str) -> Option<String> {
    headers.get(name).ok().flatten()
}

/// A response with `headers`. Values are ours and always valid, so a refusal to set one is not an error of the request.
pub(crate) fn with_headers(status: u16, headers: &[(&str, &str)], body: ResponseBody) -> Response {
    let list = Headers::new();
    for (name, value) in headers {
        let _ = list.set(name, value);
    }
    Response::builder().with_status(status).with_headers(list).body(body)
}

/// A generated text, with its length said even to a HEAD.
pub(crate) fn text(status: u16, headers: &[(&str, &str)], body: String) -> Response {
    let response = with_headers(status, headers, ResponseBody::Empty);
    let _ = response.headers().set("content-length", &body.len().to_string());
    let (builder, _) = response.into_parts();
    builder.fixed(body.into_bytes())
}

/// JSON that must not be cached.
pub(crate) fn json(status: u16, body: String) -> Response {
    text(status, &[("content-type", "application/json"), ("cache-control", "no-store")], body)
}

/// A refusal as RFC 9457 writes it.
pub(crate) fn problem(problem: &Problem, request_id: &str) -> Response {
    let headers = [("content-type", Problem::CONTENT_TYPE), ("cache-control", "no-store")];
    let response = text(problem.status, &headers, problem.json(request_id));
    if let Some(seconds) = problem.retry_after_s {
        let _ = response.headers().set("retry-after", &seconds.to_string());
    }
    if problem.status == 401 {
        let _ = response.headers().set("www-authenticate", "Bearer realm=\"antiphon\"");
    }
    response
}

/// 405, with the methods that would do.
pub(crate) fn only(methods: &str) -> Problem {
    Problem::new(405, "method_not_allowed", format!("this resource answers {methods}"))
}

/// A failure of the platform or of a part of ours: logged here with its cause, which no client sees.
pub(crate) fn fault(what: &str, error: &dyn std::fmt::Display) -> Problem {
    console_error!("{what} failed: {error}");
    Problem::new(500, "internal", "something failed at the edge; the request id finds it in the logs")
}

/// The answer to a CORS preflight. Sessions travel in a header and never in a cookie, so any page may ask.
pub(crate) fn preflight() -> Response {
    with_headers(
        204,
        &[
            ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
            ("access-control-allow-headers", "Authorization, *"),
            ("access-control-max-age", PREFLIGHT_MAX_AGE_S),
        ],
        ResponseBody::Empty,
    )
}

/// Adds what every answer carries, and takes the body from the answer to a HEAD.
pub(crate) fn finish(response: Response, request_id: &str, head: bool) -> Response {
    let encode_body = match response.encode_body() {
        EncodeBody::Manual => EncodeBody::Manual,
        _ => EncodeBody::Automatic,
    };
    // Headers of a fetched or cached response are immutable: copy them first.
    let headers = web_sys::Headers::new_with_headers(&response.headers().0).map_or_else(|_| Headers::new(), Headers);
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", EXPOSED),
        ("cross-origin-resource-policy", "cross-origin"),
        ("timing-allow-origin", "*"),
        ("x-content-type-options", "nosniff"),
        (REQUEST_ID, request_id),
    ] {
        let _ = headers.set(name, value);
    }
    let status = response.status_code();
    if status == 405 && !headers.has("allow").unwrap_or(false) {
        let _ = headers.set("allow", "GET, HEAD, POST, OPTIONS");
    }
    let (_, body) = response.into_parts();
    let body = if head { ResponseBody::Empty } else { body };
    Response::builder().with_status(status).with_headers(headers).with_encode_body(encode_body).body(body)
}
