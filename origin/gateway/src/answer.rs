//! Answers the gateway gives itself, from a value to bytes on the connection. What a conditional or ranged request asks for, `protocol` judges.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use pingora::{
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};
use protocol::{
    Problem,
    conditional::{self, Wanted},
};

use crate::{headers, shield::Reader};

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Body,
}

enum Body {
    Empty,
    Whole(Bytes),
    /// A known number of bytes that may still be arriving.
    Stream {
        reader: Reader,
        bytes: u64,
    },
}

impl Answer {
    pub(crate) const fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Empty }
    }

    pub(crate) fn whole(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
        Self { status, headers, body: Body::Whole(body.into()) }
    }

    pub(crate) fn stream(content_type: &'static str, reader: Reader, bytes: u64) -> Self {
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
        Self { status: 200, headers, body: Body::Stream { reader, bytes } }
    }

    /// The problem document of a refusal.
    pub(crate) fn problem(problem: &Problem, request_id: &str) -> Self {
        let mut answer = Self::whole(problem.status, Problem::CONTENT_TYPE, problem.json(request_id)).header("cache-control", "no-store");
        if let Some(seconds) = problem.retry_after_s {
            answer = answer.header("retry-after", &seconds.to_string());
        }
        // RFC 9110 section 11.6.1: a 401 names a scheme. A ticket travels in the body, so only sessions have one.
        if problem.status == 401 && problem.code.starts_with("session_") {
            answer = answer.header("www-authenticate", "Bearer");
        }
        answer
    }

    /// Adds a header; a value that cannot be one (it would come from our own strings) is left out.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }

    /// Applies the conditions of a GET, and to a stream its range. `etag` is written as in the header, quotes and all.
    pub(crate) fn negotiated(mut self, request: &RequestHeader, etag: &str) -> Self {
        self = self.header("etag", etag);
        if conditional::none_match(header_text(request, "if-none-match"), etag) {
            self.status = 304;
            self.body = Body::Empty;
            return self;
        }
        let total = match &self.body {
            Body::Stream { bytes, .. } => *bytes,
            Body::Empty | Body::Whole(_) => return self,
        };
        self = self.header("accept-ranges", "bytes");
        let range = header_text(request, "range").filter(|_| conditional::range_stands(header_text(request, "if-range"), etag));
        match conditional::range(range, total) {
            Wanted::Whole => self,
            Wanted::Unsatisfiable => {
                self.status = 416;
                self.body = Body::Empty;
                self.header("content-range", &format!("bytes */{total}"))
            }
            Wanted::Part { first, last } => {
                self.status = 206;
                if let Body::Stream { reader, .. } = self.body {
                    self.body = Body::Stream { reader: reader.within(first, last + 1), bytes: last + 1 - first };
                }
                self.header("content-range", &format!("bytes {first}-{last}/{total}"))
            }
        }
    }

    /// Writes the answer. Errors are those of the connection, or of a body that broke off: then the connection is closed, which is how
    /// HTTP says that a body is not complete.
    pub(crate) async fn send(self, session: &mut Session, request_id: &str, public: bool) -> pingora::Result<()> {
        let mut head = ResponseHeader::build(self.status, Some(self.headers.len() + 12))?;
        for (name, value) in self.headers {
            head.append_header(name, value)?;
        }
        headers::finish_response(&mut head, request_id, public)?;
        let length = match &self.body {
            Body::Empty => 0,
            Body::Whole(bytes) => bytes.len() as u64,
            Body::Stream { bytes, .. } => *bytes,
        };
        // RFC 9110 section 8.6: neither of these has a body whose length could be said.
        if !matches!(self.status, 204 | 304) {
            head.insert_header(header::CONTENT_LENGTH, length)?;
        }
        let head_only = length == 0 || session.req_header().method == Method::HEAD;
        session.write_response_header(Box::new(head), head_only).await?;
        if head_only {
            return Ok(());
        }
        match self.body {
            Body::Empty => Ok(()),
            Body::Whole(bytes) => session.write_response_body(Some(bytes), true).await,
            Body::Stream { mut reader, .. } => {
                let broke_off = |error| pingora::Error::because(pingora::ErrorType::ReadError, "media broke off", error);
                while let Some(mut chunk) = reader.next().await.map_err(broke_off)? {
                    while !chunk.is_empty() {
                        let piece = chunk.split_to(chunk.len().min(PIECE_BYTES));
                        session.write_response_body(Some(piece), false).await?;
                    }
                }
                session.write_response_body(None, true).await
            }
        }
    }
}

/// A client has the idle limit's time to take each piece, so a slow one gets a large segment in many.
const PIECE_BYTES: usize = 64 * 1024;

/// A header as text; one that is not text counts as absent.
pub(crate) fn header_text<'a>(request: &'a RequestHeader, name: &str) -> Option<&'a str> {
    request.headers.get(name)?.to_str().ok()
}
