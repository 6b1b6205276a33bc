//! The key document as people and `antiphon token rotate` write it: the file `token.json`, the Worker's secret `TOKEN_KEYS`.
//!
//! ```json
//! { "current": 1,
//!   "keys": { "1": {"secret": "<64 hex>", "verifies_until_ms": 1796200000000},
//!             "2": {"secret": "<64 hex>", "signs_from_ms": 1795556280000} },
//!   "pseudonym": "<64 hex>" }
//! ```
//! A key is a bare secret, or an object that says when it lives. Without `signs_from_ms` it was there since ever: such a key verifies,
//! and the one of them that `current` names signs until the first scheduled key takes over. A document that would leave an instant
//! without a signer, or that does not say what it seems to, is refused when it is read, long before that instant.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::{
    UnixMs,
    ids::{parse_hex, to_hex},
};

/// Instants before this (2001) are seconds by mistake, instants from [`LATEST_MS`] (the year 5138) microseconds.
const EARLIEST_MS: i64 = 1_000_000_000_000;
const LATEST_MS: i64 = 100_000_000_000_000;

/// A checked key document.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    pub(super) current: Option<u8>,
    pub(super) keys: BTreeMap<u8, Key>,
    pub(super) pseudonym: Option<[u8; 32]>,
}

/// A key of the document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// 32 random bytes, from which the key of each purpose is derived.
    pub(super) secret: [u8; 32],
    /// When it begins to sign; `None` for since ever.
    pub signs_from: Option<UnixMs>,
    /// The first instant at which it no longer verifies; `None` for never.
    pub verifies_until: Option<UnixMs>,
}

/// Why the key document cannot be used. No text of the document is repeated, since it would be a secret in a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Not the expected JSON.
    #[error("the token keys are not the expected JSON at line {line}, column {column}{hint}")]
    Unreadable {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong, where that repeats no value.
        hint: String,
    },
    /// A secret is not 32 bytes of lower-case hex, or a key id is not 1 to 255.
    #[error("token key {0:?} must be a number from 1 to 255 with 64 lower-case hex digits")]
    BadKey(String),
    /// `pseudonym` is not 32 bytes of lower-case hex.
    #[error("`pseudonym` must be 64 lower-case hex digits")]
    BadPseudonym,
    /// `current` does not name one of the keys that sign since ever.
    #[error("`current` must name one of the token keys that have no `signs_from_ms`, for the time before any other key signs")]
    NoCurrent,
    /// `current` is there, but every key has its own beginning.
    #[error("`current` says nothing where every token key has `signs_from_ms`: leave it out")]
    NeedlessCurrent,
    /// There is no key.
    #[error("there is no token key")]
    NoKey,
    /// An instant that is none.
    #[error("an instant of token key {0} is not in milliseconds since 1970")]
    BadInstant(u8),
    /// A key that ends before it begins.
    #[error("token key {0} would never verify: its `verifies_until_ms` is not after its `signs_from_ms`")]
    NeverLives(u8),
    /// Two keys that begin together.
    #[error("token keys {0} and {1} begin to sign at the same instant")]
    SameStart(u8, u8),
    /// Two ids for one secret.
    #[error("token keys {0} and {1} have the same secret: that is no rotation")]
    SameSecret(u8, u8),
    /// A signer that ends before its successor begins.
    #[error("token key {ends} ends before token key {next} begins to sign: nothing could be signed in between")]
    Gap {
        /// The key that ends.
        ends: u8,
        /// The key that begins too late.
        next: u8,
    },
    /// A signer that ends and has no successor.
    #[error("token key {0} ends and no other begins to sign before that: nothing could be signed after it")]
    NoSuccessor(u8),
    /// The pseudonyms would change with the keys.
    #[error("token key {0} is scheduled to end and pseudonyms are derived from it: add `\"pseudonym\"` with its secret, to keep them")]
    PseudonymWouldEnd(u8),
}

impl Document {
    /// Reads and checks a document.
    ///
    /// # Errors
    /// [`KeysError`], which names the key and repeats no secret.
    pub fn parse(json: &str) -> Result<Self, KeysError> {
        let raw: Raw = serde_json::from_str(json).map_err(|error| unreadable(&error))?;
        let mut keys = BTreeMap::new();
        for (name, entry) in raw.keys {
            let (id, key) = Key::of(&name, entry).ok_or(KeysError::BadKey(name))?;
            keys.insert(id, key);
        }
        let pseudonym = raw.pseudonym.map(|root| parse_hex(&root).ok_or(KeysError::BadPseudonym)).transpose()?;
        let document = Self { current: raw.current, keys, pseudonym };
        document.check()?;
        Ok(document)
    }

    pub(super) fn check(&self) -> Result<(), KeysError> {
        for (&id, key) in &self.keys {
            key.check(id)?;
            if let Some((&other, _)) = self.keys.range(..id).find(|(_, other)| other.secret == key.secret) {
                return Err(KeysError::SameSecret(other, id));
            }
        }
        self.check_current()?;
        self.check_schedule()?;
        match self.lowest() {
            Some((id, Key { verifies_until: Some(_), .. })) if self.pseudonym.is_none() => Err(KeysError::PseudonymWouldEnd(id)),
            _ => Ok(()),
        }
    }

    fn check_current(&self) -> Result<(), KeysError> {
        if self.keys.is_empty() {
            return Err(KeysError::NoKey);
        }
        let any_since_ever = self.keys.values().any(|key| key.signs_from.is_none());
        match self.current {
            None if any_since_ever => Err(KeysError::NoCurrent),
            Some(_) if !any_since_ever => Err(KeysError::NeedlessCurrent),
            Some(id) if self.keys.get(&id).is_none_or(|key| key.signs_from.is_some()) => Err(KeysError::NoCurrent),
            _ => Ok(()),
        }
    }

    /// From the first signer on there is one at every instant: each lives until the next begins, and the last has no end.
    fn check_schedule(&self) -> Result<(), KeysError> {
        let signers = self.signers();
        for pair in signers.windows(2) {
            let [(from, ends), (next_from, next)] = *pair else { continue };
            if from == next_from {
                return Err(KeysError::SameStart(ends, next));
            }
            if self.end_of(ends).is_some_and(|until| until < next_from) {
                return Err(KeysError::Gap { ends, next });
            }
        }
        match signers.last() {
            Some(&(_, last)) if self.end_of(last).is_some() => Err(KeysError::NoSuccessor(last)),
            _ => Ok(()),
        }
    }

    fn end_of(&self, id: u8) -> Option<UnixMs> {
        self.keys.get(&id)?.verifies_until
    }

    fn lowest(&self) -> Option<(u8, Key)> {
        self.keys.first_key_value().map(|(id, key)| (*id, *key))
    }

    /// The keys by id.
    pub fn keys(&self) -> impl Iterator<Item = (u8, &Key)> {
        self.keys.iter().map(|(id, key)| (*id, key))
    }

    /// The keys that sign, each with the instant from which it does, in that order.
    #[must_use]
    pub fn signers(&self) -> Vec<(UnixMs, u8)> {
        let since_ever = self.current.map(|id| (UnixMs(i64::MIN), id));
        let mut signers: Vec<_> = since_ever.into_iter().chain(self.keys().filter_map(|(id, key)| Some((key.signs_from?, id)))).collect();
        signers.sort_unstable();
        signers
    }

    /// What pseudonyms are derived from: a secret of its own, since a pseudonym must outlive every rotation. Without one it is that of
    /// the lowest key id, which suits a deployment that has never rotated.
    pub(crate) fn pseudonym_root(&self) -> [u8; 32] {
        self.pseudonym.or(self.lowest().map(|(_, key)| key.secret)).unwrap_or_default()
    }

    /// The document as JSON, to be kept as secret as it was.
    #[must_use]
    pub fn to_json(&self) -> String {
        let raw = Raw {
            current: self.current,
            keys: self.keys().map(|(id, key)| (id.to_string(), key.entry())).collect(),
            pseudonym: self.pseudonym.map(|root| to_hex(&root)),
        };
        serde_json::to_string_pretty(&raw).unwrap_or_default()
    }
}

/// Which keys there are and when they live; never what they are.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("current", &self.current).field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signs_from, verifies_until, .. } = self;
        f.debug_struct("Key").field("signs_from", signs_from).field("verifies_until", verifies_until).finish_non_exhaustive()
    }
}

impl Key {
    fn of(name: &str, entry: Entry) -> Option<(u8, Self)> {
        // "01" and "+1" are numbers too, and would be a second spelling of the same key.
        let id = name.parse::<u8>().ok().filter(|id| *id > 0 && id.to_string() == name)?;
        let Scheduled { secret, signs_from_ms, verifies_until_ms } = match entry {
            Entry::Secret(secret) => Scheduled { secret, signs_from_ms: None, verifies_until_ms: None },
            Entry::Scheduled(scheduled) => scheduled,
        };
        Some((id, Self { secret: parse_hex(&secret)?, signs_from: signs_from_ms, verifies_until: verifies_until_ms }))
    }

    fn check(&self, id: u8) -> Result<(), KeysError> {
        let instants = [self.signs_from, self.verifies_until];
        if instants.into_iter().flatten().any(|at| !(EARLIEST_MS..LATEST_MS).contains(&at.0)) {
            return Err(KeysError::BadInstant(id));
        }
        match (self.signs_from, self.verifies_until) {
            (Some(from), Some(until)) if until <= from => Err(KeysError::NeverLives(id)),
            _ => Ok(()),
        }
    }

    fn entry(&self) -> Entry {
        let secret = to_hex(&self.secret);
        match (self.signs_from, self.verifies_until) {
            (None, None) => Entry::Secret(secret),
            (signs_from_ms, verifies_until_ms) => Entry::Scheduled(Scheduled { secret, signs_from_ms, verifies_until_ms }),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<u8>,
    keys: BTreeMap<String, Entry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pseudonym: Option<String>,
}

enum Entry {
    Secret(String),
    Scheduled(Scheduled),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scheduled {
    secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signs_from_ms: Option<UnixMs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verifies_until_ms: Option<UnixMs>,
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Secret(secret) => serializer.serialize_str(secret),
            Self::Scheduled(scheduled) => scheduled.serialize(serializer),
        }
    }
}

/// By hand rather than untagged, so that a mistake inside the object is named and has a place.
impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;
        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret, or an object with a secret and its instants")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
                Ok(Entry::Secret(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                Scheduled::deserialize(MapAccessDeserializer::new(map)).map(Entry::Scheduled)
            }
        }
        deserializer.deserialize_any(EntryVisitor)
    }
}

/// Messages about a field's name are told; those about a value repeat it, and it may be a secret.
fn unreadable(error: &serde_json::Error) -> KeysError {
    let text = error.to_string();
    let told = ["missing field", "unknown field", "duplicate field", "EOF", "trailing", "expected"];
    let hint = text.split(" at line ").next().filter(|text| told.iter().any(|start| text.starts_with(start)));
    KeysError::Unreadable { line: error.line(), column: error.column(), hint: hint.map(|hint| format!(": {hint}")).unwrap_or_default() }
}

#[cfg(test)]
mod tests;
