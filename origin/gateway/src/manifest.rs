//! `GET /v1/tracks/{id}/manifest`, as the edge answers it: session from the header, card from the catalogue (or the last one known), sheet
//! from the shield; `protocol::manifest` decides.

use pingora::http::RequestHeader;
use protocol::{
    Problem, TrackId,
    choose::{EffectiveType, Evidence},
    cmcd::Cmcd,
    manifest::{self, ManifestInputs},
    playlist, session,
    token::{self, Claims, Purpose, TokenError},
};

use crate::{
    answer::{Answer, header_text, quality},
    gateway::Gateway,
    media,
};

/// Answers a manifest path.
pub(crate) async fn answer(gateway: &Gateway, request: &RequestHeader, path: &str, query: Option<&str>) -> Result<Answer, Problem> {
    let now = gateway.clock.now();
    let session = session::bearer(header_text(request, "authorization"))
        .and_then(|jwt| gateway.sessions.verify_for_play(jwt, now))
        .map_err(|error| Problem::new(401, error.code(), error.to_string()))?;
    let track = track_of(path).ok_or_else(no_such_track)?;
    let renew = argument(query, "play").map(|ticket| verify_ticket(gateway, &ticket)).transpose()?;
    let card = match gateway.cards.get(track).await {
        Ok(Some(card)) => card,
        Ok(None) => return Err(no_such_track()),
        Err(error) => return Err(Problem::unavailable("catalogue_unavailable", error.to_string(), 2)),
    };
    // Before the sheet is read: a track that may not be heard costs no read, and says why.
    manifest::entitle(&card, session.country, now)?;
    let sheet = gateway.sheets.get(card.version).await.map_err(media::unavailable)?;
    let evidence = evidence(request, query);
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
    let answer = if wants_json(request) {
        Answer::whole(200, "application/json", decided.json())
    } else {
        Answer::whole(200, playlist::CONTENT_TYPE, decided.hls())
    };
    tracing::debug!(play = %decided.play, %track, reason = %decided.choice.reason, "manifest");
    Ok(answer
        .header("cache-control", "private, no-store")
        .header("vary", "Accept, Authorization")
        .header("antiphon-play", &decided.play.to_string())
        .header("antiphon-ticket", &decided.ticket)
        .header("server-timing", &decided.server_timing()))
}

/// The claims of a ticket, or the refusal that the API promises.
pub(crate) fn verify_ticket(gateway: &Gateway, ticket: &str) -> Result<Claims, Problem> {
    token::verify(&gateway.token_keys, ticket, Purpose::Event, gateway.clock.now()).map_err(|error| match error {
        TokenError::Invalid => Problem::new(401, "ticket_invalid", "this ticket was not issued by this service"),
        TokenError::Expired => Problem::new(401, "ticket_expired", "this ticket has expired"),
    })
}

fn track_of(path: &str) -> Option<TrackId> {
    path.strip_prefix("/v1/tracks/")?.strip_suffix("/manifest")?.parse().ok()
}

fn no_such_track() -> Problem {
    Problem::new(404, "no_such_track", "there is no such track")
}

/// Whether JSON is preferred; without a word it is the playlist, as any HLS player expects.
fn wants_json(request: &RequestHeader) -> bool {
    let accept = header_text(request, "accept").unwrap_or_default();
    let hls = [playlist::CONTENT_TYPE, "application/x-mpegurl", "audio/mpegurl"].into_iter().filter_map(|kind| quality(accept, kind));
    quality(accept, "application/json").unwrap_or(0.0) > hls.fold(0.0, f32::max)
}

/// What the request says about the connection: CMCD headers or argument, and client hints.
fn evidence(request: &RequestHeader, query: Option<&str>) -> Evidence {
    let header = |name| header_text(request, name);
    let cmcd =
        ["cmcd-request", "cmcd-object", "cmcd-status", "cmcd-session"].into_iter().filter_map(header).fold(Cmcd::default(), Cmcd::with);
    let cmcd = argument(query, "CMCD").map_or(cmcd, |text| cmcd.with(&text));
    // Mbit/s with a fraction, by the Network Information API.
    let downlink_kbps = header("downlink").and_then(|text| text.trim().parse::<f64>().ok()).filter(|mbps| (0.0..1e6).contains(mbps));
    Evidence {
        cmcd,
        downlink_kbps: downlink_kbps.map(|mbps| (mbps * 1000.0) as u32),
        effective_type: header("ect").and_then(EffectiveType::parse),
        save_data: header("save-data").is_some_and(|text| text.trim().eq_ignore_ascii_case("on")),
        round_trip_ms: header("rtt").and_then(|text| text.trim().parse().ok()),
    }
}

/// One argument of a query, decoded.
fn argument(query: Option<&str>, name: &str) -> Option<String> {
    let url = reqwest::Url::parse(&format!("http://gateway/?{}", query?)).ok()?;
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_and_a_player_say_is_read() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in [("Downlink", "1.45"), ("ECT", "3g"), ("RTT", "150"), ("Save-Data", "on"), ("CMCD-Request", "bl=1000,mtp=900")]
        {
            request.insert_header(name, value).unwrap();
        }
        let said = evidence(&request, Some("CMCD=rtp%3D15000"));
        assert_eq!((said.downlink_kbps, said.round_trip_ms, said.save_data), (Some(1450), Some(150), true));
        assert_eq!(said.effective_type, Some(EffectiveType::ThreeG));
        assert_eq!((said.cmcd.measured_kbps, said.cmcd.requested_max_kbps), (Some(900), Some(15_000)));
    }

    #[test]
    fn nonsense_is_no_evidence() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in [("Downlink", "NaN"), ("ECT", "9g"), ("RTT", "-3")] {
            request.insert_header(name, value).unwrap();
        }
        assert_eq!(evidence(&request, Some("CMCD=%")), Evidence::default());
    }

    #[test]
    fn json_is_answered_when_it_is_asked_for() {
        for (accept, expected) in [
            ("application/json", true),
            ("text/html, application/json;q=0.9", true),
            ("*/*", false),
            ("application/vnd.apple.mpegurl, application/json;q=0.5", false),
        ] {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            request.insert_header("accept", accept).unwrap();
            assert_eq!(wants_json(&request), expected, "{accept}");
        }
    }
}
