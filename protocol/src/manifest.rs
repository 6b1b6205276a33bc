//! The decision at the start of a play: may it be heard, at which rung, under which tokens. Pure, so that edge and gateway agree.

use serde::Serialize;

use crate::{
    MediaVersion, PlayId, Problem, Territory, UnixMs, admission,
    choose::{Choice, Evidence, RungList, choose},
    keys::TokenKeys,
    media_path::{self, MediaObject},
    playlist::{self, Bases},
    rung::Rung,
    session::Session,
    sheet::{Card, CardState, Loudness, Sheet},
    token::{self, Claims, EVENT_GRACE_MS, MEDIA_GRACE_MS, Purpose},
};

/// How often a player reports, ms.
pub const HEARTBEAT_EVERY_MS: u32 = 15_000;

/// Everything the decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct ManifestInputs<'a> {
    /// Signs the tokens.
    pub keys: &'a TokenKeys,
    /// Who listens.
    pub session: &'a Session,
    /// The track now.
    pub card: &'a Card,
    /// Its current media version.
    pub sheet: &'a Sheet,
    /// What is known of the connection.
    pub evidence: &'a Evidence,
    /// Where the listener is: the platform's word, else the session's country, never a client's header.
    pub territory: Territory,
    /// The instant of the request.
    pub now: UnixMs,
    /// Fresh random bytes for the play's id.
    pub random: [u8; 10],
    /// How many heartbeat buffers there are.
    pub buffer_shards: u16,
    /// The claims of a verified ticket whose play goes on (`?play=`).
    pub renew: Option<&'a Claims>,
    /// Where the gateway answers players.
    pub gateway_url: &'a str,
}

/// A play that may begin (or go on).
#[derive(Debug, Clone)]
pub struct Manifest<'a> {
    /// The play.
    pub play: PlayId,
    /// Authorises its heartbeats.
    pub ticket: String,
    /// Authorises its media.
    pub media_token: String,
    /// When the media token ends.
    pub expires_at: UnixMs,
    /// The bitrate decision.
    pub choice: Choice,
    sheet: &'a Sheet,
    gateway_url: &'a str,
}

/// Decides.
///
/// # Errors
/// A [`Problem`] with `taken_down` (410), `not_available`, `not_released`, `not_allowed_here`, `play_is_not_yours` (403) or `no_such_rendition` (404).
pub fn decide<'a>(inputs: &ManifestInputs<'a>) -> Result<Manifest<'a>, Problem> {
    entitle(inputs.card, inputs.territory, inputs.now)?;
    let pseudonym = inputs.keys.pseudonym(inputs.session.account);
    let play = match inputs.renew {
        Some(claims) if claims.pseudonym != pseudonym || claims.track != inputs.card.track => {
            return Err(Problem::new(403, "play_is_not_yours", "the ticket belongs to another account or track"));
        }
        Some(claims) => claims.play,
        None => PlayId::v7(inputs.now, inputs.random),
    };
    let choice = choose(inputs.evidence, inputs.sheet.rung_set(), inputs.session.plan.rungs())
        .ok_or_else(|| Problem::new(404, "no_such_rendition", "this track has no rendition your plan allows"))?;
    let rungs = if choice.lossless { choice.allowed.0.with(Rung::Flac) } else { choice.allowed.0 };
    let duration_ms = inputs.sheet.duration_ms();
    let expires_at = inputs.now.plus_ms(i64::from(duration_ms) + MEDIA_GRACE_MS);
    let claims = |purpose, expires_at| Claims {
        purpose,
        plan: inputs.session.plan,
        rungs,
        territory: inputs.territory,
        buffer: pseudonym.shard(inputs.buffer_shards),
        expires_at,
        duration_ms,
        play,
        track: inputs.card.track,
        version: inputs.sheet.version,
        pseudonym,
    };
    let mint = |claims: &Claims| {
        token::mint(inputs.keys, claims, inputs.now).map_err(|error| Problem::unavailable("not_signing_yet", error.to_string(), 30))
    };
    Ok(Manifest {
        play,
        media_token: mint(&claims(Purpose::Media, expires_at))?,
        ticket: mint(&claims(Purpose::Event, expires_at.plus_ms(EVENT_GRACE_MS)))?,
        expires_at,
        choice,
        sheet: inputs.sheet,
        gateway_url: inputs.gateway_url,
    })
}

/// Whether the track may be heard here and now.
///
/// # Errors
/// As [`decide`].
pub fn entitle(card: &Card, territory: Territory, now: UnixMs) -> Result<(), Problem> {
    match card.state {
        CardState::Published => {}
        CardState::TakenDown => return Err(admission::taken_down()),
        CardState::Held => return Err(Problem::new(403, "not_available", "this track is held and cannot be played now")),
    }
    if card.release_at_ms.is_some_and(|release| now < release) {
        return Err(Problem::new(403, "not_released", "this track has not been released yet"));
    }
    match &card.territories {
        Some(allowed) if !allowed.contains(&territory) => {
            Err(Problem::new(403, "not_allowed_here", format!("this track is not available in {territory}")))
        }
        _ => Ok(()),
    }
}

/// The multivariant playlist that `index.m3u8` answers under `token`: what it allows, the middle of the ladder first, since the evidence of the
/// manifest request is not in the token.
#[must_use]
pub fn index(claims: &Claims, token: &str, sheet: &Sheet, gateway_url: &str) -> String {
    let lossy = claims.rungs.without(Rung::Flac).intersect(sheet.rung_set());
    let start = if lossy.contains(Rung::Aac128) { Rung::Aac128 } else { lossy.iter().next().unwrap_or(Rung::Aac64) };
    playlist::multivariant(sheet, lossy, start, Bases { near: "", gateway: &format!("{gateway_url}{}{token}/", media_path::PREFIX) })
}

impl Manifest<'_> {
    /// The multivariant playlist, with URIs relative to `/v1/tracks/{id}/manifest`.
    #[must_use]
    pub fn hls(&self) -> String {
        self.multivariant(&format!("../../media/{}/", self.media_token))
    }

    fn multivariant(&self, near: &str) -> String {
        let gateway = format!("{}{}{}/", self.gateway_url, media_path::PREFIX, self.media_token);
        playlist::multivariant(self.sheet, self.choice.allowed.0, self.choice.start, Bases { near, gateway: &gateway })
    }

    /// The value of `Server-Timing` that says why this rung was chosen.
    #[must_use]
    pub fn server_timing(&self) -> String {
        format!("choice;desc=\"{}\"", self.choice.reason)
    }

    /// The same decision for our own player.
    #[must_use]
    pub fn json(&self) -> String {
        let media = format!("{}{}", media_path::PREFIX, self.media_token);
        let Choice { start, allowed, lossless, reason } = &self.choice;
        let body = Body {
            play: PlayBody { id: self.play, ticket: &self.ticket, expires_at: self.expires_at, heartbeat_every_ms: HEARTBEAT_EVERY_MS },
            playlist_url: format!("{media}/index.m3u8"),
            fallback_playlist_url: format!("{}{media}/index.m3u8", self.gateway_url),
            start: *start,
            allowed: *allowed,
            lossless: lossless.then_some(Rung::Flac),
            reason,
            multivariant_playlist: self.multivariant(""),
            first: First {
                rung: *start,
                url: format!("{media}/{}", MediaObject::First(*start)),
                init_bytes: self.sheet.rung(*start).map_or(0, |rendition| rendition.init_bytes),
                init_url: format!("{media}/{}", MediaObject::Init(*start)),
                segment_url: format!("{media}/{}", MediaObject::Segment(*start, 0)),
                media_playlist: playlist::media(self.sheet, *start).unwrap_or_default(),
            },
            version: self.sheet.version,
            duration_ms: self.sheet.duration_ms(),
            loudness: LoudnessBody::from(self.sheet.loudness),
        };
        serde_json::to_string(&body).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Body<'a> {
    play: PlayBody<'a>,
    playlist_url: String,
    fallback_playlist_url: String,
    start: Rung,
    allowed: RungList,
    lossless: Option<Rung>,
    reason: &'a str,
    multivariant_playlist: String,
    first: First,
    version: MediaVersion,
    duration_ms: u32,
    loudness: LoudnessBody,
}

#[derive(Serialize)]
struct PlayBody<'a> {
    id: PlayId,
    ticket: &'a str,
    #[serde(with = "crate::time::rfc3339")]
    expires_at: UnixMs,
    heartbeat_every_ms: u32,
}

#[derive(Serialize)]
struct First {
    rung: Rung,
    /// Init section and first segment in one answer, the init section its first `init_bytes`.
    url: String,
    init_bytes: u32,
    init_url: String,
    segment_url: String,
    media_playlist: String,
}

/// Loudness as the API writes it, in whole decibels with a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LoudnessBody {
    /// LUFS.
    pub integrated_lufs: f64,
    /// dBTP.
    pub true_peak_dbtp: f64,
    /// dB to apply at playback.
    pub gain_db: f64,
}

impl From<Loudness> for LoudnessBody {
    fn from(loudness: Loudness) -> Self {
        let hundredths = |value: i32| f64::from(value) / 100.0;
        Self {
            integrated_lufs: hundredths(loudness.integrated_clufs),
            true_peak_dbtp: hundredths(loudness.true_peak_cdbtp),
            gain_db: hundredths(loudness.gain_cdb()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccountId, Plan, Role, TrackId, sheet::tests::sheet};

    const NOW: UnixMs = UnixMs(1_795_556_280_000);
    const KEYS: &str = r#"{"current":1,"keys":{"1":"1111111111111111111111111111111111111111111111111111111111111111"}}"#;

    fn session(account: u8) -> Session {
        Session {
            account: AccountId::v7(NOW, [account; 10]),
            role: Role::Listener,
            plan: Plan::Free,
            country: "DE".parse().unwrap(),
            family: uuid::Uuid::from_u128(1),
            name: String::new(),
            issued_at: NOW,
            expires_at: NOW,
            play_until: NOW,
        }
    }

    fn card() -> Card {
        Card {
            track: TrackId::v7(NOW, [9; 10]),
            state: CardState::Published,
            version: sheet().version,
            title: "Song".to_owned(),
            territories: Some(vec!["DE".parse().unwrap()]),
            release_at_ms: Some(NOW),
            album_gain_cdb: None,
        }
    }

    fn decided(
        session: &Session,
        card: &Card,
        territory: &str,
        now: UnixMs,
        renew: Option<&Claims>,
    ) -> Result<(PlayId, String, String), &'static str> {
        let (keys, sheet) = (TokenKeys::parse(KEYS).unwrap(), sheet());
        let inputs = ManifestInputs {
            keys: &keys,
            session,
            card,
            sheet: &sheet,
            evidence: &Evidence::default(),
            territory: territory.parse().unwrap(),
            now,
            random: [5; 10],
            buffer_shards: 64,
            renew,
            gateway_url: "http://gateway",
        };
        decide(&inputs).map(|manifest| (manifest.play, manifest.ticket.clone(), manifest.json())).map_err(|problem| problem.code)
    }

    #[test]
    fn rights_are_judged_when_the_play_begins() {
        let table = [
            (card(), "DE", NOW, None),
            (card(), "FR", NOW, Some("not_allowed_here")),
            (card(), "DE", NOW.plus_ms(-1), Some("not_released")),
            (Card { state: CardState::TakenDown, ..card() }, "DE", NOW, Some("taken_down")),
            (Card { state: CardState::Held, ..card() }, "DE", NOW, Some("not_available")),
        ];
        for (card, territory, now, refusal) in table {
            assert_eq!(decided(&session(1), &card, territory, now, None).err(), refusal);
        }
    }

    #[test]
    fn a_renewal_keeps_the_play_and_a_strangers_ticket_does_not_renew() {
        let (play, ticket, json) = decided(&session(1), &card(), "DE", NOW, None).unwrap();
        let keys = TokenKeys::parse(KEYS).unwrap();
        let claims = token::Verifier::verify(&keys, &ticket, Purpose::Event, NOW).unwrap();
        let later = NOW.plus_ms(60_000);
        assert_eq!(decided(&session(1), &card(), "DE", later, Some(&claims)).unwrap().0, play);
        assert_eq!(decided(&session(2), &card(), "DE", later, Some(&claims)).unwrap_err(), "play_is_not_yours");
        let body: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(body["start"], "aac-128");
        assert!(body["first"]["url"].as_str().unwrap().ends_with("/aac-128/first.mp4"));
        assert_eq!(body["first"]["init_bytes"], 700);
        assert!(body["multivariant_playlist"].as_str().unwrap().contains("\naac-128.m3u8\n"));
        assert_eq!(body["allowed"], serde_json::json!(["aac-64", "aac-128"]));
        assert_eq!(body["loudness"]["gain_db"], -4.2);
    }
}
