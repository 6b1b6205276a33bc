//! Arguments of a query string, percent-decoded (RFC 3986 section 2.1). A `+` stays a plus: players write CMCD with `encodeURIComponent`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The first argument called `name`; `None` when there is none, or when what it decodes to is not text.
#[must_use]
pub fn argument<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    let (_, value) = query?.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
    percent_decode_str(value).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_found_and_decoded() {
        let query = Some("play=abc&CMCD=mtp%3D900%2Cnor%3D%22a%252Fb%22&empty=&broken=%FF&a+b=c+d");
        assert_eq!(argument(query, "play").as_deref(), Some("abc"));
        assert_eq!(argument(query, "CMCD").as_deref(), Some("mtp=900,nor=\"a%2Fb\""));
        assert_eq!(argument(query, "empty").as_deref(), Some(""));
        assert_eq!(argument(query, "broken"), None);
        assert_eq!(argument(query, "missing"), None);
        assert_eq!(argument(query, "a+b").as_deref(), Some("c+d"));
        assert_eq!(argument(None, "play"), None);
    }
}
