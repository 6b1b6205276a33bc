//! `GET /v1/tracks/{id}/manifest`: may this listener hear this track now, at which rung, under which tokens.

use protocol::{
    Problem, TrackId, admission, conditional,
    manifest::{ManifestInputs, decide},
    playlist, query,
    revocation::Revocations,
};
use worker::{Method, Request, Response, console_log};

use crate::{Edge, answer, evidence, origin, route};

/// Answers with the multivariant playlist, or with JSON for our own player.
pub(crate) async fn answer(edge: &Edge<'_>, request: &Request, track: &str) -> Result<Response, Problem> {
    if !matches!(request.method(), Method::Get | Method::Head) {
        return Err(answer::only("GET and HEAD"));
    }
    let track: TrackId = track.parse().map_err(|_| Problem::new(404, "no_such_track", "there is no such track"))?;
    let url = request.inner().url();
    let query = route::path_and_query(&url).1;
    let revoked = Revocations::default();
    let authorization = answer::header(request.headers(), "authorization");
    let session = admission::session(&edge.settings.keys, &edge.settings.sessions, &revoked, authorization.as_deref(), edge.now)?;
    let renew = query::argument(query, "play").map(|ticket| admission::renewal(&edge.settings.keys, &revoked, &ticket, edge.now)).transpose()?;
    let card = origin::card(edge, track).await?;
    let sheet = origin::sheet(edge, card.version).await?;
    let located = edge.settings.located_by_platform;
    let territory = located.then(|| evidence::territory(request)).flatten().unwrap_or(session.country);
    let evidence = evidence::of(request, query, located);
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
