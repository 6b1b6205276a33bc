//! A request as it came. What most requests are asked for crosses from JavaScript at once, what a play begins with at once too when somebody looks,
//! and the rest one by one.

use std::cell::OnceCell;

use worker::{
    Method,
    js_sys::Array,
    web_sys::{self, Headers},
};

use crate::{answer::REQUEST_ID, platform, route};

/// Methods that any address here may answer.
pub(crate) const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Headers that are looked at in most requests.
const COMMON: [&str; 6] = [REQUEST_ID, "if-none-match", "range", "if-range", "cmcd-request", "accept-encoding"];
/// Headers that a manifest is decided by, besides.
const OF_A_PLAY: [&str; 9] =
    ["authorization", "accept", "downlink", "ect", "save-data", "rtt", "cmcd-object", "cmcd-session", "cmcd-status"];

thread_local! {
    static COMMON_NAMES: Array = platform::names(&COMMON);
    static NAMES_OF_A_PLAY: Array = platform::names(&OF_A_PLAY);
}

/// The request.
pub(crate) struct Asked {
    raw: web_sys::Request,
    url: String,
    /// `None` for a method that nothing here answers. (The crate's own `Method` would take it for a GET.)
    pub(crate) method: Option<Method>,
    common: Vec<Option<String>>,
    of_a_play: OnceCell<Vec<Option<String>>>,
    measured: OnceCell<Measured>,
}

/// What the platform says of the connection that a request came by (`request.cf`).
#[derive(Default)]
pub(crate) struct Measured {
    /// ISO 3166-1, or a code of the platform's own.
    pub(crate) country: Option<String>,
    /// The client's `Accept-Encoding`; empty when the client sent none.
    pub(crate) accept_encoding: Option<String>,
    /// Round trip of TCP, ms.
    pub(crate) tcp_ms: Option<f64>,
    /// Round trip of QUIC, ms.
    pub(crate) quic_ms: Option<f64>,
    /// What the transport delivers, bytes a second.
    pub(crate) delivery: Option<f64>,
}

impl Asked {
    /// Looks at a request.
    pub(crate) fn of(raw: web_sys::Request) -> Self {
        let told = COMMON_NAMES.with(|names| platform::told(&raw, names));
        let mut lines = told.split('\n');
        let method = lines.next().filter(|method| METHODS.contains(method)).map(|method| Method::from(method.to_owned()));
        let url = lines.next().unwrap_or_default().to_owned();
        Self { raw, url, method, common: lines.map(value).collect(), of_a_play: OnceCell::new(), measured: OnceCell::new() }
    }

    /// The path, as the platform has normalised it: dot segments are gone, percent-encoding is not.
    pub(crate) fn path(&self) -> &str {
        route::path_and_query(&self.url).0
    }

    /// The query string, undecoded.
    pub(crate) fn query(&self) -> Option<&str> {
        route::path_and_query(&self.url).1
    }

    /// `host[:port]`, lower-case, a default port left out: the URL parser's canonical form.
    pub(crate) fn host(&self) -> &str {
        route::host(&self.url)
    }

    /// Whether it asks for an answer's head alone.
    pub(crate) fn is_head(&self) -> bool {
        self.method == Some(Method::Head)
    }

    /// Whether it only reads.
    pub(crate) fn reads(&self) -> bool {
        matches!(self.method, Some(Method::Get | Method::Head))
    }

    /// A header's value by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let place = |names: &[&str]| names.iter().position(|one| *one == name);
        if let Some(place) = place(&COMMON) {
            return self.common.get(place)?.clone();
        }
        if let Some(place) = place(&OF_A_PLAY) {
            return self.of_a_play().get(place)?.clone();
        }
        self.raw.headers().get(name).ok().flatten()
    }

    fn of_a_play(&self) -> &[Option<String>] {
        let read = || NAMES_OF_A_PLAY.with(|names| platform::values(&self.raw, names)).split('\n').skip(1).map(value).collect();
        self.of_a_play.get_or_init(read)
    }

    /// A copy of its headers, to change.
    pub(crate) fn copied_headers(&self) -> worker::Result<worker::Headers> {
        Headers::new_with_headers(&self.raw.headers()).map(worker::Headers).map_err(worker::Error::from)
    }

    /// What the platform says of the connection.
    pub(crate) fn measured(&self) -> &Measured {
        self.measured.get_or_init(|| Measured::read(&platform::measured(&self.raw)))
    }

    /// The request itself, for its body.
    pub(crate) fn raw(&self) -> &web_sys::Request {
        &self.raw
    }
}

impl Measured {
    fn read(told: &str) -> Self {
        let mut lines = told.split('\n').skip(1);
        let mut text = || lines.next().and_then(value);
        let (country, accept_encoding) = (text(), text());
        let mut number = || text()?.parse().ok();
        Self { country, accept_encoding, tcp_ms: number(), quic_ms: number(), delivery: number() }
    }
}

/// A value as `platform.js` tells it: nothing, or `=value`.
fn value(line: &str) -> Option<String> {
    line.strip_prefix('=').map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_is_empty_is_not_one_that_is_missing() {
        assert_eq!(["", "=", "=a=b"].map(value), [None, Some(String::new()), Some("a=b".to_owned())]);
    }

    #[test]
    fn what_the_platform_does_not_say_is_not_there() {
        let said = Measured::read("\n=DE\n=\n=12\n\n=1500000");
        assert_eq!((said.country.as_deref(), said.accept_encoding.as_deref()), (Some("DE"), Some("")));
        assert_eq!((said.tcp_ms, said.quic_ms, said.delivery), (Some(12.0), None, Some(1_500_000.0)));
        assert_eq!(Measured::read("\n\n\n\n\n").country, None);
    }
}
