//! The table of everything the gateway serves: which path and method goes where, and how large a body may be. Read by the request
//! phase; nothing else in the gateway knows a path.

use http::Method;

use self::{Own::*, Service::*, Target::*};

/// A service behind the gateway; its address comes from the configuration's `[listen]` section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    Identity,
    Catalog,
    Ingest,
    Search,
    Recommend,
    Royalty,
}

impl Service {
    pub(crate) const ALL: [Self; 6] = [Identity, Catalog, Ingest, Search, Recommend, Royalty];

    /// Its role name, as in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Identity => "identity",
            Catalog => "catalog",
            Ingest => "ingest",
            Search => "search",
            Recommend => "recommend",
            Royalty => "royalty",
        }
    }
}

/// What the gateway answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    Healthz,
    Readyz,
    OpenApi,
    Docs,
    Media,
    Manifest,
    PlayEvent,
    InternalSheet,
    InternalMedia,
    InternalBatch,
    InternalRevocations,
}

impl Own {
    /// A label for metrics and logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Healthz => "healthz",
            Readyz => "readyz",
            OpenApi => "openapi",
            Docs => "docs",
            Media => "media",
            Manifest => "manifest",
            PlayEvent => "play_event",
            InternalSheet => "internal_sheet",
            InternalMedia => "internal_media",
            InternalBatch => "internal_batch",
            InternalRevocations => "internal_revocations",
        }
    }
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    To(Service),
    Here(Own),
}

impl Target {
    /// A label for metrics and logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            To(service) => service.name(),
            Here(own) => own.name(),
        }
    }
}

/// The largest body a route takes; the sizes are in the gateway's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyLimit {
    /// A document of the API.
    Json,
    /// A listener's events.
    PlayEvent,
    /// A frozen batch from a heartbeat buffer.
    Batch,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    /// Methods it takes; `HEAD` comes with `GET`.
    methods: &'static [Method],
    /// Segments: literal, `{name}` for any one, a final `*` for one or more.
    pattern: &'static str,
    pub(crate) target: Target,
    pub(crate) body: BodyLimit,
    /// Takes passwords, so it is worth guessing at: counted by the stricter rate limit.
    pub(crate) credentials: bool,
}

const GET: &[Method] = &[Method::GET];
const POST: &[Method] = &[Method::POST];
const PUT: &[Method] = &[Method::PUT];
const PUT_DELETE: &[Method] = &[Method::PUT, Method::DELETE];
const ANY: &[Method] = &[Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

const fn route(methods: &'static [Method], pattern: &'static str, target: Target) -> Route {
    Route { methods, pattern, target, body: BodyLimit::Json, credentials: false }
}

/// The first line that fits wins.
const ROUTES: &[Route] = &[
    // The gateway itself.
    route(GET, "/healthz", Here(Healthz)),
    route(GET, "/readyz", Here(Readyz)),
    route(GET, "/openapi.json", Here(OpenApi)),
    route(GET, "/docs", Here(Docs)),
    // Playback: as at the edge, for players whose edge is down.
    route(GET, "/v1/tracks/{id}/manifest", Here(Manifest)),
    route(GET, "/v1/media/*", Here(Media)),
    Route { body: BodyLimit::PlayEvent, ..route(POST, "/v1/me/play-event", Here(PlayEvent)) },
    // Accounts and sessions.
    Route { credentials: true, ..route(POST, "/v1/accounts", To(Identity)) },
    Route { credentials: true, ..route(POST, "/v1/sessions", To(Identity)) },
    route(ANY, "/v1/accounts", To(Identity)),
    route(ANY, "/v1/accounts/*", To(Identity)),
    route(ANY, "/v1/sessions", To(Identity)),
    route(ANY, "/v1/sessions/*", To(Identity)),
    route(GET, "/.well-known/jwks.json", To(Identity)),
    route(&[Method::GET, Method::POST], "/v1/revocations", To(Identity)),
    route(&[Method::DELETE], "/v1/revocations/{kind}/{id}", To(Identity)),
    // Who acts for an artist. An invitation tells whether an address has an account, as signing up does.
    Route { credentials: true, ..route(POST, "/v1/artists/{id}/members", To(Identity)) },
    route(GET, "/v1/artists/{id}/members", To(Identity)),
    route(PUT_DELETE, "/v1/artists/{id}/members/{account}", To(Identity)),
    route(GET, "/v1/me/artists", To(Identity)),
    route(PUT_DELETE, "/v1/me/artists/{id}", To(Identity)),
    // An artist's work.
    route(ANY, "/v1/ingest/*", To(Ingest)),
    route(GET, "/v1/me/tracks", To(Ingest)),
    // The catalogue.
    route(&[Method::GET, Method::DELETE], "/v1/tracks/{id}", To(Catalog)),
    route(GET, "/v1/me/likes", To(Catalog)),
    route(PUT_DELETE, "/v1/me/likes/{id}", To(Catalog)),
    route(GET, "/v1/me/follows", To(Catalog)),
    route(PUT_DELETE, "/v1/me/follows/{id}", To(Catalog)),
    // Finding music.
    route(GET, "/v1/search", To(Search)),
    route(GET, "/v1/search/*", To(Search)),
    route(GET, "/v1/me/recommendations", To(Recommend)),
    route(GET, "/v1/tracks/{id}/similar", To(Recommend)),
    // Money.
    route(ANY, "/v1/royalties/*", To(Royalty)),
    route(GET, "/v1/me/history", To(Royalty)),
    route(PUT, "/v1/me/tracks/{id}/splits", To(Royalty)),
    // The edge, by its signature alone.
    route(GET, "/internal/cards/{track}", To(Catalog)),
    route(GET, "/internal/sheets/{version}", Here(InternalSheet)),
    route(GET, "/internal/media/{version}/{rung}/{range}", Here(InternalMedia)),
    Route { body: BodyLimit::Batch, ..route(POST, "/internal/batches", Here(InternalBatch)) },
    route(GET, "/internal/revocations", Here(InternalRevocations)),
];

/// Why no line fits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// No such path.
    NotFound,
    /// The path exists for these methods (the `Allow` header, RFC 9110 section 15.5.6).
    MethodNotAllowed(String),
}

/// The line for a request.
pub(crate) fn find(method: &Method, path: &str) -> Result<&'static Route, NoRoute> {
    let asked = if method == Method::HEAD { &Method::GET } else { method };
    let mut allowed: Vec<&str> = Vec::new();
    for route in ROUTES.iter().filter(|route| fits(route.pattern, path)) {
        if route.methods.contains(asked) {
            return Ok(route);
        }
        for method in route.methods {
            if !allowed.contains(&method.as_str()) {
                allowed.push(method.as_str());
            }
        }
    }
    if allowed.is_empty() { Err(NoRoute::NotFound) } else { Err(NoRoute::MethodNotAllowed(allowed.join(", "))) }
}

/// Whether a path is for the edge alone, routed or not.
pub(crate) fn is_internal(path: &str) -> bool {
    path == "/internal" || path.starts_with("/internal/")
}

fn fits(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        match (expected, segments.next()) {
            ("*", Some(_)) => return true,
            (_, None) => return false,
            (expected, Some(_)) if expected.starts_with('{') => {}
            (expected, Some(segment)) if expected == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_promised_path_has_one_owner() {
        let table = [
            ("GET", "/healthz", Here(Healthz)),
            ("HEAD", "/v1/media/abc/aac-128/3.m4s", Here(Media)),
            ("GET", "/v1/tracks/0190/manifest", Here(Manifest)),
            ("GET", "/v1/tracks/0190/similar", To(Recommend)),
            ("GET", "/v1/tracks/0190", To(Catalog)),
            ("DELETE", "/v1/tracks/0190", To(Catalog)),
            ("POST", "/v1/me/play-event", Here(PlayEvent)),
            ("POST", "/v1/accounts", To(Identity)),
            ("POST", "/v1/sessions/refresh", To(Identity)),
            ("DELETE", "/v1/sessions", To(Identity)),
            ("GET", "/.well-known/jwks.json", To(Identity)),
            ("POST", "/v1/revocations", To(Identity)),
            ("DELETE", "/v1/revocations/play/0190", To(Identity)),
            ("GET", "/internal/revocations", Here(InternalRevocations)),
            ("GET", "/v1/artists/0190/members", To(Identity)),
            ("DELETE", "/v1/artists/0190/members/0191", To(Identity)),
            ("PUT", "/v1/me/artists/0190", To(Identity)),
            ("POST", "/v1/ingest/upload", To(Ingest)),
            ("GET", "/v1/me/tracks", To(Ingest)),
            ("PUT", "/v1/me/tracks/0190/splits", To(Royalty)),
            ("GET", "/v1/me/history", To(Royalty)),
            ("GET", "/v1/royalties/statements/7/proof", To(Royalty)),
            ("PUT", "/v1/me/likes/0190", To(Catalog)),
            ("GET", "/v1/search/suggest", To(Search)),
            ("GET", "/v1/me/recommendations", To(Recommend)),
            ("GET", "/internal/cards/0190", To(Catalog)),
            ("POST", "/internal/batches", Here(InternalBatch)),
        ];
        for (method, path, target) in table {
            let method: Method = method.parse().unwrap();
            assert_eq!(find(&method, path).map(|route| route.target).ok(), Some(target), "{method} {path}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_not_served() {
        for path in
            ["/", "/v1", "/v1/tracks", "/v1/tracks/a/b/c", "/v1/media", "/internal/publications", "/internal/outbox", "/metrics", "/v1/me"]
        {
            assert_eq!(find(&Method::GET, path).map(|route| route.target), Err(NoRoute::NotFound), "{path}");
        }
        let refused = find(&Method::POST, "/v1/tracks/0190").map(|route| route.target);
        assert_eq!(refused, Err(NoRoute::MethodNotAllowed("GET, DELETE".to_owned())));
    }

    #[test]
    fn passwords_are_counted_apart_and_bodies_are_bounded_by_kind() {
        assert!(find(&Method::POST, "/v1/sessions").unwrap().credentials);
        assert!(find(&Method::POST, "/v1/artists/0190/members").unwrap().credentials);
        assert!(!find(&Method::DELETE, "/v1/sessions").unwrap().credentials);
        assert_eq!(find(&Method::POST, "/internal/batches").unwrap().body, BodyLimit::Batch);
        assert_eq!(find(&Method::POST, "/v1/me/play-event").unwrap().body, BodyLimit::PlayEvent);
    }

    #[test]
    fn every_internal_path_is_known_to_be_internal() {
        assert!(is_internal("/internal/batches") && is_internal("/internal") && !is_internal("/internals") && !is_internal("/v1/internal"));
    }
}
