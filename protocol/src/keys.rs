//! Token keys: root secrets by key id, when each of them signs and verifies, and the keys derived from them, one per purpose
//! (HKDF-SHA256, RFC 5869).
//!
//! They come from one document ([`document`]) that every edge, the gateway and the collector are given as it is, ahead of time. It says
//! at which instant which key signs, so all of them change keys at the same instant and none of them has to be deployed at it. HMAC
//! mid-states are prepared once, when the document is read, and cloned for each message.

pub mod document;
pub mod rotation;
#[cfg(test)]
mod wycheproof;

use std::collections::BTreeMap;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

pub use document::{Document, KeysError};

use crate::{
    AccountId, UnixMs,
    ids::to_hex,
    token::{Pseudonym, Purpose, Refusal, SKEW_MS},
};

/// Bytes of a truncated HMAC-SHA256 tag (RFC 2104 section 5 allows down to half the hash, 16 bytes).
pub const TAG_BYTES: usize = 16;

type Tag = [u8; TAG_BYTES];

/// Token keys and their schedule.
#[derive(Clone)]
pub struct TokenKeys {
    by_id: BTreeMap<u8, Key>,
    /// Keys that sign, each with the instant from which it does, in that order. Never empty.
    signers: Vec<(UnixMs, u8)>,
    pseudonym: Hmac<Sha256>,
}

#[derive(Clone)]
struct Key {
    verifies_from: UnixMs,
    verifies_until: UnixMs,
    media: Hmac<Sha256>,
    event: Hmac<Sha256>,
    receipt: Hmac<Sha256>,
}

/// The first key of the schedule signs from a later instant than the one asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no token key signs yet at this instant")]
pub struct NoSigner;

impl TokenKeys {
    /// Reads a key document ([`Document`]) and prepares its keys.
    ///
    /// # Errors
    /// When it is not of that form or its schedule cannot work.
    pub fn parse(json: &str) -> Result<Self, KeysError> {
        Ok(Self::prepare(&Document::parse(json)?))
    }

    /// Prepares the keys of a document.
    #[must_use]
    pub fn prepare(document: &Document) -> Self {
        let by_id = document.keys().map(|(id, key)| (id, Key::prepare(key))).collect();
        Self { by_id, signers: document.signers(), pseudonym: derive(&document.pseudonym_root(), b"antiphon pseudonym v1") }
    }

    /// The id of the key that new tokens are signed with at `now`: of those that sign already, the one that began last.
    ///
    /// # Errors
    /// [`NoSigner`] before the first of them begins.
    pub fn signer(&self, now: UnixMs) -> Result<u8, NoSigner> {
        self.signers.iter().rev().find(|(from, _)| *from <= now).map(|(_, id)| *id).ok_or(NoSigner)
    }

    /// The account's stable name wherever its identity is not needed. Keyed, so that nobody without the key can test a guess.
    #[must_use]
    pub fn pseudonym(&self, account: AccountId) -> Pseudonym {
        Pseudonym(truncated(with(&self.pseudonym, account.0.as_bytes())))
    }

    /// The tag over `message` under key `id`; `None` when there is no such key.
    pub(crate) fn sign(&self, id: u8, purpose: Purpose, message: &[u8]) -> Option<Tag> {
        Some(truncated(self.by_id.get(&id)?.mac(purpose, message)))
    }

    /// Whether `tag` is that of `message` under a key that lives at `now`. The tag is compared in constant time.
    pub(crate) fn check(&self, id: u8, purpose: Purpose, message: &[u8], tag: &Tag, now: UnixMs) -> Result<(), Refusal> {
        let key = self.living(id, now)?;
        if holds(key.mac(purpose, message), tag) { Ok(()) } else { Err(Refusal::Tag) }
    }

    /// As [`Self::sign`], for a receipt: `N` bytes of the tag.
    pub(crate) fn sign_receipt<const N: usize>(&self, id: u8, message: &[u8]) -> Option<[u8; N]> {
        Some(truncated(with(&self.by_id.get(&id)?.receipt, message)))
    }

    /// As [`Self::check`], for a receipt.
    pub(crate) fn check_receipt(&self, id: u8, message: &[u8], tag: &[u8], now: UnixMs) -> Result<(), Refusal> {
        let key = self.living(id, now)?;
        if holds(with(&key.receipt, message), tag) { Ok(()) } else { Err(Refusal::Tag) }
    }

    fn living(&self, id: u8, now: UnixMs) -> Result<&Key, Refusal> {
        let key = self.by_id.get(&id).ok_or(Refusal::UnknownKey(id))?;
        if now < key.verifies_from {
            return Err(Refusal::KeyNotYet(id));
        }
        if now >= key.verifies_until {
            return Err(Refusal::KeyEnded(id));
        }
        Ok(key)
    }
}

impl Key {
    fn prepare(key: &document::Key) -> Self {
        Self {
            // A clock that is ahead signs with the next key before this one has begun here.
            verifies_from: key.signs_from.map_or(UnixMs(i64::MIN), |from| from.plus_ms(-SKEW_MS)),
            verifies_until: key.verifies_until.unwrap_or(UnixMs(i64::MAX)),
            media: derive(&key.secret, b"antiphon media v1"),
            event: derive(&key.secret, b"antiphon event v1"),
            receipt: derive(&key.secret, b"antiphon receipt v1"),
        }
    }

    fn mac(&self, purpose: Purpose, message: &[u8]) -> Hmac<Sha256> {
        with(
            match purpose {
                Purpose::Media => &self.media,
                Purpose::Event => &self.event,
            },
            message,
        )
    }
}

/// A prepared key and a message.
fn with(key: &Hmac<Sha256>, message: &[u8]) -> Hmac<Sha256> {
    let mut mac = key.clone();
    mac.update(message);
    mac
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKeys").field("ids", &self.by_id.keys()).field("signers", &self.signers).finish_non_exhaustive()
    }
}

/// 32 bytes for `label` from `secret`, as lower-case hex: how a deployment derives the passwords of its database roles.
#[must_use]
pub fn derive_hex(secret: &[u8], label: &str) -> String {
    to_hex(&expand(secret, label.as_bytes()))
}

fn derive(secret: &[u8; 32], label: &[u8]) -> Hmac<Sha256> {
    keyed(&expand(secret, label))
}

fn expand(secret: &[u8], label: &[u8]) -> [u8; 32] {
    let mut okm = [0; 32];
    // 32 bytes is far below HKDF's limit of 255 hashes, so expansion cannot fail.
    let _ = Hkdf::<Sha256>::new(None, secret).expand(label, &mut okm);
    okm
}

/// An HMAC over `message` under `key`; HMAC takes keys of any length.
pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    let mut mac = keyed(key);
    mac.update(message);
    mac
}

/// HMAC takes a key of any length (RFC 2104 section 2): the error of `new_from_slice` cannot occur.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()))
}

fn truncated<const N: usize>(mac: Hmac<Sha256>) -> [u8; N] {
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    let mut tag = [0; N];
    tag.iter_mut().zip(full).for_each(|(to, from)| *to = from);
    tag
}

fn holds(mac: Hmac<Sha256>, tag: &[u8]) -> bool {
    mac.verify_truncated_left(tag).is_ok()
}
