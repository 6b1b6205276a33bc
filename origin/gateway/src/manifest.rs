//! `GET /v1/tracks/{id}/manifest`, as the edge answers it: session from the header, card from the catalogue (or the last one known), sheet
//! from the shield; `protocol::manifest` decides.

use std::borrow::Cow;

use pingora::http::RequestHeader;
use protocol::{
    Problem, TrackId, admission, conditional, evidence,
    manifest::{self, ManifestInputs},
    playlist, query,
};

use crate::{
    answer::{Answer, header_text},
    gateway::Gateway,
    media,
};

/// Answers a manifest path.
pub(crate) async fn answer(gateway: &Gateway, request: &RequestHeader, path: &str, query_string: Option<&str>) -> Result<Answer, Problem> {
    let now = gateway.clock.now();
    let authorization = header_text(request, "authorization");
    let ticket = query::argument(query_string, "play");
    let (session, track, renew) = gateway.revoked.judged(|revoked| {
        let session = admission::session(&gateway.token_keys, |jwt| gateway.sessions.authenticate(jwt), revoked, authorization, now)?;
        let track = track_of(path).ok_or_else(no_such_track)?;
        let renew = ticket.map(|ticket| admission::renewal(&gateway.token_keys, revoked, &ticket, now)).transpose()?;
        admission::track(revoked, track, now)?;
        Ok((session, track, renew))
    })?;
    let card = match gateway.cards.get(track).await {
        Ok(Some(card)) => card,
        Ok(None) => return Err(no_such_track()),
        Err(error) => return Err(Problem::unavailable("catalogue_unavailable", error.to_string(), 2)),
    };
    // Before the sheet is read: a track that may not be heard costs no read, and says why.
    manifest::entitle(&card, session.country, now)?;
    let sheet = gateway.sheets.get(card.version).await.map_err(media::unavailable)?;
    let evidence = evidence::gather(|name| header_text(request, name).map(Cow::Borrowed), query_string);
    let decided = manifest::decide(&ManifestInputs {
        keys: &gateway.token_keys,
        session: &session,
        card: &card,
        sheet: &sheet,
        evidence: &evidence,
        // Nothing in front of the gateway knows where an address is: the session's country stands in.
        territory: session.country,
        now,
        random: platform::random_bytes(),
        buffer_shards: gateway.conf.playback.buffer_shards,
        renew: renew.as_ref(),
        gateway_url: &gateway.public_url,
    })?;
    let (content_type, text) = if conditional::prefers_json(header_text(request, "accept")) {
        ("application/json", decided.json())
    } else {
        (playlist::CONTENT_TYPE, decided.hls())
    };
    tracing::debug!(play = %decided.play, %track, reason = %decided.choice.reason, "manifest");
    Ok(media::text_answer(request, content_type, &text)
        .header("cache-control", "private, no-store")
        .header("vary", "Accept, Accept-Encoding, Authorization")
        .header("antiphon-play", &decided.play.to_string())
        .header("antiphon-ticket", &decided.ticket)
        .header("server-timing", &decided.server_timing()))
}

fn track_of(path: &str) -> Option<TrackId> {
    path.strip_prefix("/v1/tracks/")?.strip_suffix("/manifest")?.parse().ok()
}

fn no_such_track() -> Problem {
    Problem::new(404, "no_such_track", "there is no such track")
}
