//! `GET /v1/tracks/{id}/manifest`: may this listener hear this track now, at which rung, under which tokens.

use protocol::{
    Problem, TrackId,
    manifest::{ManifestInputs, decide},
    playlist,
    session::{Session, SessionError, bearer},
    token::{self, Claims, Purpose, TokenError},
};
use worker::{Headers, Method, Request, Response, console_log, js_sys};

use crate::{Edge, answer, conditional, evidence, origin, route};

/// Answers with the multivariant playlist, or with JSON for our own player.
pub(crate) async fn answer(edge: &Edge<'_>, request: &Request, track: &str) -> Result<Response, Problem> {
    if !matches!(request.method(), Method::Get | Method::Head) {
        return Err(answer::only("GET and HEAD"));
    }
    let track: TrackId = track.parse().map_err(|_| Problem::new(404, "no_such_track", "there is no such track"))?;
    let query = Query::of(request);
    let session = session(edge, request.headers())?;
    let renew = query.play.as_deref().map(|ticket| verify_ticket(edge, ticket)).transpose()?;
    let card = origin::card(edge, track).await?;
    let sheet = origin::sheet(edge, card.version).await?;
    let located = edge.settings.located_by_platform;
    let territory = located.then(|| evidence::territory(request)).flatten().unwrap_or(session.country);
    let evidence = evidence::of(request, query.cmcd.as_deref(), located);
    let manifest = decide(&ManifestInputs {
        keys: &edge.settings.keys,
        session: &session,
        card: &card,
        sheet: &sheet,
        evidence: &evidence,
        territory,
        now: edge.now,
        random: crate::random()?,
        buffer_shards: edge.settings.buffer_shards,
        renew: renew.as_ref(),
        gateway_url: &edge.settings.gateway_public_url,
    })?;
    console_log!("play {} of {track} in {territory}: {}", manifest.play, manifest.choice.reason);

    let (content_type, body) = if conditional::prefers_json(answer::header(request.headers(), "accept").as_deref()) {
        ("application/json", manifest.json())
    } else {
        (playlist::CONTENT_TYPE, manifest.hls())
    };
    let play = manifest.play.to_string();
    let headers = [
        ("content-type", content_type),
        ("cache-control", "private, no-store"),
        ("vary", "Accept, Authorization"),
        ("antiphon-play", &play),
        ("antiphon-ticket", &manifest.ticket),
        ("server-timing", &manifest.server_timing()),
    ];
    Ok(answer::text(200, &headers, body))
}

fn session(edge: &Edge<'_>, headers: &Headers) -> Result<Session, Problem> {
    let authorization = answer::header(headers, "authorization");
    bearer(authorization.as_deref())
        .and_then(|jwt| edge.settings.sessions.verify_for_play(jwt, edge.now))
        .map_err(|error: SessionError| Problem::new(401, error.code(), error.to_string()))
}

/// The claims of an event ticket, or the 401 that its holder can act on.
pub(crate) fn verify_ticket(edge: &Edge<'_>, ticket: &str) -> Result<Claims, Problem> {
    token::verify(&edge.settings.keys, ticket, Purpose::Event, edge.now).map_err(|error| match error {
        TokenError::Invalid => Problem::new(401, "ticket_invalid", "the event ticket is not valid"),
        TokenError::Expired => Problem::new(401, "ticket_expired", "the event ticket has expired: ask for a new manifest"),
    })
}

#[derive(Default)]
struct Query {
    play: Option<String>,
    cmcd: Option<String>,
}

impl Query {
    fn of(request: &Request) -> Self {
        let mut query = Self::default();
        let url = request.inner().url();
        for (name, value) in route::path_and_query(&url).1.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
            let decoded = js_sys::decode_uri_component(value).ok().map(String::from);
            match name {
                "play" => query.play = decoded,
                "CMCD" => query.cmcd = decoded,
                _ => {}
            }
        }
        query
    }
}
