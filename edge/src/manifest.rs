//! `GET /v1/tracks/{id}/manifest`: may this listener hear this track now, at which rung, under which tokens.

use std::rc::Rc;

use protocol::{
    Problem, TrackId, admission, conditional,
    manifest::{ManifestInputs, decide},
    media_path::MediaObject,
    playlist, query,
};

use crate::{
    Edge,
    answer::{self, Answer},
    asked::Asked,
    cards, evidence, log,
    media::Piece,
    prefetch, revoked, sessions, sheets,
};

/// Answers with the multivariant playlist, or with JSON for our own player.
pub(crate) async fn answer(edge: &Rc<Edge>, asked: &Asked, track: &str) -> Result<Answer, Problem> {
    if !asked.reads() {
        return Err(answer::only("GET and HEAD"));
    }
    let track: TrackId = track.parse().map_err(|_| Problem::new(404, "no_such_track", "there is no such track"))?;
    let authorization = asked.header("authorization");
    let ticket = query::argument(asked.query(), "play");
    revoked::keep_up(edge).await;
    let keys = &edge.settings.keys;
    let (session, renew) = revoked::judge(|revoked| {
        let session = admission::session(
            keys,
            |jwt| sessions::authenticate(&edge.settings.sessions, jwt),
            revoked,
            authorization.as_deref(),
            edge.now,
        )?;
        let renew = ticket.map(|ticket| admission::renewal(keys, revoked, &ticket, edge.now)).transpose()?;
        admission::track(revoked, track, edge.now)?;
        Ok((session, renew))
    })?;
    let card = cards::card(edge, track).await?;
    let sheet = sheets::sheet(edge, card.version).await?;
    let located = edge.settings.located_by_platform;
    let territory = located.then(|| evidence::territory(asked)).flatten().unwrap_or(session.country);
    let evidence = evidence::of(asked, located);
    let manifest = decide(&ManifestInputs {
        keys,
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
    let choice = &manifest.choice;
    log::info(
        "play",
        serde_json::json!({
            "request_id": edge.request_id, "play": manifest.play, "track": track, "territory": territory, "start": choice.start, "reason": choice.reason,
        }),
    );

    let rung = choice.start;
    let (content_type, body, first) = if conditional::prefers_json(asked.header("accept").as_deref()) {
        ("application/json", manifest.json(), [Some(MediaObject::First(rung)), None])
    } else {
        (playlist::CONTENT_TYPE, manifest.hls(), [Some(MediaObject::Init(rung)), Some(MediaObject::Segment(rung, 0))])
    };
    if !asked.is_head() {
        for object in first.into_iter().flatten() {
            prefetch::fetch(edge, Piece { version: card.version, object });
        }
    }
    let answer = Answer::text(200, content_type, body);
    // Authoring specification 10.1.
    let answer = if conditional::accepts_gzip(evidence::accept_encoding(asked).as_deref()) { answer.gzipped() } else { answer };
    Ok(answer
        .with("cache-control", "private, no-store")
        .with("vary", "Accept, Accept-Encoding, Authorization")
        .with("antiphon-play", &manifest.play.to_string())
        .with("antiphon-ticket", &manifest.ticket)
        .with("server-timing", &manifest.server_timing()))
}
