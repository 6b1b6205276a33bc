//! What the hops between a player and its listen count, so that what one gave can be held against what the next one got.
//!
//! ```text
//! edge, gateway (offered, refused, duplicate, stored) ──► buffer (stored, frozen) ──Batch.report──► collector (in, new, duplicate, quarantined)
//! ```
//!
//! Every hop counts by the hour in which the *play* was minted. That hour stands in the play's id, so a record is told under the same hour at every
//! hop however late it arrives, however often it is sent and through whatever it is replayed. `docs/reconciliation.md` has the identities.

use serde::{Deserialize, Serialize};

use crate::{PlayId, UnixMs, token::Unverified};

const HOUR_MS: i64 = 3_600_000;

/// An hour, as the number of hours since 1970-01-01T00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hour(pub i64);

impl Hour {
    /// The hour `at` lies in.
    #[must_use]
    pub const fn of(at: UnixMs) -> Self {
        Self(at.0.div_euclid(HOUR_MS))
    }

    /// Its first instant.
    #[must_use]
    pub const fn starts_at(self) -> UnixMs {
        UnixMs(self.0.saturating_mul(HOUR_MS))
    }

    /// The hour in which the play of `ticket` was minted. The ticket is read, not judged: a record whose key is missing belongs to the hour it belongs
    /// to. `None` for what is no ticket.
    #[must_use]
    pub fn of_ticket(ticket: &str) -> Option<Self> {
        let play: PlayId = Unverified::decode(ticket)?.claims()?.play;
        Some(play.minted_at()).filter(|minted_at| minted_at.0 > 0).map(Self::of)
    }
}

/// What a buffer says of itself, inside a batch and frozen with it: counted where the events were stored, in the transaction that stored them, and
/// never from the batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// What the figures are about.
    pub since: Since,
    /// The hours whose figures have changed since the batch before this one.
    pub hours: Vec<HourTally>,
    /// Posts that were stored and in no batch when this one was frozen.
    #[serde(default)]
    pub posts_waiting: u64,
    /// Earlier batches that the origin refused and that are still kept, lowest number first, at most [`SET_ASIDE_MAX`].
    #[serde(default)]
    pub set_aside: Vec<u64>,
}

/// Batches named in [`Report::set_aside`].
pub const SET_ASIDE_MAX: usize = 100;
/// Hours in one report: a play takes events for eight days.
pub const HOURS_MAX: usize = 24 * 14;

/// What a report's figures are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// Sums since the epoch began: the buffer acknowledges a post before it sends it, and every number it has used must arrive.
    Epoch,
    /// This batch alone: its sender acknowledges nothing before the batch is merged, and a number that never arrives was never acknowledged.
    Batch,
}

/// Events of one hour, by what the front and its buffer did with them. `offered = refused + duplicate + stored`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HourTally {
    /// The hour.
    pub hour: Hour,
    /// Events in posts that were answered.
    pub offered: u64,
    /// Refused one by one, with a reason in the answer.
    pub refused: u64,
    /// Known to be stored already.
    pub duplicate: u64,
    /// Stored: acknowledged for good.
    pub stored: u64,
    /// Of the stored ones those that are in a batch, this one included.
    pub frozen: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        MediaVersion, Plan, RungSet, TrackId,
        keys::TokenKeys,
        token::{self, Claims, Pseudonym, Purpose},
    };

    #[test]
    fn a_ticket_is_of_the_hour_of_its_play_whoever_signed_it() {
        let keys = r#"{"current":1,"keys":{"1":"1111111111111111111111111111111111111111111111111111111111111111"}}"#;
        let minted_at = UnixMs(1_795_556_280_000);
        let claims = Claims {
            purpose: Purpose::Event,
            plan: Plan::Premium,
            rungs: RungSet::of(&[]),
            territory: "DE".parse().unwrap(),
            buffer: 1,
            expires_at: minted_at.plus_ms(3_600_000),
            duration_ms: 200_000,
            play: PlayId::v7(minted_at, [1; 10]),
            track: TrackId::v7(minted_at, [2; 10]),
            version: MediaVersion([3; 16]),
            pseudonym: Pseudonym([4; 16]),
        };
        let ticket = token::mint(&TokenKeys::parse(keys).unwrap(), &claims, minted_at).unwrap();
        assert_eq!(Hour::of_ticket(&ticket), Some(Hour::of(minted_at)));
        assert_eq!(Hour::of(minted_at).starts_at().rfc3339(), "2026-11-24T21:00:00.000Z");
        let (head, tail) = ticket.split_at(ticket.len() - 5);
        let forged = format!("{head}{}{}", if tail.starts_with('A') { 'B' } else { 'A' }, tail.split_at(1).1);
        assert_ne!(forged, ticket);
        assert_eq!(Hour::of_ticket(&forged), Some(Hour::of(minted_at)));
        let other = Claims { play: PlayId(uuid::Uuid::from_u128(7)), ..claims };
        let other = token::mint(&TokenKeys::parse(keys).unwrap(), &other, minted_at).unwrap();
        assert_eq!(Hour::of_ticket(&other), None, "a play that is no UUIDv7 has no hour");
        assert_eq!(Hour::of_ticket("forged"), None);
        assert_eq!(Hour::of(UnixMs(-1)), Hour(-1));
        assert_eq!(Hour(i64::MAX).starts_at(), UnixMs(i64::MAX));
    }
}
