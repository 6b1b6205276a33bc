//! A rotation: the document in force becomes one in which a fresh key signs from an instant ahead.
//!
//! `antiphon token rotate` calls it with random bytes and the clock, writes the result to `token.json` and has it handed out. Between
//! then and the instant every edge may hold either document, and they agree about every token.

use super::document::{Document, Key, KeysError};
use crate::{
    UnixMs,
    token::{LIFE_MS_MAX, SKEW_MS},
};

/// How long after the instant a former key must verify so that no valid token is refused: a token signed at the last moment lives for
/// [`LIFE_MS_MAX`], and the clocks of its signer and its verifier may each be off by [`SKEW_MS`].
pub const KEEP_MS: i64 = LIFE_MS_MAX + 2 * SKEW_MS;

/// How long an ended key stays in the document: the collector verifies by the instant at which an edge received a heartbeat, however
/// late the batch arrives.
pub const FORGET_MS: i64 = 30 * 86_400_000;

/// What a rotation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The document to hand out.
    pub document: Document,
    /// The new key.
    pub key_id: u8,
    /// The key that signs until then.
    pub former: u8,
    /// Until when the former key, and any other that had no end, verifies.
    pub former_until: UnixMs,
    /// Keys that ended long ago and are no longer in the document.
    pub forgotten: Vec<u8>,
}

/// Why a rotation cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// A later rotation is in the document already.
    #[error("token key {0} is to sign from {at}, and a new key has to begin after it", at = .1.rfc3339())]
    NotTheLast(u8, UnixMs),
    /// All 255 ids are taken.
    #[error("every token key id from 1 to 255 is taken")]
    NoIdLeft,
    /// The new document would not be accepted.
    #[error(transparent)]
    Unusable(#[from] KeysError),
}

impl Document {
    /// Adds `secret` as a key that signs from `from`, ends every key without an end `keep_ms` after that, makes the root of the
    /// pseudonyms explicit, and forgets keys that ended more than [`FORGET_MS`] before `now`.
    ///
    /// # Errors
    /// [`RotationError`].
    pub fn rotated(&self, secret: [u8; 32], from: UnixMs, keep_ms: i64, now: UnixMs) -> Result<Rotation, RotationError> {
        let (last_from, former) = self.signers().last().copied().ok_or(KeysError::NoKey)?;
        if from <= last_from {
            return Err(RotationError::NotTheLast(former, last_from));
        }
        let former_until = from.plus_ms(keep_ms);
        let mut document = self.clone();
        document.pseudonym = Some(self.pseudonym_root());
        for key in document.keys.values_mut() {
            key.verifies_until = key.verifies_until.or(Some(former_until));
        }
        let forgotten = document.forget(now);
        let key_id = document.free_id().ok_or(RotationError::NoIdLeft)?;
        document.keys.insert(key_id, Key { secret, signs_from: Some(from), verifies_until: None });
        document.check()?;
        Ok(Rotation { document, key_id, former, former_until, forgotten })
    }

    fn forget(&mut self, now: UnixMs) -> Vec<u8> {
        let ended = |key: &Key| key.verifies_until.is_some_and(|until| now.since(until) > FORGET_MS);
        let forgotten: Vec<u8> = self.keys().filter(|(_, key)| ended(key)).map(|(id, _)| id).collect();
        self.keys.retain(|id, _| !forgotten.contains(id));
        self.current = self.current.filter(|id| self.keys.contains_key(id));
        forgotten
    }

    /// The next id after the highest, so that an id means one key for as long as possible; then the lowest free one.
    fn free_id(&self) -> Option<u8> {
        let next = self.keys.last_key_value().and_then(|(highest, _)| highest.checked_add(1));
        next.or_else(|| (1..=u8::MAX).find(|id| !self.keys.contains_key(id)))
    }
}
