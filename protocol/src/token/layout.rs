//! The bytes of a token: one canonical layout, 97 bytes, base64url without padding (RFC 4648 section 5).
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
//! Padding, other alphabets and bits set after the last byte are refused, so two different texts are never the same token.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use super::{Claims, Pseudonym, Purpose};
use crate::{MediaVersion, Plan, PlayId, RungSet, Territory, TrackId, UnixMs, keys::TAG_BYTES};

/// The layout version this code writes and reads.
pub const LAYOUT: u8 = 1;
/// Bytes that are signed.
pub const BODY_BYTES: usize = 81;
/// Bytes of a token.
pub const TOKEN_BYTES: usize = BODY_BYTES + TAG_BYTES;
/// Characters of every token.
pub const TOKEN_CHARS: usize = 130;

/// The signed part of a token for `claims`.
pub(super) fn body(key_id: u8, claims: &Claims) -> Vec<u8> {
    let expires_s = u32::try_from(claims.expires_at.0.max(0) / 1000).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(TOKEN_BYTES);
    bytes.extend([LAYOUT, key_id, claims.purpose.code(), claims.plan.code(), claims.rungs.bits()]);
    bytes.extend(claims.territory.bytes());
    bytes.extend(claims.buffer.to_be_bytes());
    bytes.extend(expires_s.to_be_bytes());
    bytes.extend(claims.duration_ms.to_be_bytes());
    bytes.extend(claims.play.0.as_bytes());
    bytes.extend(claims.track.0.as_bytes());
    bytes.extend(claims.version.0);
    bytes.extend(claims.pseudonym.0);
    debug_assert_eq!(bytes.len(), BODY_BYTES);
    bytes
}

/// The one spelling of a token.
pub(super) fn text(body: &[u8], tag: &[u8; TAG_BYTES]) -> String {
    URL_SAFE_NO_PAD.encode([body, tag].concat())
}

/// A token that is spelt right. What it says is anybody's claim until [`super::Verifier::verify`] has judged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unverified {
    body: [u8; BODY_BYTES],
    tag: [u8; TAG_BYTES],
}

impl Unverified {
    /// Decodes the one spelling of a token; `None` for any other text.
    #[must_use]
    pub fn decode(token: &str) -> Option<Self> {
        if token.len() != TOKEN_CHARS {
            return None;
        }
        // The decoder asks for room in whole groups of three bytes.
        let mut bytes = [0; TOKEN_BYTES + 2];
        let length = URL_SAFE_NO_PAD.decode_slice(token, &mut bytes).ok()?;
        if length != TOKEN_BYTES {
            return None;
        }
        let (body, rest) = bytes.split_first_chunk::<BODY_BYTES>()?;
        Some(Self { body: *body, tag: *rest.first_chunk()? })
    }

    /// The layout version it says it has.
    #[must_use]
    pub const fn layout(&self) -> u8 {
        let [layout, ..] = self.body;
        layout
    }

    /// The key it says it was signed with.
    #[must_use]
    pub const fn key_id(&self) -> u8 {
        let [_, key_id, ..] = self.body;
        key_id
    }

    /// The purpose it says it has, when that is one.
    #[must_use]
    pub const fn purpose(&self) -> Option<Purpose> {
        let [_, _, code, ..] = self.body;
        Purpose::from_code(code)
    }

    /// What is signed.
    #[must_use]
    pub const fn body(&self) -> &[u8; BODY_BYTES] {
        &self.body
    }

    /// The tag.
    #[must_use]
    pub const fn tag(&self) -> &[u8; TAG_BYTES] {
        &self.tag
    }

    /// What it says, when this layout has such values.
    #[must_use]
    pub fn claims(&self) -> Option<Claims> {
        let mut at = Reader(&self.body);
        let [layout, _key, purpose, plan, rungs] = at.take()?;
        if layout != LAYOUT {
            return None;
        }
        Some(Claims {
            purpose: Purpose::from_code(purpose)?,
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
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
}
