//! From a path to the part of the edge that answers it. The path is what the URL parser left: dot segments are gone, percent-encoding is not.

use protocol::media_path;

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// `/v1/tracks/{id}/manifest`, with the id as it was sent.
    Manifest(&'a str),
    /// `/v1/media/...`
    Media,
    /// `/v1/me/play-event`
    PlayEvent,
    /// `/healthz`
    Health,
    /// `/readyz`
    Ready,
    /// `/internal/buffers/{first}-{last}`, with the range as it was sent.
    Buffers(&'a str),
    /// `/internal/...` else, which only the edge itself may ask the gateway for.
    Internal,
    /// Something the gateway answers.
    Origin,
    /// Nothing of ours: the platform has already looked for a page.
    Unknown,
}

impl Route<'_> {
    /// Its name in logs and counters.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Manifest(_) => "manifest",
            Self::Media => "media",
            Self::PlayEvent => "play_event",
            Self::Health => "health",
            Self::Ready => "ready",
            Self::Origin => "origin",
            Self::Buffers(_) => "buffers",
            Self::Internal | Self::Unknown => "unknown",
        }
    }
}

/// The route of `path`.
pub(crate) fn of(path: &str) -> Route<'_> {
    if let Some(track) = path.strip_prefix("/v1/tracks/").and_then(|rest| rest.strip_suffix("/manifest")) {
        return Route::Manifest(track);
    }
    if let Some(range) = path.strip_prefix("/internal/buffers/") {
        return Route::Buffers(range);
    }
    match path {
        "/v1/me/play-event" => Route::PlayEvent,
        "/healthz" => Route::Health,
        "/readyz" => Route::Ready,
        "/openapi.json" | "/docs" => Route::Origin,
        _ if path.starts_with(media_path::PREFIX) => Route::Media,
        _ if ["/v1/", "/.well-known/", "/docs/"].iter().any(|prefix| path.starts_with(prefix)) => Route::Origin,
        _ if path == "/internal" || path.starts_with("/internal/") => Route::Internal,
        _ => Route::Unknown,
    }
}

/// The host and port of an absolute URL, as the platform has normalised it.
pub(crate) fn host(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The path and the query of an absolute URL, as the platform has normalised it.
pub(crate) fn path_and_query(url: &str) -> (&str, Option<&str>) {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let local = after_scheme.find('/').and_then(|slash| after_scheme.get(slash..)).unwrap_or("/");
    let local = local.split('#').next().unwrap_or(local);
    local.split_once('?').map_or((local, None), |(path, query)| (path, Some(query)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_cut_into_host_path_and_query() {
        assert_eq!(path_and_query("https://a.example/b/c?d=/e?f#g"), ("/b/c", Some("d=/e?f")));
        assert_eq!(path_and_query("https://a.example/"), ("/", None));
        assert_eq!(host("https://a.example:8443/b?c=https://d.example/"), "a.example:8443");
        assert_eq!(host("http://[::1]:8787/"), "[::1]:8787");
    }

    #[test]
    fn only_known_prefixes_reach_the_gateway() {
        let table = [
            ("/v1/tracks/a/manifest", Route::Manifest("a")),
            ("/v1/tracks/a", Route::Origin),
            ("/v1/media/t/index.m3u8", Route::Media),
            ("/v1/me/play-event", Route::PlayEvent),
            ("/v1/me/play-event/", Route::Origin),
            ("/internal/cards/a", Route::Internal),
            ("/internal/buffers/0-63", Route::Buffers("0-63")),
            ("/internal/buffers", Route::Internal),
            ("/%69nternal/cards/a", Route::Unknown),
            ("//internal/cards/a", Route::Unknown),
            ("/docs/swagger.css", Route::Origin),
            ("/docsx", Route::Unknown),
            ("/", Route::Unknown),
        ];
        for (path, expected) in table {
            assert_eq!(of(path), expected, "{path}");
        }
    }
}
