//! The parts of RFC 9110 that read a request header and decide the shape of the answer: content negotiation (section 12), validators and
//! preconditions (13), byte ranges (14). Edge and gateway judge by the same functions.

/// What a `Range` header asks of a representation of known length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: no range, one we do not understand, or several (a server may ignore them, section 14.2).
    Whole,
    /// Bytes `first` to `last`, both included.
    Part {
        /// The first byte.
        first: u64,
        /// The last byte, which is part of it.
        last: u64,
    },
    /// 416.
    Unsatisfiable,
}

/// Evaluates `Range: bytes=...` against `length`.
#[must_use]
pub fn range(header: Option<&str>, length: u64) -> Wanted {
    let Some((first, last)) = header.and_then(single_range) else { return Wanted::Whole };
    match (first, last) {
        (Some(first), last) => {
            let last = last.unwrap_or(u64::MAX);
            if first > last {
                return Wanted::Whole;
            }
            if first >= length {
                return Wanted::Unsatisfiable;
            }
            Wanted::Part { first, last: last.min(length - 1) }
        }
        (None, Some(0)) => Wanted::Unsatisfiable,
        (None, Some(_)) if length == 0 => Wanted::Unsatisfiable,
        (None, Some(suffix)) => Wanted::Part { first: length.saturating_sub(suffix), last: length - 1 },
        (None, None) => Wanted::Whole,
    }
}

fn single_range(header: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, set) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    let number = |digits: &str| match digits {
        "" => Some(None),
        _ if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok().map(Some),
        _ => None,
    };
    Some((number(first)?, number(last)?))
}

/// Whether `If-None-Match` names `etag` (weak comparison, section 13.1.2).
#[must_use]
pub fn none_match(header: Option<&str>, etag: &str) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    header.is_some_and(|header| header.trim() == "*" || header.split(',').any(|tag| opaque(tag.trim()) == opaque(etag)))
}

/// Whether `If-Range` lets the range stand (strong comparison, section 13.1.5). We give no `Last-Modified`, so a date never does.
#[must_use]
pub fn range_stands(header: Option<&str>, etag: &str) -> bool {
    header.is_none_or(|header| header.trim() == etag && !etag.starts_with("W/"))
}

/// Whether the client takes gzip.
#[must_use]
pub fn accepts_gzip(header: Option<&str>) -> bool {
    let quality_of = |coding: &str| header.and_then(|header| quality(header, coding));
    quality_of("gzip").or_else(|| quality_of("*")).is_some_and(|quality| quality > 0.0)
}

/// Whether the client would rather have JSON than a playlist; without a word it gets the playlist, as any HLS player expects.
#[must_use]
pub fn prefers_json(header: Option<&str>) -> bool {
    let Some(header) = header else { return false };
    let json = quality(header, "application/json").unwrap_or(0.0);
    let playlist = ["application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl"];
    let hls = playlist.iter().filter_map(|kind| quality(header, kind)).fold(0.0, f32::max);
    json > hls
}

/// The quality a list header gives to `name`; `None` when it is not in the list.
fn quality(header: &str, name: &str) -> Option<f32> {
    header.split(',').find_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(name) {
            return None;
        }
        let q = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some(q.map_or(1.0, |q| q.parse().unwrap_or(0.0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_section_14_says() {
        let part = |first, last| Wanted::Part { first, last };
        let table = [
            (None, Wanted::Whole),
            (Some("bytes=0-9"), part(0, 9)),
            (Some("bytes=90-"), part(90, 99)),
            (Some("bytes=90-1000"), part(90, 99)),
            (Some("bytes=-10"), part(90, 99)),
            (Some("bytes=-1000"), part(0, 99)),
            (Some("Bytes=5-5"), part(5, 5)),
            (Some("bytes=100-"), Wanted::Unsatisfiable),
            (Some("bytes=-0"), Wanted::Unsatisfiable),
            (Some("bytes=9-5"), Wanted::Whole),
            (Some("bytes=0-1,5-6"), Wanted::Whole),
            (Some("bytes=-"), Wanted::Whole),
            (Some("bytes=+1-2"), Wanted::Whole),
            (Some("items=0-1"), Wanted::Whole),
            (Some("nonsense"), Wanted::Whole),
        ];
        for (header, expected) in table {
            assert_eq!(range(header, 100), expected, "{header:?}");
        }
        assert_eq!(range(Some("bytes=0-"), 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn validators_compare_weakly_for_not_modified_and_strongly_for_ranges() {
        assert!(none_match(Some("\"a\", W/\"b\""), "\"b\""));
        assert!(none_match(Some("*"), "\"b\""));
        assert!(!none_match(Some("\"a\""), "\"b\""));
        assert!(!none_match(None, "\"b\""));
        assert!(range_stands(None, "\"a\""));
        assert!(range_stands(Some("\"a\""), "\"a\""));
        assert!(!range_stands(Some("W/\"a\""), "W/\"a\""));
        assert!(!range_stands(Some("Tue, 24 Nov 2026 00:00:00 GMT"), "\"a\""));
    }

    #[test]
    fn negotiation_follows_the_client() {
        assert!(accepts_gzip(Some("gzip, deflate, br")));
        assert!(accepts_gzip(Some("br;q=1.0, *;q=0.5")));
        assert!(!accepts_gzip(Some("gzip;q=0, *")));
        assert!(!accepts_gzip(None));
        assert!(prefers_json(Some("application/json")));
        assert!(!prefers_json(Some("*/*")));
        assert!(!prefers_json(Some("application/vnd.apple.mpegurl, application/json;q=0.5")));
        assert!(!prefers_json(None));
    }
}
