//! Who may have what: the questions that edge and gateway ask before they answer, in one place, so that both refuse the same requests in
//! the same words.

use crate::{
    Problem, TrackId, UnixMs,
    heartbeat::PlayEventPost,
    keys::TokenKeys,
    media_path::{self, MediaObject},
    revocation::{Kind, Revocations},
    session::{Session, SessionError, bearer},
    token::{Claims, Purpose, TokenError, Verifier},
};

/// A media request that may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// What its token says.
    pub claims: Claims,
    /// What it asks for.
    pub object: MediaObject,
}

impl Admitted {
    /// The validator of the object (RFC 9110 section 8.8.3), quotes and all: strong for bytes; weak for text, which may be gzipped on its way.
    #[must_use]
    pub fn etag(&self) -> String {
        let (version, object) = (self.claims.version, self.object);
        match object {
            // What the index lists depends on the token.
            MediaObject::Index => format!("W/\"{version}.{object}.{}\"", self.claims.rungs.bits()),
            MediaObject::Steering | MediaObject::Playlist(_) => format!("W/\"{version}.{object}\""),
            MediaObject::Init(_) | MediaObject::First(_) | MediaObject::Segment(..) => format!("\"{version}.{object}\""),
        }
    }
}

/// Judges `/v1/media/{token}/...`. The token's tag comes before anything else of the path: who has no token learns nothing.
///
/// # Errors
/// 403 `token_invalid`, `token_expired`, `token_revoked`, `not_allowed_here` (a rung outside the token); 404 `no_such_segment`.
pub fn media(keys: &impl Verifier, revoked: &Revocations, path: &str, now: UnixMs) -> Result<Admitted, Problem> {
    let token = path.strip_prefix(media_path::PREFIX).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let claims = keys.verify(token, Purpose::Media, now).map_err(|error| match error {
        TokenError::Invalid => Problem::new(403, "token_invalid", "this media address was not signed by this service"),
        TokenError::Expired => Problem::new(403, "token_expired", "this media address has expired: ask for the manifest again"),
    })?;
    if let Some(kind) = revoked.judge(&claims, now) {
        return Err(token_revoked(kind));
    }
    let object = media_path::parse(path).ok_or_else(no_such_segment)?.object;
    match object.rung() {
        Some(rung) if !claims.rungs.contains(rung) => {
            Err(Problem::new(403, "not_allowed_here", format!("this token does not allow {rung}")))
        }
        _ => Ok(Admitted { claims, object }),
    }
}

/// Judges the session that asks for a manifest: `play_until` counts, which outlives an identity service that is away, until it is revoked.
/// `authenticate` tells what an access token says ([`SessionVerifier::authenticate`](crate::session::SessionVerifier::authenticate), or what it said before).
///
/// # Errors
/// 401 `session_missing`, `session_invalid`, `session_expired`, `session_revoked`.
pub fn session(
    keys: &TokenKeys,
    authenticate: impl FnOnce(&str) -> Result<Session, SessionError>,
    revoked: &Revocations,
    authorization: Option<&str>,
    now: UnixMs,
) -> Result<Session, Problem> {
    let session = bearer(authorization)
        .and_then(authenticate)
        .and_then(|session| session.may_play(now).map(|()| session))
        .map_err(|error: SessionError| Problem::new(401, error.code(), error.to_string()))?;
    if !revoked.is_empty() && revoked.refuses(Kind::Account, keys.pseudonym(session.account).into(), session.issued_at, now) {
        return Err(Problem::new(401, "session_revoked", "this session has been revoked: sign in again"));
    }
    Ok(session)
}

/// Judges the ticket of a play that goes on (`?play=`).
///
/// # Errors
/// 401 `ticket_invalid`, `ticket_expired`; 403 `token_revoked`.
pub fn renewal(keys: &impl Verifier, revoked: &Revocations, ticket: &str, now: UnixMs) -> Result<Claims, Problem> {
    let claims = ticket_claims(keys, ticket, now)?;
    match revoked.judge(&claims, now) {
        Some(kind) => Err(token_revoked(kind)),
        None => Ok(claims),
    }
}

/// Judges a track that a play is about to begin of: one that was taken down is refused at once, although a cached card may say otherwise.
///
/// # Errors
/// 410 `taken_down`.
pub fn track(revoked: &Revocations, track: TrackId, now: UnixMs) -> Result<(), Problem> {
    // A play that begins now began after every lifting there was.
    if revoked.refuses(Kind::Track, track.into(), now, now) { Err(taken_down()) } else { Ok(()) }
}

/// 410 for a track that may not be heard any more.
#[must_use]
pub fn taken_down() -> Problem {
    Problem::new(410, "taken_down", "this track has been taken down")
}

/// Judges the ticket of a heartbeat. A track that was taken down was still heard before, so its heartbeats count; a play or an account that was
/// revoked is silenced, and so is a stock player that only goes on saying that it ended (CTA-5004-B: 410 ends a report).
///
/// # Errors
/// 401 `ticket_invalid`, `ticket_expired`; 410 `play_ended`.
pub fn heartbeat(keys: &impl Verifier, revoked: &Revocations, post: &PlayEventPost, now: UnixMs) -> Result<Claims, Problem> {
    let claims = ticket_claims(keys, &post.ticket, now)?;
    match revoked.judge(&claims, now) {
        Some(Kind::Play | Kind::Account) => Err(Problem::new(410, "play_ended", "this play was ended: nothing more of it is counted")),
        Some(Kind::Track) | None if post.over => {
            Err(Problem::new(410, "play_ended", "this play has ended: nothing more is expected of it"))
        }
        Some(Kind::Track) | None => Ok(claims),
    }
}

fn ticket_claims(keys: &impl Verifier, ticket: &str, now: UnixMs) -> Result<Claims, Problem> {
    keys.verify(ticket, Purpose::Event, now).map_err(|error| match error {
        TokenError::Invalid => Problem::new(401, "ticket_invalid", "this ticket was not issued by this service"),
        TokenError::Expired => Problem::new(401, "ticket_expired", "this ticket has expired: ask for the manifest again"),
    })
}

fn token_revoked(kind: Kind) -> Problem {
    Problem::new(403, "token_revoked", format!("this {} was revoked", kind.name()))
}

/// 404 for what a play does not have.
#[must_use]
pub fn no_such_segment() -> Problem {
    Problem::new(404, "no_such_segment", "this play has nothing of that name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        MediaVersion, Plan, PlayId, Rung, RungSet,
        revocation::{Entry, FeedPage, LIFE_MS},
        token::{self, Pseudonym},
    };

    const NOW: UnixMs = UnixMs(1_795_556_280_000);
    const KEYS: &str = r#"{"current":1,"keys":{"1":"1111111111111111111111111111111111111111111111111111111111111111"}}"#;

    fn claims(purpose: Purpose) -> Claims {
        Claims {
            purpose,
            plan: Plan::Free,
            rungs: RungSet::of(&[Rung::Aac64]),
            territory: "DE".parse().unwrap(),
            buffer: 0,
            expires_at: NOW.plus_ms(60_000),
            duration_ms: 1,
            play: PlayId::v7(NOW, [1; 10]),
            track: TrackId::v7(NOW, [2; 10]),
            version: MediaVersion([3; 16]),
            pseudonym: Pseudonym([4; 16]),
        }
    }

    fn revoking(kind: Kind) -> Revocations {
        let claims = claims(Purpose::Media);
        let subject = match kind {
            Kind::Play => claims.play.into(),
            Kind::Account => claims.pseudonym.into(),
            Kind::Track => claims.track.into(),
        };
        let entry = Entry { seq: 1, kind, subject, at_ms: NOW, lifted_at_ms: None, until_ms: NOW.plus_ms(LIFE_MS) };
        let mut revoked = Revocations::default();
        revoked.take(&FeedPage { head: 1, entries: vec![entry] }, NOW);
        revoked
    }

    #[test]
    fn a_media_request_is_judged_by_tag_then_life_then_revocation_then_path() {
        let keys = TokenKeys::parse(KEYS).unwrap();
        let token = token::mint(&keys, &claims(Purpose::Media), NOW).unwrap();
        let refusal = |revoked: &Revocations, path: String, now| media(&keys, revoked, &path, now).map_err(|problem| problem.code);
        let none = Revocations::default();
        let below = |object: &str| format!("/v1/media/{token}/{object}");
        assert_eq!(refusal(&none, below("aac-64/0.m4s"), NOW).map(|admitted| admitted.object), Ok(MediaObject::Segment(Rung::Aac64, 0)));
        assert_eq!(refusal(&none, "/v1/media/x/nothing".to_owned(), NOW), Err("token_invalid"));
        assert_eq!(refusal(&none, below("nothing"), NOW), Err("no_such_segment"));
        assert_eq!(refusal(&none, below("aac-128/0.m4s"), NOW), Err("not_allowed_here"));
        assert_eq!(refusal(&none, below("aac-64/0.m4s"), NOW.plus_ms(90_001)), Err("token_expired"));
        for kind in [Kind::Play, Kind::Account, Kind::Track] {
            assert_eq!(refusal(&revoking(kind), below("nothing"), NOW), Err("token_revoked"));
        }
    }

    #[test]
    fn a_revoked_play_is_silenced_and_a_track_taken_down_was_still_heard() {
        let keys = TokenKeys::parse(KEYS).unwrap();
        let ticket = token::mint(&keys, &claims(Purpose::Event), NOW).unwrap();
        let post = |over| PlayEventPost {
            ticket: ticket.clone(),
            sender: "s".to_owned(),
            events: Vec::new(),
            receipts: Vec::new(),
            receipts_dropped: 0,
            over,
        };
        let judged =
            |kind| heartbeat(&keys, &revoking(kind), &post(false), NOW).map(|_| ()).map_err(|problem| (problem.status, problem.code));
        assert_eq!(judged(Kind::Play), Err((410, "play_ended")));
        assert_eq!(judged(Kind::Account), Err((410, "play_ended")));
        assert_eq!(judged(Kind::Track), Ok(()));
        assert_eq!(heartbeat(&keys, &Revocations::default(), &post(true), NOW).unwrap_err().code, "play_ended");
        assert_eq!(renewal(&keys, &revoking(Kind::Track), &ticket, NOW).unwrap_err().code, "token_revoked");
    }

    #[test]
    fn a_track_that_was_taken_down_begins_no_play_until_that_is_lifted() {
        let id = claims(Purpose::Media).track;
        let refusal = |revoked: &Revocations, at| track(revoked, id, at).map_err(|problem| (problem.status, problem.code));
        assert_eq!(refusal(&Revocations::default(), NOW), Ok(()));
        assert_eq!(refusal(&revoking(Kind::Play), NOW), Ok(()));
        let mut revoked = revoking(Kind::Track);
        assert_eq!(refusal(&revoked, NOW), Err((410, "taken_down")));
        let lifted =
            Entry { seq: 2, kind: Kind::Track, subject: id.into(), at_ms: NOW, lifted_at_ms: Some(NOW), until_ms: NOW.plus_ms(LIFE_MS) };
        revoked.take(&FeedPage { head: 2, entries: vec![lifted] }, NOW);
        assert_eq!(refusal(&revoked, NOW.plus_ms(1)), Ok(()));
    }

    #[test]
    fn only_what_depends_on_the_token_has_the_token_in_its_validator() {
        let etag = |object| Admitted { claims: claims(Purpose::Media), object }.etag();
        assert_eq!(etag(MediaObject::Index), format!("W/\"{}.index.m3u8.1\"", "03".repeat(16)));
        assert_eq!(etag(MediaObject::Segment(Rung::Aac64, 3)), format!("\"{}.aac-64/3.m4s\"", "03".repeat(16)));
    }
}
