//! Pseudonyms that can be forgotten. Each account has a random key of its own; what the lake calls the account and its plays is an HMAC under
//! that key. With the key the rows of one account are found together; without it they are nobody's, and whatever the account does later is
//! written under a new key.
//!
//! Even the play's id is such an HMAC: the id itself would lead back to the account through the ledger, which has to remember whom it paid for.

use std::collections::HashMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use platform::random_bytes;
use protocol::{AccountId, UnixMs};
use sha2::Sha256;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{Lake, LakeError};

/// What an account is called in the lake.
#[derive(Clone)]
pub struct Pseudonyms {
    key: [u8; 32],
}

impl Pseudonyms {
    /// With an account's key.
    #[must_use]
    pub const fn under(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The listener, 32 hex digits.
    #[must_use]
    pub fn listener(&self) -> String {
        self.derive(b"listener", Uuid::nil())
    }

    /// One of the listener's plays, 32 hex digits.
    #[must_use]
    pub fn play(&self, play: Uuid) -> String {
        self.derive(b"play", play)
    }

    fn derive(&self, what: &[u8], name: Uuid) -> String {
        // A key of 32 bytes is never refused.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return String::new() };
        mac.update(what);
        mac.update(name.as_bytes());
        hex::encode(mac.finalize().into_bytes().iter().take(16).copied().collect::<Vec<u8>>())
    }
}

/// What accounts are called, and since when.
#[derive(Default)]
pub(crate) struct Known {
    keys: HashMap<Uuid, Pseudonyms>,
    forgotten: HashMap<Uuid, UnixMs>,
}

impl Known {
    /// The names for something that `subject` did at `at`; `None` when that has been forgotten.
    pub(crate) fn names(&self, subject: Uuid, at: UnixMs) -> Option<&Pseudonyms> {
        if self.forgotten.get(&subject).is_some_and(|until| at < *until) {
            return None;
        }
        self.keys.get(&subject)
    }
}

/// The names of everybody who did something, made where they are missing. `deeds` are who and when.
pub(crate) async fn known(pool: &PgPool, deeds: &[(Uuid, UnixMs)], now: UnixMs) -> Result<Known, LakeError> {
    let mut latest: HashMap<Uuid, UnixMs> = HashMap::new();
    for (subject, at) in deeds {
        let seen = latest.entry(*subject).or_insert(*at);
        *seen = (*seen).max(*at);
    }
    let subjects: Vec<Uuid> = latest.keys().copied().collect();
    let mut known = Known { keys: HashMap::new(), forgotten: forgotten(pool, &subjects).await? };
    known.keys = stored(pool, &subjects).await?;
    // Who did nothing since they were forgotten gets no key for it.
    let needs = |subject: &Uuid| known.forgotten.get(subject).is_none_or(|until| latest.get(subject).is_some_and(|at| at >= until));
    let missing: Vec<Uuid> = subjects.into_iter().filter(|subject| !known.keys.contains_key(subject) && needs(subject)).collect();
    if !missing.is_empty() {
        make(pool, &missing, now).await?;
        known.keys.extend(stored(pool, &missing).await?);
    }
    // Forgotten between two of these statements, an account has another key or none, and its earlier deeds must not come under it: looked at again.
    let overtaken = forgotten(pool, &latest.into_keys().collect::<Vec<_>>()).await? != known.forgotten;
    if overtaken || !missing.iter().all(|subject| known.keys.contains_key(subject)) {
        return Err(LakeError::Overtaken);
    }
    Ok(known)
}

async fn stored(pool: &PgPool, subjects: &[Uuid]) -> Result<HashMap<Uuid, Pseudonyms>, LakeError> {
    let rows: Vec<(Uuid, Vec<u8>)> =
        sqlx::query_as("SELECT subject, key FROM lake.keys WHERE subject = ANY ($1)").bind(subjects).fetch_all(pool).await?;
    rows.into_iter()
        .map(|(subject, key)| {
            let key = key.try_into().map_err(|_| LakeError::Contradiction(format!("the key of {subject} is not 32 bytes")))?;
            Ok((subject, Pseudonyms::under(key)))
        })
        .collect()
}

async fn forgotten(pool: &PgPool, subjects: &[Uuid]) -> Result<HashMap<Uuid, UnixMs>, LakeError> {
    let rows: Vec<(Uuid, i64)> =
        sqlx::query_as("SELECT subject, at_ms FROM lake.forgotten WHERE subject = ANY ($1)").bind(subjects).fetch_all(pool).await?;
    Ok(rows.into_iter().map(|(subject, at)| (subject, UnixMs(at))).collect())
}

async fn make(pool: &PgPool, subjects: &[Uuid], now: UnixMs) -> Result<(), LakeError> {
    let keys: Vec<Vec<u8>> = subjects.iter().map(|_| random_bytes::<32>().to_vec()).collect();
    sqlx::query(
        "INSERT INTO lake.keys (subject, key, made_at_ms)
         SELECT subject, key, $3 FROM unnest($1::UUID[], $2::BYTEA[]) AS made (subject, key)
         ORDER BY subject
         ON CONFLICT DO NOTHING",
    )
    .bind(subjects)
    .bind(keys)
    .bind(now.0)
    .execute(pool)
    .await?;
    Ok(())
}

impl Lake {
    /// The account as the ledger knows it.
    pub(crate) fn subject(&self, account: AccountId) -> Uuid {
        self.keys.pseudonym(account).uuid()
    }

    /// Destroys the account's key: its rows cannot be told from anybody else's any more, nor joined to what it does from now on. Says whether
    /// there was a key.
    ///
    /// # Errors
    /// Those of the database, and then nothing is forgotten.
    pub async fn forget(&self, account: AccountId) -> Result<bool, LakeError> {
        let subject = self.subject(account);
        let mut tx = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO lake.forgotten (subject, at_ms) VALUES ($1, $2)
             ON CONFLICT (subject) DO UPDATE SET at_ms = greatest(forgotten.at_ms, excluded.at_ms)",
        )
        .bind(subject)
        .bind(self.clock.now().0)
        .execute(&mut *tx)
        .await?;
        let destroyed = sqlx::query("DELETE FROM lake.keys WHERE subject = $1").bind(subject).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(destroyed.rows_affected() > 0)
    }

    /// What the account is called in the lake now; `None` when it has no rows that could be found.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn listener(&self, account: AccountId) -> Result<Option<String>, LakeError> {
        let subject = self.subject(account);
        Ok(stored(&self.pool, &[subject]).await?.get(&subject).map(Pseudonyms::listener))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_by_key_and_by_play_and_stay_what_they_are() {
        let (one, other) = (Pseudonyms::under([1; 32]), Pseudonyms::under([2; 32]));
        let play = Uuid::from_u128(7);
        assert_eq!(one.listener(), Pseudonyms::under([1; 32]).listener());
        assert_ne!(one.listener(), other.listener());
        assert_ne!(one.play(play), other.play(play));
        assert_ne!(one.play(play), one.play(Uuid::from_u128(8)));
        assert_ne!(one.play(Uuid::nil()), one.listener());
        assert_eq!(one.play(play).len(), 32);
    }
}
