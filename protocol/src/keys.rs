//! Token keys: root secrets by key id, and the keys derived from each, one per purpose (HKDF-SHA256, RFC 5869).
//!
//! Two key ids are live during a rotation: new tokens are signed with `current`, old ones verify until their key is taken
//! out. HMAC mid-states are prepared once, when the keys are read, and cloned for each message.

use std::collections::BTreeMap;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

use crate::{
    AccountId,
    ids::{parse_hex, to_hex},
    token::{Pseudonym, Purpose},
};

/// Bytes of a truncated HMAC-SHA256 tag (RFC 2104 section 5 allows down to half the hash, 16 bytes).
pub const TAG_BYTES: usize = 16;

type Tag = [u8; TAG_BYTES];

/// Live token keys.
#[derive(Clone)]
pub struct TokenKeys {
    current: u8,
    by_id: BTreeMap<u8, Derived>,
    pseudonym: Hmac<Sha256>,
}

#[derive(Clone)]
struct Derived {
    media: Hmac<Sha256>,
    event: Hmac<Sha256>,
}

/// Why the key document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Not the expected JSON.
    #[error("the token keys are not readable: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// A secret is not 32 bytes of lower-case hex, or a key id is not 1 to 255.
    #[error("token key {0:?} must be a number from 1 to 255 with 64 lower-case hex digits")]
    BadKey(String),
    /// `current` names a key that is not there.
    #[error("the current token key {0} is not among the keys")]
    NoCurrent(u8),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    current: u8,
    keys: BTreeMap<String, String>,
    /// Separate from the token keys, since a pseudonym must outlive every rotation.
    pseudonym: Option<String>,
}

impl TokenKeys {
    /// Reads `{"current": 1, "keys": {"1": "<64 hex>"}, "pseudonym": "<64 hex>"}`.
    ///
    /// Without `pseudonym` the pseudonym key is derived from the lowest key id, which suits a deployment that never rotates.
    ///
    /// # Errors
    /// When the document is not of that form.
    pub fn parse(json: &str) -> Result<Self, KeysError> {
        let document: Document = serde_json::from_str(json)?;
        let mut by_id = BTreeMap::new();
        let mut lowest = None;
        for (id, secret) in &document.keys {
            let bad = || KeysError::BadKey(id.clone());
            let number: u8 = id.parse().ok().filter(|number| *number > 0).ok_or_else(bad)?;
            let secret: [u8; 32] = parse_hex(secret).ok_or_else(bad)?;
            by_id.insert(number, Derived { media: derive(&secret, b"antiphon media v1"), event: derive(&secret, b"antiphon event v1") });
            lowest = lowest.filter(|(least, _)| *least < number).or(Some((number, secret)));
        }
        let (_, lowest) = lowest.filter(|_| by_id.contains_key(&document.current)).ok_or(KeysError::NoCurrent(document.current))?;
        let root = match &document.pseudonym {
            Some(secret) => parse_hex(secret).ok_or_else(|| KeysError::BadKey("pseudonym".to_owned()))?,
            None => lowest,
        };
        Ok(Self { current: document.current, by_id, pseudonym: derive(&root, b"antiphon pseudonym v1") })
    }

    /// The key id new tokens are signed with.
    #[must_use]
    pub const fn current(&self) -> u8 {
        self.current
    }

    /// The account's stable name wherever its identity is not needed. Keyed, so that nobody without the key can test a guess.
    #[must_use]
    pub fn pseudonym(&self, account: AccountId) -> Pseudonym {
        let mut mac = self.pseudonym.clone();
        mac.update(account.0.as_bytes());
        Pseudonym(truncated(mac))
    }

    /// The tag over `message` under key `id`; `None` when that key is not live.
    pub(crate) fn sign(&self, id: u8, purpose: Purpose, message: &[u8]) -> Option<Tag> {
        Some(truncated(self.mac(id, purpose, message)?))
    }

    /// Compares in constant time.
    pub(crate) fn verify(&self, id: u8, purpose: Purpose, message: &[u8], tag: &[u8]) -> bool {
        let Some(mac) = self.mac(id, purpose, message) else { return false };
        tag.len() == TAG_BYTES && mac.verify_truncated_left(tag).is_ok()
    }

    fn mac(&self, id: u8, purpose: Purpose, message: &[u8]) -> Option<Hmac<Sha256>> {
        let derived = self.by_id.get(&id)?;
        let mut mac = match purpose {
            Purpose::Media => derived.media.clone(),
            Purpose::Event => derived.event.clone(),
        };
        mac.update(message);
        Some(mac)
    }
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKeys").field("current", &self.current).field("ids", &self.by_id.keys()).finish_non_exhaustive()
    }
}

/// 32 bytes for `label` from `secret`, as lower-case hex: how a deployment derives the passwords of its database roles.
#[must_use]
pub fn derive_hex(secret: &[u8], label: &str) -> String {
    let mut okm = [0; 32];
    // 32 bytes is far below HKDF's limit of 255 hashes, so expansion cannot fail.
    let _ = Hkdf::<Sha256>::new(None, secret).expand(label.as_bytes(), &mut okm);
    to_hex(&okm)
}

fn derive(secret: &[u8; 32], label: &[u8]) -> Hmac<Sha256> {
    let mut okm = [0; 32];
    let _ = Hkdf::<Sha256>::new(None, secret).expand(label, &mut okm);
    Hmac::<Sha256>::new_from_slice(&okm).unwrap_or_else(|_| unreachable_key())
}

/// An HMAC over `message` under `key`; HMAC takes keys of any length.
pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable_key());
    mac.update(message);
    mac
}

fn truncated(mac: Hmac<Sha256>) -> Tag {
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    let mut tag = [0; TAG_BYTES];
    tag.iter_mut().zip(full).for_each(|(to, from)| *to = from);
    tag
}

/// HMAC takes a key of any length (RFC 2104 section 2): the error of `new_from_slice` cannot occur.
fn unreachable_key() -> Hmac<Sha256> {
    Hmac::new(&Default::default())
}
