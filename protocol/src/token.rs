//! Media tokens and event tickets: who signs them, and who is believed. [`layout`] has the bytes; `docs/token.md` tells both to readers
//! of other languages.
//!
//! A manifest makes them ([`mint`]); they come back in URLs and heartbeats from anybody at all ([`Verifier`]). The tag is checked before
//! any field is looked at, in constant time, and there is exactly one encoding of a token.

pub mod layout;

use uuid::Uuid;

use crate::{
    MediaVersion, Plan, PlayId, RungSet, Territory, TrackId, UnixMs,
    ids::{parse_hex, to_hex},
    keys::{NoSigner, TokenKeys},
};
pub use layout::{TOKEN_CHARS, Unverified};

/// Clocks of an edge and an origin may differ this much.
pub const SKEW_MS: i64 = 30_000;
/// A media token outlives the track by this: a VOD playlist is fetched once and the listener may pause.
pub const MEDIA_GRACE_MS: i64 = 6 * 3_600_000;
/// A ticket outlives the media token by this, so that heartbeats kept offline still arrive.
pub const EVENT_GRACE_MS: i64 = 48 * 3_600_000;
/// The longest track there is; ingest takes none that is longer.
pub const TRACK_MS_MAX: i64 = 12 * 3_600_000;
/// The longest any token is good for.
pub const LIFE_MS_MAX: i64 = TRACK_MS_MAX + MEDIA_GRACE_MS + EVENT_GRACE_MS;

/// What a token permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To fetch media.
    Media,
    /// To report what was heard.
    Event,
}

impl Purpose {
    /// The name in commands and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Media => "media",
            Self::Event => "event",
        }
    }

    /// The byte in a token.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Media => 1,
            Self::Event => 2,
        }
    }

    /// The purpose a token's byte names.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Media),
            2 => Some(Self::Event),
            _ => None,
        }
    }
}

/// An account under its keyed pseudonym, written as 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pseudonym(pub [u8; 16]);

impl Pseudonym {
    /// From 32 lower-case hex digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        parse_hex(text).map(Self)
    }

    /// The 16 bytes as a UUID-shaped key for databases that index those well.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        Uuid::from_bytes(self.0)
    }

    /// Which of `shards` heartbeat buffers takes this account's events.
    #[must_use]
    pub fn shard(self, shards: u16) -> u16 {
        let [high, low, ..] = self.0;
        u16::from_be_bytes([high, low]) % shards.max(1)
    }
}

impl std::fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claims {
    /// What it permits.
    pub purpose: Purpose,
    /// The plan when the play was minted.
    pub plan: Plan,
    /// Rungs that may be fetched.
    pub rungs: RungSet,
    /// Where the play was permitted.
    pub territory: Territory,
    /// The heartbeat buffer that takes this account's events.
    pub buffer: u16,
    /// The end of validity; whole seconds survive a round trip.
    pub expires_at: UnixMs,
    /// The track's length.
    pub duration_ms: u32,
    /// The play.
    pub play: PlayId,
    /// The track.
    pub track: TrackId,
    /// The media version.
    pub version: MediaVersion,
    /// The account.
    pub pseudonym: Pseudonym,
}

/// Why a token is refused, as its bearer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of ours for this purpose, or altered.
    #[error("the token is not valid")]
    Invalid,
    /// Valid once.
    #[error("the token has expired")]
    Expired,
}

/// Why a token is refused, as an operator is told. A bearer is not: it would tell a forger how far he got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another length, alphabet, padding, or bits set after the last byte.
    #[error("it is not {TOKEN_CHARS} characters of base64url without padding, in the one spelling that is accepted")]
    Encoding,
    /// The key id is not in the key document.
    #[error("there is no token key {0}")]
    UnknownKey(u8),
    /// The key begins later.
    #[error("token key {0} does not sign yet")]
    KeyNotYet(u8),
    /// The key is retired.
    #[error("token key {0} has ended")]
    KeyEnded(u8),
    /// Altered, forged, made with other keys, or for another purpose.
    #[error("the tag does not hold: altered, made with other keys, or for another purpose")]
    Tag,
    /// Signed by us, in a layout or with a value that this version does not know.
    #[error("a field has a value that this version does not know")]
    Field,
    /// The play was minted later than now.
    #[error("its play was minted in the future")]
    FromTheFuture,
    /// Valid once.
    #[error("it has expired")]
    Expired,
}

impl Refusal {
    /// A stable name, for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Encoding => "encoding",
            Self::UnknownKey(_) => "unknown_key",
            Self::KeyNotYet(_) => "key_not_yet",
            Self::KeyEnded(_) => "key_ended",
            Self::Tag => "tag",
            Self::Field => "field",
            Self::FromTheFuture => "from_the_future",
            Self::Expired => "expired",
        }
    }
}

impl From<Refusal> for TokenError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Expired => Self::Expired,
            _ => Self::Invalid,
        }
    }
}

/// Judges the permission in a URL or a heartbeat.
///
/// This is where another format comes in. Our own layout is short and quick, but a CDN that verifies at its own edge speaks URI Signing
/// (RFC 9246) or Common Access Token (CTA-5007), and then a deployment verifies those instead of, or besides, ours. Whatever the format,
/// the rest of the media path needs these [`Claims`] and nothing else.
pub trait Verifier {
    /// The claims of `token`, when it is ours, for `purpose`, and valid at `now`.
    ///
    /// # Errors
    /// [`TokenError::Invalid`] for anything that was not signed for this purpose with a key that lives at `now`;
    /// [`TokenError::Expired`] for what was, more than [`SKEW_MS`] after its expiry.
    fn verify(&self, token: &str, purpose: Purpose, now: UnixMs) -> Result<Claims, TokenError>;
}

impl Verifier for TokenKeys {
    fn verify(&self, token: &str, purpose: Purpose, now: UnixMs) -> Result<Claims, TokenError> {
        Ok(examine(self, token, purpose, now)?)
    }
}

/// Signs `claims` with the key that signs at `now`.
///
/// # Errors
/// [`NoSigner`] when the first key of the schedule begins later.
pub fn mint(keys: &TokenKeys, claims: &Claims, now: UnixMs) -> Result<String, NoSigner> {
    let key_id = keys.signer(now)?;
    let body = layout::body(key_id, claims);
    let tag = keys.sign(key_id, claims.purpose, &body).ok_or(NoSigner)?;
    Ok(layout::text(&body, &tag))
}

/// As [`Verifier::verify`] of our own format, with the whole reason.
///
/// # Errors
/// [`Refusal`].
pub fn examine(keys: &TokenKeys, token: &str, purpose: Purpose, now: UnixMs) -> Result<Claims, Refusal> {
    let unverified = Unverified::decode(token).ok_or(Refusal::Encoding)?;
    keys.check(unverified.key_id(), purpose, unverified.body(), unverified.tag(), now)?;
    let claims = unverified.claims().filter(|claims| claims.purpose == purpose).ok_or(Refusal::Field)?;
    if claims.play.minted_at().since(now) > SKEW_MS {
        return Err(Refusal::FromTheFuture);
    }
    if now.since(claims.expires_at) > SKEW_MS {
        return Err(Refusal::Expired);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYS: &str = r#"{"current":1,"keys":{"1":"1111111111111111111111111111111111111111111111111111111111111111"}}"#;
    const ROTATED: &str = r#"{"current":2,"keys":{"1":"1111111111111111111111111111111111111111111111111111111111111111",
        "2":"2222222222222222222222222222222222222222222222222222222222222222"}}"#;
    const NOW: UnixMs = UnixMs(1_795_556_280_000);

    fn claims(purpose: Purpose) -> Claims {
        Claims {
            purpose,
            plan: Plan::Premium,
            rungs: RungSet::of(&[crate::Rung::Aac64, crate::Rung::Aac128]),
            territory: "DE".parse().unwrap(),
            buffer: 17,
            expires_at: NOW.plus_ms(60_000),
            duration_ms: 215_000,
            play: PlayId::v7(NOW, [1; 10]),
            track: TrackId::v7(NOW, [2; 10]),
            version: MediaVersion([3; 16]),
            pseudonym: Pseudonym([4; 16]),
        }
    }

    #[test]
    fn a_token_says_what_was_signed_until_it_expires() {
        let keys = TokenKeys::parse(KEYS).unwrap();
        let token = mint(&keys, &claims(Purpose::Media), NOW).unwrap();
        assert_eq!(token.len(), TOKEN_CHARS);
        assert_eq!(keys.verify(&token, Purpose::Media, NOW), Ok(claims(Purpose::Media)));
        assert_eq!(keys.verify(&token, Purpose::Media, NOW.plus_ms(90_001)), Err(TokenError::Expired));
    }

    #[test]
    fn a_media_token_cannot_report_a_play() {
        let keys = TokenKeys::parse(KEYS).unwrap();
        let token = mint(&keys, &claims(Purpose::Media), NOW).unwrap();
        assert_eq!(keys.verify(&token, Purpose::Event, NOW), Err(TokenError::Invalid));
    }

    #[test]
    fn a_rotation_refuses_no_valid_token_and_a_retired_key_no_longer_counts() {
        let (old, both) = (TokenKeys::parse(KEYS).unwrap(), TokenKeys::parse(ROTATED).unwrap());
        let token = mint(&old, &claims(Purpose::Media), NOW).unwrap();
        assert!(both.verify(&token, Purpose::Media, NOW).is_ok());
        let token = mint(&both, &claims(Purpose::Media), NOW).unwrap();
        assert_eq!(old.verify(&token, Purpose::Media, NOW), Err(TokenError::Invalid));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn no_altered_token_is_accepted(position in 0usize..TOKEN_CHARS, replacement in any::<u8>(), event in any::<bool>()) {
            let keys = TokenKeys::parse(KEYS).unwrap();
            let purpose = if event { Purpose::Event } else { Purpose::Media };
            let token = mint(&keys, &claims(purpose), NOW).unwrap();
            let mut bytes = token.clone().into_bytes();
            bytes[position] = replacement;
            if let Ok(altered) = String::from_utf8(bytes) && altered != token {
                prop_assert_eq!(keys.verify(&altered, purpose, NOW), Err(TokenError::Invalid));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,200}") {
            let keys = TokenKeys::parse(KEYS).unwrap();
            prop_assert!(keys.verify(&text, Purpose::Media, NOW).is_err());
        }
    }
}
