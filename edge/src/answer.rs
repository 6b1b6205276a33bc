//! How answers are made: what an isolate prepared once, what is said of this one besides, and a body become a response in one crossing.

use std::thread::LocalKey;

use protocol::Problem;
use worker::{
    js_sys::Promise,
    wasm_bindgen::JsValue,
    web_sys::{self, ReadableStream},
};

use crate::{log, platform};

/// Names the request in logs of edge and origin.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// What every answer carries. Sessions travel in a header and never in a cookie, so any page may read.
const COMMON: [(&str, &str); 5] = [
    ("access-control-allow-origin", "*"),
    (
        "access-control-expose-headers",
        "Antiphon-Play, Antiphon-Receipt, Antiphon-Ticket, Antiphon-Model, Cache-Status, Content-Length, Content-Range, ETag, Location, \
         Retry-After, Server-Timing, X-Request-Id",
    ),
    ("cross-origin-resource-policy", "cross-origin"),
    ("timing-allow-origin", "*"),
    ("x-content-type-options", "nosniff"),
];
/// What bytes of audio carry besides. A URL's token is its holder's alone, so no shared cache downstream keeps the answer; what it names never
/// changes.
const AUDIO: [(&str, &str); 3] =
    [("content-type", "audio/mp4"), ("cache-control", "private, max-age=31536000, immutable"), ("accept-ranges", "bytes")];

thread_local! {
    static COMMON_HEADERS: web_sys::Headers = prepared(&[&COMMON]);
    static AUDIO_HEADERS: web_sys::Headers = prepared(&[&COMMON, &AUDIO]);
}

fn prepared(lists: &[&[(&str, &str)]]) -> web_sys::Headers {
    let headers = worker::Headers::new().0;
    for (name, value) in lists.iter().copied().flatten() {
        let _ = headers.set(name, value);
    }
    headers
}

/// A preflight may be remembered for a day.
const PREFLIGHT_MAX_AGE_S: &str = "86400";

/// An answer that is not sent yet.
pub(crate) struct Answer {
    status: u16,
    like: Like,
    /// Headers besides, each name once.
    fields: Vec<(&'static str, String)>,
    body: Body,
    /// What the counters call it: `ok`, `hit`, `miss`, a problem's code.
    pub(crate) outcome: &'static str,
}

/// Whose headers an answer begins with.
enum Like {
    Prepared(&'static LocalKey<web_sys::Headers>),
    Gateways(web_sys::Headers),
}

enum Body {
    Empty,
    Text(String),
    Stream(ReadableStream),
}

impl Answer {
    /// An answer without a body.
    pub(crate) fn new(status: u16) -> Self {
        Self::like(Like::Prepared(&COMMON_HEADERS), status)
    }

    /// An answer about bytes of audio.
    pub(crate) fn audio(status: u16) -> Self {
        Self::like(Like::Prepared(&AUDIO_HEADERS), status)
    }

    fn like(like: Like, status: u16) -> Self {
        Self { status, like, fields: Vec::with_capacity(8), body: Body::Empty, outcome: "ok" }
    }

    /// A generated text, with its length said even to a HEAD.
    pub(crate) fn text(status: u16, content_type: &str, text: String) -> Self {
        let answer = Self::new(status).with("content-type", content_type).with("content-length", &text.len().to_string());
        Self { body: Body::Text(text), ..answer }
    }

    /// JSON that must not be cached.
    pub(crate) fn json(status: u16, body: String) -> Self {
        Self::text(status, "application/json", body).with("cache-control", "no-store")
    }

    /// A refusal as RFC 9457 writes it.
    pub(crate) fn problem(problem: &Problem, request_id: &str) -> Self {
        let mut answer = Self::text(problem.status, Problem::CONTENT_TYPE, problem.json(request_id)).with("cache-control", "no-store");
        if let Some(seconds) = problem.retry_after_s {
            answer = answer.with("retry-after", &seconds.to_string());
        }
        answer = match problem.status {
            401 => answer.with("www-authenticate", "Bearer realm=\"antiphon\""),
            405 => answer.with("allow", "GET, HEAD, POST, OPTIONS"),
            _ => answer,
        };
        answer.counted_as(problem.code)
    }

    /// An answer of the gateway, passed on as it is under our headers.
    pub(crate) fn passed_on(response: &web_sys::Response) -> Self {
        let answer = Self::like(Like::Gateways(response.headers()), response.status()).streaming(response.body());
        COMMON.into_iter().fold(answer, |answer, (name, value)| answer.with(name, value))
    }

    /// The answer to a CORS preflight.
    pub(crate) fn preflight() -> Self {
        Self::new(204)
            .with("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
            .with("access-control-allow-headers", "Authorization, *")
            .with("access-control-max-age", PREFLIGHT_MAX_AGE_S)
    }

    /// Sets a header to a value without an end of line, which none of ours has.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        match self.fields.iter_mut().find(|(other, _)| *other == name) {
            Some((_, before)) => value.clone_into(before),
            None => self.fields.push((name, value.to_owned())),
        }
        self
    }

    /// Compresses it: the runtime does so to a body that says it is compressed, and then knows no length beforehand.
    pub(crate) fn gzipped(mut self) -> Self {
        self.fields.retain(|(name, _)| *name != "content-length");
        self.with("content-encoding", "gzip")
    }

    /// Gives it a body that is passed on as it comes.
    pub(crate) fn streaming(self, body: Option<ReadableStream>) -> Self {
        Self { body: body.map_or(Body::Empty, Body::Stream), ..self }
    }

    /// Gives it a name for the counters.
    pub(crate) fn counted_as(self, outcome: &'static str) -> Self {
        Self { outcome, ..self }
    }

    /// The status.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// The platform's response; to a HEAD without the body.
    pub(crate) fn respond(self, head: bool) -> Result<web_sys::Response, JsValue> {
        let fields = self.lines();
        let body = match self.body {
            Body::Text(text) if !head => JsValue::from_str(&text),
            Body::Stream(stream) if !head => stream.into(),
            _ => JsValue::NULL,
        };
        self.like.with(|headers| platform::respond(self.status, headers, &fields, &body))
    }

    /// The cached entry under `key` as a response like this one, else what `otherwise` makes of the rest.
    pub(crate) fn cached(&self, key: &str, otherwise: &JsValue, request: &web_sys::Request, env: &JsValue, context: &JsValue) -> Promise {
        self.like.with(|headers| platform::cached(key, headers, &self.lines(), otherwise, request, env, context))
    }

    /// Name and value in turn, a line each.
    fn lines(&self) -> String {
        let mut lines = String::with_capacity(64 * self.fields.len());
        for (name, value) in &self.fields {
            lines.extend([name, "\n", value, "\n"]);
        }
        lines
    }
}

impl Like {
    fn with<T>(&self, use_of: impl FnOnce(&web_sys::Headers) -> T) -> T {
        match self {
            Self::Prepared(headers) => headers.with(use_of),
            Self::Gateways(headers) => use_of(headers),
        }
    }
}

/// 405, with the methods that would do.
pub(crate) fn only(methods: &str) -> Problem {
    Problem::new(405, "method_not_allowed", format!("this resource answers {methods}"))
}

/// A failure of the platform or of a part of ours: logged here with its cause, which no client sees.
pub(crate) fn fault(what: &str, error: &dyn std::fmt::Display) -> Problem {
    log::error("fault", serde_json::json!({ "what": what, "cause": error.to_string() }));
    Problem::new(500, "internal", "something failed at the edge; the request id finds it in the logs")
}
