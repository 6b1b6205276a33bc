//! Quarantine: why a record could not count, what would change that, and the replay after the change.
//!
//! ```text
//! royalty.quarantine ─standing─► the record as a post of one event, received when it was received ─► collector ─► merge ─► royalty.replayed
//!                        ▲                                                                              │
//!                        └────────────────────── still refused: it stays, and says why ◄────────────────┘
//! ```
//!
//! A replay takes no shortcut: tickets are judged again by the keys of now, at the record's own receipt, and events go through the steps of
//! [`crate::store::merge`]. A record that is merged and its row in `royalty.replayed` are one transaction, so it counts once.

use std::collections::BTreeSet;

use protocol::{
    UnixMs,
    heartbeat::{Batch, Content, StoredPost},
    keys::TokenKeys,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::{
    collector::{self, EventName, Sorted},
    error::RoyaltyError,
    store::{
        merge,
        partitions::Partitions,
        quarantine::{self, QuarantineRow, Released, Selection},
    },
};

/// What a reason means, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// The stable code.
    pub code: &'static str,
    /// What was wrong with the record.
    pub meaning: &'static str,
    /// What would have to change for it to count.
    pub fix: &'static str,
}

const NOTHING: &str = "nothing: the record contradicts what counts already and stays here as evidence";

/// Every reason the collector and the merge give, and what is to be done.
pub const REASONS: [Reason; 11] = [
    Reason {
        code: "ticket_invalid",
        meaning: "the ticket's tag does not hold under any key this collector has, or it is no event ticket",
        fix: "if the key it names is missing from token.json here, put the key back, restart royalty and replay; a forged ticket stays",
    },
    Reason {
        code: "ticket_expired",
        meaning: "the ticket had expired when the buffer received the post",
        fix: "nothing, unless the key document gave its key too short a life: then correct the document and replay",
    },
    Reason {
        code: "play_from_the_future",
        meaning: "the play was minted after the buffer received the post: the clock of the edge that minted it, or of the buffer, was wrong",
        fix: "nothing that is honest: the receipt cannot be moved",
    },
    Reason {
        code: "received_in_the_future",
        meaning: "the buffer's clock was ahead of this collector's by more than five minutes",
        fix: "set the clock right; when the time of the receipt has come, replay",
    },
    Reason {
        code: "bad_sender",
        meaning: "the sender is not 1 to 64 printable ASCII characters, which no front lets through",
        fix: "nothing: look for a buffer whose storage was damaged, or for somebody else who holds the edge's secret",
    },
    Reason {
        code: "play_too_old",
        meaning: "the event was received more than eight days after its play was minted",
        fix: "nothing: a play takes events for eight days",
    },
    Reason { code: "ticket_of_another_play", meaning: "the ticket names this play for another listener or another track", fix: NOTHING },
    Reason {
        code: "interval_reversed",
        meaning: "the interval ends before it begins",
        fix: "nothing: it says nothing that could be credited",
    },
    Reason {
        code: "interval_beyond_track",
        meaning: "the interval ends more than two seconds after the track does",
        fix: "nothing, unless the ticket's duration was wrong: a ticket is signed and cannot be corrected",
    },
    Reason {
        code: "interval_too_long",
        meaning: "one event reports more than ten minutes",
        fix: "if the bound of an event is raised in protocol::heartbeat, deploy it and replay",
    },
    Reason {
        code: "other_content_under_this_name",
        meaning: "an event of the same play, sender and number is there with other content",
        fix: NOTHING,
    },
];

impl Reason {
    /// The reason of a code.
    #[must_use]
    pub fn of(code: &str) -> Option<&'static Self> {
        REASONS.iter().find(|reason| reason.code == code)
    }
}

/// Records one call replays at most.
pub const REPLAY_MAX: usize = 500;

/// What a replay did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Replay {
    /// Records that were tried.
    pub examined: usize,
    /// Those that were new events: they count now.
    pub counted: usize,
    /// Those that had come another way meanwhile.
    pub duplicate: usize,
    /// Those that still cannot count, and stay.
    pub refused: Vec<StillRefused>,
    /// There may be more: go on with `after` set to this.
    pub next: Option<i64>,
    /// Nothing was written.
    pub dry_run: bool,
}

/// A record that stays in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StillRefused {
    /// The record.
    pub id: i64,
    /// Why, as of now.
    pub reason: &'static str,
}

/// The record of a whole post, as the collector writes it. What the merge refuses names a play instead of a ticket and is evidence only.
#[derive(Deserialize)]
struct Recorded {
    ticket: String,
    sender: String,
    event: serde_json::Value,
}

/// A record on its way through the collector and the merge.
struct Candidate {
    released: Released,
    name: EventName,
    content: Content,
}

/// Replays the records that stand and are selected, at most [`REPLAY_MAX`].
///
/// # Errors
/// Those of the database; nothing is written then.
pub async fn replay(
    pool: &PgPool,
    partitions: &Partitions,
    keys: &TokenKeys,
    which: &Selection,
    dry_run: bool,
    now: UnixMs,
) -> Result<Replay, RoyaltyError> {
    let rows_max = i64::try_from(REPLAY_MAX).unwrap_or(i64::MAX);
    let which = Selection { rows: rows_max, ..which.clone() };
    // A first look, outside the transaction, so that an attached partition's lock does not last as long as the replay.
    let rows = quarantine::standing(&mut *pool.acquire().await?, &which).await?;
    let (_, sorted, _) = sort(&rows, keys, now)?;
    partitions.ensure(pool, sorted.plays.keys().map(|play| play.minted_at().day())).await?;

    let mut tx = pool.begin().await?;
    quarantine::lock_replays(&mut tx).await?;
    let rows = quarantine::standing(&mut tx, &which).await?;
    let (candidates, sorted, mut refused) = sort(&rows, keys, now)?;
    let again = merge::merge_again(&mut tx, sorted, now).await?;
    let (mut released, mut seen) = (Vec::new(), BTreeSet::new());
    for Candidate { released: record, name, content } in candidates {
        match again.after.get(&name) {
            Some(stored) if *stored == content => {
                let is_new = !again.before.contains_key(&name) && seen.insert(name);
                released.push(Released { is_new, ..record });
            }
            Some(_) => refused.push(StillRefused { id: record.id, reason: "other_content_under_this_name" }),
            None => refused.push(StillRefused { id: record.id, reason: "ticket_of_another_play" }),
        }
    }
    refused.sort_by_key(|still| still.id);
    if !dry_run {
        quarantine::release(&mut tx, &released, now).await?;
        tx.commit().await?;
    }
    let counted = released.iter().filter(|record| record.is_new).count();
    Ok(Replay {
        examined: rows.len(),
        counted,
        duplicate: released.len() - counted,
        refused,
        next: rows.last().filter(|_| rows.len() == REPLAY_MAX).map(|row| row.id),
        dry_run,
    })
}

/// What the collector says of each record now: those that may count, all of them together, and those that may not.
fn sort(rows: &[QuarantineRow], keys: &TokenKeys, now: UnixMs) -> Result<(Vec<Candidate>, Sorted, Vec<StillRefused>), RoyaltyError> {
    let (mut candidates, mut together, mut refused) = (Vec::new(), Sorted::default(), Vec::new());
    for row in rows {
        match candidate(row, keys, now, &mut together)? {
            Ok(candidate) => candidates.push(candidate),
            Err(reason) => refused.push(StillRefused { id: row.id, reason }),
        }
    }
    for copies in together.candidates.values_mut() {
        copies.sort_by_key(|copy| (copy.received_at, copy.content));
    }
    Ok((candidates, together, refused))
}

fn candidate(
    row: &QuarantineRow,
    keys: &TokenKeys,
    now: UnixMs,
    together: &mut Sorted,
) -> Result<Result<Candidate, &'static str>, RoyaltyError> {
    let Some(post) = post(row) else {
        return Ok(Err(Reason::of(&row.reason).map_or("unreadable", |reason| reason.code)));
    };
    let batch =
        Batch { buffer: row.buffer.clone(), epoch: row.epoch.clone(), number: 0, frozen_at_ms: now, posts: vec![post], report: None };
    let alone = collector::sort(&batch, keys, now)?;
    if let Some(refused) = alone.quarantined.first() {
        return Ok(Err(refused.reason));
    }
    let (Some((play, claims)), Some((name, copy))) = (
        alone.plays.into_iter().next(),
        alone.candidates.into_iter().next().and_then(|(name, copies)| Some((name, copies.into_iter().next()?))),
    ) else {
        return Ok(Err("unreadable"));
    };
    if !together.plays.entry(play).or_insert(claims).agrees_with(&claims) {
        return Ok(Err("ticket_of_another_play"));
    }
    let candidate =
        Candidate { released: Released { id: row.id, hour: row.hour, is_new: false }, name: name.clone(), content: copy.content };
    together.candidates.entry(name).or_default().push(copy);
    Ok(Ok(candidate))
}

/// The record as the post it came in, with its own receipt.
fn post(row: &QuarantineRow) -> Option<StoredPost> {
    let Recorded { ticket, sender, event } = serde_json::from_str(&row.record).ok()?;
    let post = serde_json::json!({ "ticket": ticket, "sender": sender, "received_at_ms": row.received_at_ms, "events": [event] });
    serde_json::from_value(post).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_explained_once() {
        let mut codes: Vec<_> = REASONS.iter().map(|reason| reason.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), REASONS.len());
        // Every word in quotes that the two files hand to quarantine is a reason.
        let source = [include_str!("collector.rs"), include_str!("store/merge.rs")].concat();
        let given: Vec<&str> =
            source.split("Err(\"").skip(1).chain(source.split("refuse(\"").skip(1)).filter_map(|rest| rest.split('"').next()).collect();
        assert!(given.len() >= 6, "{given:?}");
        let unexplained: Vec<_> = given.iter().filter(|code| Reason::of(code).is_none()).collect();
        assert!(unexplained.is_empty(), "{unexplained:?}");
    }
}
