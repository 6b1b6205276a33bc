//! Media tokens and event tickets: one canonical binary layout, 97 bytes, base64url without padding (RFC 4648 section 5).
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | layout version, 1 |
//! | 1 | 1 | key id |
//! | 2 | 1 | purpose: 1 media, 2 event |
//! | 3 | 1 | plan: 0 free, 1 premium |
//! | 4 | 1 | rung bit mask |
//! | 5 | 2 | territory, ISO 3166-1 alpha-2 |
//! | 7 | 2 | heartbeat buffer, big-endian |
//! | 9 | 4 | expiry, seconds since the epoch, big-endian |
//! | 13 | 4 | track duration, ms, big-endian |
//! | 17 | 16 | play (UUIDv7; its timestamp is when the play was minted) |
//! | 33 | 16 | track |
//! | 49 | 16 | media version |
//! | 65 | 16 | pseudonym of the account |
//! | 81 | 16 | HMAC-SHA256 of bytes 0 to 80 under the purpose's key, first 16 bytes |
//!
//! The tag is checked before any field is looked at, in constant time, and there is exactly one encoding of a token: padding,
//! other alphabets and trailing bits are refused.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{
    MediaVersion, Plan, PlayId, RungSet, Territory, TrackId, UnixMs,
    ids::{parse_hex, to_hex},
    keys::{TAG_BYTES, TokenKeys},
};

const LAYOUT: u8 = 1;
const BODY_BYTES: usize = 81;
const TOKEN_BYTES: usize = BODY_BYTES + TAG_BYTES;
/// Characters of every token.
pub const TOKEN_CHARS: usize = 130;
/// Clocks of an edge and an origin may differ this much.
const SKEW_MS: i64 = 30_000;

/// What a token permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To fetch media.
    Media,
    /// To report what was heard.
    Event,
}

impl Purpose {
    const fn code(self) -> u8 {
        match self {
            Self::Media => 1,
            Self::Event => 2,
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

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of ours for this purpose, or altered.
    #[error("the token is not valid")]
    Invalid,
    /// Valid once.
    #[error("the token has expired")]
    Expired,
}

/// Signs `claims` with the current key.
#[must_use]
pub fn mint(keys: &TokenKeys, claims: &Claims) -> String {
    let mut bytes = Vec::with_capacity(TOKEN_BYTES);
    bytes.extend([LAYOUT, keys.current(), claims.purpose.code(), claims.plan.code(), claims.rungs.bits()]);
    bytes.extend(claims.territory.bytes());
    bytes.extend(claims.buffer.to_be_bytes());
    bytes.extend(u32::try_from(claims.expires_at.0 / 1000).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(claims.duration_ms.to_be_bytes());
    bytes.extend(claims.play.0.as_bytes());
    bytes.extend(claims.track.0.as_bytes());
    bytes.extend(claims.version.0);
    bytes.extend(claims.pseudonym.0);
    debug_assert_eq!(bytes.len(), BODY_BYTES);
    // The current key is always live: `TokenKeys::parse` refuses a document in which it is not.
    bytes.extend(keys.sign(keys.current(), claims.purpose, &bytes).unwrap_or_default());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The claims of `token`, when it is ours, for `purpose`, and not expired at `now`.
///
/// # Errors
/// [`TokenError::Invalid`] for anything that was not minted for this purpose with a live key; [`TokenError::Expired`] 30 s after
/// its expiry.
pub fn verify(keys: &TokenKeys, token: &str, purpose: Purpose, now: UnixMs) -> Result<Claims, TokenError> {
    let claims = verify_tag(keys, token, purpose)?;
    if now.since(claims.expires_at) > SKEW_MS {
        return Err(TokenError::Expired);
    }
    Ok(claims)
}

/// As [`verify`], for a caller that judges the expiry itself (the collector, by the instant of receipt at the edge).
///
/// # Errors
/// [`TokenError::Invalid`].
pub fn verify_tag(keys: &TokenKeys, token: &str, purpose: Purpose) -> Result<Claims, TokenError> {
    if token.len() != TOKEN_CHARS {
        return Err(TokenError::Invalid);
    }
    let mut bytes = [0; TOKEN_BYTES + 2];
    let length = URL_SAFE_NO_PAD.decode_slice(token, &mut bytes).map_err(|_| TokenError::Invalid)?;
    if length != TOKEN_BYTES {
        return Err(TokenError::Invalid);
    }
    let (body, rest) = bytes.split_first_chunk::<BODY_BYTES>().ok_or(TokenError::Invalid)?;
    let tag = rest.first_chunk::<TAG_BYTES>().ok_or(TokenError::Invalid)?;
    let [_, key_id, ..] = *body;
    if !keys.verify(key_id, purpose, body, tag) {
        return Err(TokenError::Invalid);
    }
    parse(body, purpose).ok_or(TokenError::Invalid)
}

fn parse(body: &[u8; BODY_BYTES], purpose: Purpose) -> Option<Claims> {
    let mut at = Reader(body);
    let [layout, _key, code, plan, rungs] = at.take()?;
    if layout != LAYOUT || code != purpose.code() {
        return None;
    }
    Some(Claims {
        purpose,
        plan: Plan::from_code(plan)?,
        rungs: RungSet::from_bits(rungs)?,
        territory: Territory::from_bytes(at.take()?).ok()?,
        buffer: u16::from_be_bytes(at.take()?),
        expires_at: UnixMs(i64::from(u32::from_be_bytes(at.take()?)) * 1000),
        duration_ms: u32::from_be_bytes(at.take()?),
        play: PlayId(Uuid::from_bytes(at.take()?)),
        track: TrackId(Uuid::from_bytes(at.take()?)),
        version: MediaVersion(at.take()?),
        pseudonym: Pseudonym(at.take()?),
    })
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
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
        let token = mint(&keys, &claims(Purpose::Media));
        assert_eq!(token.len(), TOKEN_CHARS);
        assert_eq!(verify(&keys, &token, Purpose::Media, NOW), Ok(claims(Purpose::Media)));
        assert_eq!(verify(&keys, &token, Purpose::Media, NOW.plus_ms(90_001)), Err(TokenError::Expired));
    }

    #[test]
    fn a_media_token_cannot_report_a_play() {
        let keys = TokenKeys::parse(KEYS).unwrap();
        let token = mint(&keys, &claims(Purpose::Media));
        assert_eq!(verify(&keys, &token, Purpose::Event, NOW), Err(TokenError::Invalid));
    }

    #[test]
    fn a_rotation_refuses_no_valid_token_and_a_retired_key_no_longer_counts() {
        let (old, both) = (TokenKeys::parse(KEYS).unwrap(), TokenKeys::parse(ROTATED).unwrap());
        let token = mint(&old, &claims(Purpose::Media));
        assert!(verify(&both, &token, Purpose::Media, NOW).is_ok());
        let token = mint(&both, &claims(Purpose::Media));
        assert_eq!(verify(&old, &token, Purpose::Media, NOW), Err(TokenError::Invalid));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn no_altered_token_is_accepted(position in 0usize..TOKEN_CHARS, replacement in any::<u8>(), event in any::<bool>()) {
            let keys = TokenKeys::parse(KEYS).unwrap();
            let purpose = if event { Purpose::Event } else { Purpose::Media };
            let token = mint(&keys, &claims(purpose));
            let mut bytes = token.clone().into_bytes();
            bytes[position] = replacement;
            if let Ok(altered) = String::from_utf8(bytes) && altered != token {
                prop_assert_eq!(verify(&keys, &altered, purpose, NOW), Err(TokenError::Invalid));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,200}") {
            let keys = TokenKeys::parse(KEYS).unwrap();
            prop_assert!(verify(&keys, &text, Purpose::Media, NOW).is_err());
        }
    }
}
