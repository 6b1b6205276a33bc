//! Which requests are too ambiguous to serve. Its input is the head of a request exactly as it came off the wire; its answer decides
//! whether the connection is closed with 400 before anything else looks at the request.
//!
//! Pingora refuses the impossible framings and repairs the ambiguous ones (RFC 9112 section 6.3 lets it). We forward to other
//! parsers, so a repair is a chance to disagree: here, ambiguous means refused. An honest client sends none of this.

use std::fmt;

/// What is wrong with the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FramingError {
    #[error("a line does not end with CR LF")]
    BareLineEnding,
    #[error("a header line is folded or has no name")]
    MalformedHeader,
    #[error("both Content-Length and Transfer-Encoding are present")]
    TwoFramings,
    #[error("Content-Length is repeated or not a plain decimal number")]
    ContentLength,
    #[error("Transfer-Encoding is repeated or not exactly \"chunked\"")]
    TransferEncoding,
    #[error("a GET, HEAD or OPTIONS request has a body")]
    UnexpectedBody,
    #[error("there is not exactly one Host header")]
    Host,
}

/// Checks an HTTP/1 head: request line and header lines up to and with the empty line.
pub(crate) fn check_http1_head(raw: &[u8]) -> Result<(), FramingError> {
    let text = raw.strip_suffix(b"\r\n\r\n").ok_or(FramingError::BareLineEnding)?;
    let mut lines = split_crlf(text);
    let request_line = lines.next().unwrap_or_default();
    if has_bare_ending(request_line) {
        return Err(FramingError::BareLineEnding);
    }
    let mut seen = Seen::default();
    for line in lines {
        if has_bare_ending(line) {
            return Err(FramingError::BareLineEnding);
        }
        seen.header(line)?;
    }
    seen.judge(request_line)
}

/// Counts of the headers that decide where a request ends.
#[derive(Default)]
struct Seen {
    content_length: u32,
    content_length_bytes: u64,
    transfer_encoding: u32,
    host: u32,
}

impl Seen {
    fn header(&mut self, line: &[u8]) -> Result<(), FramingError> {
        let colon = line.iter().position(|byte| *byte == b':').ok_or(FramingError::MalformedHeader)?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        // Folded lines begin with white space; a name with white space in or after it is read differently by different parsers.
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(FramingError::MalformedHeader);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            self.content_length += 1;
            self.content_length_bytes = plain_decimal(value).ok_or(FramingError::ContentLength)?;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.transfer_encoding += 1;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(FramingError::TransferEncoding);
            }
        } else if name.eq_ignore_ascii_case(b"host") {
            self.host += 1;
        }
        Ok(())
    }

    fn judge(&self, request_line: &[u8]) -> Result<(), FramingError> {
        if self.content_length > 0 && self.transfer_encoding > 0 {
            return Err(FramingError::TwoFramings);
        }
        if self.content_length > 1 {
            return Err(FramingError::ContentLength);
        }
        if self.transfer_encoding > 1 {
            return Err(FramingError::TransferEncoding);
        }
        let method = request_line.split(|byte| *byte == b' ').next().unwrap_or_default();
        let has_body = self.content_length_bytes > 0 || self.transfer_encoding > 0;
        if has_body && [b"GET".as_slice(), b"HEAD", b"OPTIONS"].contains(&method) {
            return Err(FramingError::UnexpectedBody);
        }
        // RFC 9112 section 3.2: an HTTP/1.1 request without Host is answered with 400.
        let host_needed = request_line.ends_with(b"HTTP/1.1");
        if self.host > 1 || (host_needed && self.host == 0) {
            return Err(FramingError::Host);
        }
        Ok(())
    }
}

/// RFC 9110 section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

fn has_bare_ending(line: &[u8]) -> bool {
    line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// Digits only, at most 18 of them: no sign, no list, no hexadecimal.
fn plain_decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn split_crlf(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        match text.windows(2).position(|pair| pair == b"\r\n") {
            Some(at) => {
                rest = text.get(at + 2..);
                text.get(..at)
            }
            None => rest.take(),
        }
    })
}

/// Why a request target is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetError {
    /// Longer than the limit, in bytes.
    TooLong(usize),
    /// Not the one way to write this path.
    NotCanonical,
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(max) => write!(f, "the request target is longer than {max} bytes"),
            Self::NotCanonical => {
                f.write_str("the path is not in its normal form: no percent-encoding, empty or dot segments, or characters other than A-Z a-z 0-9 - . _ ~")
            }
        }
    }
}

/// The path and the query of a request target that is in its normal form.
///
/// Every path of the API is written with unreserved characters (RFC 3986 section 2.3), so there is one way to write each, and another
/// way (`%2e`, `//`, `\`) is refused instead of repaired: what the gateway routes is what the service sees.
pub(crate) fn canonical_target(target: &[u8], max_bytes: usize) -> Result<(&str, Option<&str>), TargetError> {
    if target.len() > max_bytes {
        return Err(TargetError::TooLong(max_bytes));
    }
    let text = std::str::from_utf8(target).map_err(|_| TargetError::NotCanonical)?;
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let segments = path.strip_prefix('/').ok_or(TargetError::NotCanonical)?;
    let canonical = segments.is_empty() || segments.split('/').all(is_canonical_segment);
    let query_ok = query.is_none_or(|query| query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
    if canonical && query_ok { Ok((path, query)) } else { Err(TargetError::NotCanonical) }
}

fn is_canonical_segment(segment: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(unreserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &str) -> Result<(), FramingError> {
        check_http1_head(format!("POST /v1/sessions HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes())
    }

    #[test]
    fn an_honest_request_passes() {
        for lines in
            ["Content-Length: 12\r\n", "Transfer-Encoding: chunked\r\n", "", "X: a b\tc\r\n", "transfer-encoding:CHUNKED\r\n", "X:\r\n"]
        {
            assert_eq!(head(lines), Ok(()), "{lines:?}");
        }
        assert_eq!(check_http1_head(b"GET / HTTP/1.0\r\n\r\n"), Ok(()));
    }

    #[test]
    fn a_request_that_two_parsers_could_end_in_different_places_is_refused() {
        let table = [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", FramingError::TwoFramings),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", FramingError::ContentLength),
            ("Content-Length: 1, 1\r\n", FramingError::ContentLength),
            ("Content-Length: +1\r\n", FramingError::ContentLength),
            ("Content-Length: 0x1\r\n", FramingError::ContentLength),
            ("Content-Length: \r\n", FramingError::ContentLength),
            ("Transfer-Encoding: xchunked\r\n", FramingError::TransferEncoding),
            ("Transfer-Encoding: gzip, chunked\r\n", FramingError::TransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", FramingError::TransferEncoding),
            ("Transfer-Encoding : chunked\r\n", FramingError::MalformedHeader),
            (" folded\r\n", FramingError::MalformedHeader),
            ("X: a\nContent-Length: 1\r\n", FramingError::BareLineEnding),
            ("X: a\rContent-Length: 1\r\n", FramingError::BareLineEnding),
            ("Host: b\r\n", FramingError::Host),
        ];
        for (lines, error) in table {
            assert_eq!(head(lines), Err(error), "{lines:?}");
        }
        assert_eq!(check_http1_head(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"), Err(FramingError::UnexpectedBody));
        assert_eq!(check_http1_head(b"GET / HTTP/1.1\r\n\r\n"), Err(FramingError::Host));
        assert_eq!(check_http1_head(b"GET / HTTP/1.1\nHost: a\n\n"), Err(FramingError::BareLineEnding));
    }

    #[test]
    fn a_path_has_one_spelling() {
        assert_eq!(canonical_target(b"/v1/search?q=a%20b", 100), Ok(("/v1/search", Some("q=a%20b"))));
        assert_eq!(canonical_target(b"/", 100), Ok(("/", None)));
        assert_eq!(canonical_target(b"/.well-known/jwks.json", 100), Ok(("/.well-known/jwks.json", None)));
        for target in [
            "/v1//search",
            "/v1/../x",
            "/v1/./x",
            "/v1/%2e%2e/x",
            "/v1/x/",
            "/v1/a%2fb",
            "/v1\\x",
            "http://h/v1",
            "*",
            "",
            "/v1;x",
            "/a?b#c",
            "/a?b c",
        ] {
            assert_eq!(canonical_target(target.as_bytes(), 100), Err(TargetError::NotCanonical), "{target}");
        }
        assert_eq!(canonical_target("/é".as_bytes(), 100), Err(TargetError::NotCanonical));
        assert_eq!(canonical_target(&[b'/', 0xff], 100), Err(TargetError::NotCanonical));
        assert_eq!(canonical_target(&[b'/'; 101], 100), Err(TargetError::TooLong(100)));
    }
}
