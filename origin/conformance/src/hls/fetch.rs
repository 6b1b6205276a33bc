//! Fetching as a careful player does: with `Origin` and `Accept-Encoding: gzip`, every redirect seen, every body bounded.
//!
//! Takes URLs from the playlists; what comes back is kept as it was answered, since how something was delivered is half of what is checked.

use std::{io::Read as _, time::Duration};

use reqwest::{
    Client, StatusCode, Url,
    header::{
        ACCEPT, ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, LOCATION, ORIGIN,
        RANGE,
    },
    redirect::Policy,
};

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const REDIRECTS_MAX: usize = 5;
/// Where a page of somebody else's would live: what answers it must say that it may.
pub(crate) const PAGE: &str = "https://player.example";

/// What kind of thing is fetched, and with that how large it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A multivariant or media playlist.
    Playlist,
    /// An init section.
    Init,
    /// A media segment.
    Segment,
    /// A content steering manifest.
    Steering,
}

impl Kind {
    fn bytes_max(self) -> usize {
        match self {
            Self::Playlist => 8 << 20,
            Self::Init | Self::Steering => 1 << 20,
            Self::Segment => 64 << 20,
        }
    }
}

/// A part of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// How one object was delivered; its body goes on to be parsed.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) kind: Kind,
    /// Where it was asked for.
    pub(crate) url: Url,
    /// Where it was found in the end; URIs inside it are relative to this.
    pub(crate) found_at: Url,
    /// `(status, Location)` of every redirect on the way.
    pub(crate) redirects: Vec<(u16, String)>,
    /// What is wrong with the answer, when it is none.
    pub(crate) failure: Option<String>,
    pub(crate) content_type: String,
    pub(crate) content_encoding: String,
    pub(crate) allow_origin: String,
}

impl Delivery {
    fn asked(kind: Kind, url: &Url) -> Self {
        Self {
            kind,
            url: url.clone(),
            found_at: url.clone(),
            redirects: Vec::new(),
            failure: None,
            content_type: String::new(),
            content_encoding: String::new(),
            allow_origin: String::new(),
        }
    }

    /// What could not even be asked for.
    pub(crate) fn failed(kind: Kind, url: &Url, failure: String) -> Self {
        Self { failure: Some(failure), ..Self::asked(kind, url) }
    }
}

/// Nothing can be said about what does not answer.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// The URL is of no kind that is fetched.
    #[error("{0} is not an http or https URL")]
    NotHttp(String),
    /// There was an answer, and it was a refusal.
    #[error("{url}: {failure}")]
    Refused {
        /// What was asked for.
        url: String,
        /// What came instead.
        failure: String,
    },
    /// The answer was no playlist.
    #[error("{url} is not an HLS playlist: {reason}")]
    NotAPlaylist {
        /// What was asked for.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The HTTP client itself.
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// A bounded HTTP client.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher(Client);

impl Fetcher {
    pub(crate) fn new() -> Result<Self, Unreachable> {
        // No proxy from the environment: what is measured is the server, not the way to it.
        let client =
            Client::builder().redirect(Policy::none()).no_proxy().connect_timeout(CONNECT_WITHIN).timeout(ANSWER_WITHIN).build()?;
        Ok(Self(client))
    }

    /// Fetches `url`, following redirects by hand so that they are seen. The body is decoded and empty after a failure.
    pub(crate) async fn get(&self, kind: Kind, url: &Url, range: Option<ByteRange>, bearer: Option<&str>) -> (Delivery, Vec<u8>) {
        let mut delivery = Delivery::asked(kind, url);
        match self.follow(&mut delivery, range, bearer).await {
            Ok(body) => (delivery, body),
            Err(failure) => {
                delivery.failure = Some(failure);
                (delivery, Vec::new())
            }
        }
    }

    async fn follow(&self, delivery: &mut Delivery, range: Option<ByteRange>, bearer: Option<&str>) -> Result<Vec<u8>, String> {
        loop {
            let mut request = self.0.get(delivery.found_at.clone()).header(ORIGIN, PAGE).header(ACCEPT, accepted(delivery.kind));
            // Media is not compressed again; a range of a compressed body would be none of the media's.
            request = request.header(ACCEPT_ENCODING, if delivery.kind == Kind::Playlist { "gzip" } else { "identity" });
            if let Some(range) = range {
                request = request
                    .header(RANGE, format!("bytes={}-{}", range.offset, range.offset.saturating_add(range.length).saturating_sub(1)));
            }
            // A session is for the first address only, never for where it sends us.
            if let Some(bearer) = bearer.filter(|_| delivery.redirects.is_empty()) {
                request = request.header(AUTHORIZATION, format!("Bearer {bearer}"));
            }
            let response = request.send().await.map_err(|error| format!("no answer: {}", innermost(&error)))?;
            let (status, headers) = (response.status(), response.headers());
            if status.is_redirection() {
                let location = text(headers, LOCATION);
                let next = delivery.found_at.join(&location).ok().filter(|next| matches!(next.scheme(), "http" | "https"));
                delivery.redirects.push((status.as_u16(), location));
                delivery.found_at = next
                    .filter(|_| delivery.redirects.len() <= REDIRECTS_MAX)
                    .ok_or_else(|| format!("answered {status}, which leads nowhere"))?;
                continue;
            }
            delivery.content_type = text(headers, CONTENT_TYPE);
            delivery.content_encoding = text(headers, CONTENT_ENCODING).to_ascii_lowercase();
            delivery.allow_origin = text(headers, ACCESS_CONTROL_ALLOW_ORIGIN);
            let expected = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
            let limit = delivery.kind.bytes_max();
            let body = read(response, limit).await?;
            if status != expected {
                let words: String = String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).take(200).collect();
                return Err(format!("answered {status} {words}").trim_end().to_owned());
            }
            return decode(body, &delivery.content_encoding, limit);
        }
    }
}

fn accepted(kind: Kind) -> &'static str {
    match kind {
        Kind::Playlist => "application/vnd.apple.mpegurl",
        Kind::Steering => "application/json",
        Kind::Init | Kind::Segment => "*/*",
    }
}

/// The body, as long as it stays below `limit` bytes.
async fn read(mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| format!("the answer broke off: {}", innermost(&error)))? {
        if body.len() + piece.len() > limit {
            return Err(format!("longer than {limit} bytes, which is where this check stops"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// By hand rather than by the client, which would hide whether the body was compressed.
fn decode(body: Vec<u8>, encoding: &str, limit: usize) -> Result<Vec<u8>, String> {
    match encoding {
        "" | "identity" => Ok(body),
        "gzip" => {
            let mut plain = Vec::new();
            // One byte more than is allowed tells too long from just long enough.
            let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
            flate2::read::MultiGzDecoder::new(body.as_slice())
                .take(bound)
                .read_to_end(&mut plain)
                .map_err(|error| format!("is not the gzip it says it is: {error}"))?;
            if plain.len() > limit { Err(format!("unpacks to more than {limit} bytes")) } else { Ok(plain) }
        }
        other => Err(format!("came in `Content-Encoding: {other}`, which was not asked for")),
    }
}

fn text(headers: &HeaderMap, name: reqwest::header::HeaderName) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim().to_owned()
}

/// What really went wrong is at the end of reqwest's chain of errors.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
