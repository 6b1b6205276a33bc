//! From a buffer's batch to what must be written: a pure sorting of records into candidates and quarantine.
//!
//! Data comes from `POST /internal/batches`; what is decided here goes to [`crate::store::merge`], the one exactly-once point. Every
//! record of the batch leaves this file exactly once: as a candidate, or in quarantine with a reason. Nothing in a record can
//! stop the rest of its batch.

use std::collections::BTreeMap;

use protocol::{
    MediaVersion, Plan, PlayId, Territory, TrackId, UnixMs,
    heartbeat::{Batch, Content, Event, SENDER_CHARS_MAX, StoredPost},
    keys::TokenKeys,
    receipt::{self, Proven},
    tally::{Hour, Report},
    token::{self, Claims, Pseudonym, Purpose, Refusal},
};
use serde::Serialize;

use crate::{error::RoyaltyError, period::Period};

/// A play takes events for so long. It bounds the days that must have partitions, and how far back a fold has to look.
pub const PLAY_LIFE_MS: i64 = 8 * 86_400_000;
/// Clocks of an edge and the origin may differ this much.
const SKEW_MS: i64 = 300_000;
const NAME_CHARS_MAX: usize = 128;

/// The name of an event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventName {
    /// The play.
    pub play: PlayId,
    /// The player instance.
    pub sender: String,
    /// Its number.
    pub seq: u32,
}

/// A copy of an event that could count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// What it says.
    pub content: Content,
    /// When it was received.
    pub received_at: UnixMs,
}

/// What the tickets of a batch say about a play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlayClaims {
    /// The listener.
    pub pseudonym: Pseudonym,
    /// What is played.
    pub track: TrackId,
    /// Which encoding of it.
    pub version: MediaVersion,
    /// Where.
    pub territory: Territory,
    /// Under which plan.
    pub plan: Plan,
    /// The track's length.
    pub duration_ms: u32,
}

/// A record that cannot count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Stable code.
    pub reason: &'static str,
    /// The play, when a good ticket names one.
    pub play: Option<PlayId>,
    /// The hour it is told under.
    pub hour: Hour,
    /// When it was received.
    pub received_at: UnixMs,
    /// The record as JSON.
    pub record: String,
}

/// A batch after sorting.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sorted {
    /// Plays that some candidate belongs to.
    pub plays: BTreeMap<PlayId, PlayClaims>,
    /// Copies by name, the earliest first.
    pub candidates: BTreeMap<EventName, Vec<Copy>>,
    /// The rest.
    pub quarantined: Vec<Quarantined>,
    /// Records that came in, by the hour they are told under: what the database holds the other counts against.
    pub acked: BTreeMap<Hour, i64>,
    /// What the buffer says of itself.
    pub report: Option<Report>,
    /// What receipts prove of each play. All of them are among `plays`.
    pub proven: BTreeMap<PlayId, Proven>,
    /// How many receipts were echoed, and how many of them prove something.
    pub receipts: ReceiptCounts,
}

/// What became of the receipts of a batch. A receipt is no record: one that proves nothing is dropped, and takes no event along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiptCounts {
    /// All of them.
    pub echoed: i64,
    /// Those that prove something of the play whose ticket they came with.
    pub believed: i64,
}

#[derive(Serialize)]
struct Record<'a> {
    ticket: &'a str,
    sender: &'a str,
    event: &'a Event,
}

/// Refuses a batch whose name could not be stored or told apart.
///
/// # Errors
/// [`RoyaltyError::BadBatch`].
pub fn check_name(batch: &Batch) -> Result<i64, RoyaltyError> {
    let nameable = |text: &str| (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !nameable(&batch.buffer) || !nameable(&batch.epoch) {
        return Err(RoyaltyError::BadBatch(format!("buffer and epoch are 1 to {NAME_CHARS_MAX} printable ASCII characters")));
    }
    i64::try_from(batch.number).map_err(|_| RoyaltyError::BadBatch("the batch number does not fit".to_owned()))
}

/// Sorts the records of `batch`. Tickets are verified again: the buffer is trusted to keep, not to judge.
///
/// # Errors
/// When `now` is not a time at which periods exist.
pub fn sort(batch: &Batch, keys: &TokenKeys, now: UnixMs) -> Result<Sorted, RoyaltyError> {
    Period::of(now).map_err(|error| RoyaltyError::Invariant(error.to_string()))?;
    let mut sorted = Sorted { report: batch.report.clone(), ..Sorted::default() };
    for post in &batch.posts {
        sort_post(post, keys, now, &mut sorted);
    }
    for copies in sorted.candidates.values_mut() {
        copies.sort_by_key(|copy| (copy.received_at, copy.content));
    }
    Ok(sorted)
}

fn sort_post(post: &StoredPost, keys: &TokenKeys, now: UnixMs, sorted: &mut Sorted) {
    let received_at = post.received_at_ms;
    let claims = judge_post(post, keys, now, &sorted.plays);
    let play = claims.as_ref().ok().map(|claims| claims.play);
    let hour = claims.as_ref().map_or_else(|_| hour_of(post, now), |claims| Hour::of(claims.play.minted_at()));
    if !post.events.is_empty() {
        *sorted.acked.entry(hour).or_default() += i64::try_from(post.events.len()).unwrap_or(i64::MAX);
    }
    sorted.receipts.echoed += i64::try_from(post.receipts.len()).unwrap_or(i64::MAX);
    let mut quarantine = |reason, event: &Event| {
        let record = Record { ticket: &post.ticket, sender: &post.sender, event };
        let record = serde_json::to_string(&record).unwrap_or_default();
        sorted.quarantined.push(Quarantined { reason, play, hour, received_at, record });
    };
    match claims {
        Err(reason) => post.events.iter().for_each(|event| quarantine(reason, event)),
        Ok(claims) => {
            for text in post.receipts.iter().take(receipt::RECEIPTS_MAX) {
                if let Ok(segment) = receipt::examine(keys, claims.play, text, received_at) {
                    sorted.plays.entry(claims.play).or_insert_with(|| PlayClaims::of(&claims));
                    sorted.proven.entry(claims.play).or_default().add(segment.start_ms, segment.end_ms);
                    sorted.receipts.believed += 1;
                }
            }
            for event in &post.events {
                if let Err((reason, _)) = event.check(claims.duration_ms) {
                    quarantine(reason, event);
                    continue;
                }
                let name = EventName { play: claims.play, sender: post.sender.clone(), seq: event.seq };
                sorted.plays.entry(claims.play).or_insert_with(|| PlayClaims::of(&claims));
                sorted.candidates.entry(name).or_default().push(Copy { content: event.content(), received_at });
            }
        }
    }
}

/// The hour that the records of a refused post are told under, here and at every hop before: the one of its play, by the ticket's own word, for its
/// tag may not hold because a key is missing; without a ticket, of the receipt, and of the present when that is no time either.
fn hour_of(post: &StoredPost, now: UnixMs) -> Hour {
    let in_a_period = |hour: &Hour| Period::of(hour.starts_at()).is_ok();
    let received = Some(post.received_at_ms).filter(|at| *at <= now.plus_ms(SKEW_MS)).map(Hour::of);
    Hour::of_ticket(&post.ticket).filter(in_a_period).or(received.filter(in_a_period)).unwrap_or(Hour::of(now))
}

/// The claims of a post, or why none of its events can count.
fn judge_post(post: &StoredPost, keys: &TokenKeys, now: UnixMs, plays: &BTreeMap<PlayId, PlayClaims>) -> Result<Claims, &'static str> {
    let received_at = post.received_at_ms;
    if received_at > now.plus_ms(SKEW_MS) {
        return Err("received_in_the_future");
    }
    let claims = token::examine(keys, &post.ticket, Purpose::Event, received_at).map_err(|refusal| match refusal {
        Refusal::Expired => "ticket_expired",
        Refusal::FromTheFuture => "play_from_the_future",
        _ => "ticket_invalid",
    })?;
    let sender_is_good = (1..=SENDER_CHARS_MAX).contains(&post.sender.len()) && post.sender.bytes().all(|byte| byte.is_ascii_graphic());
    if !sender_is_good {
        return Err("bad_sender");
    }
    let minted_at = claims.play.minted_at();
    if Period::of(minted_at).is_err() {
        return Err("play_from_the_future");
    }
    if received_at.since(minted_at) > PLAY_LIFE_MS {
        return Err("play_too_old");
    }
    match plays.get(&claims.play) {
        Some(known) if !known.agrees_with(&PlayClaims::of(&claims)) => Err("ticket_of_another_play"),
        _ => Ok(claims),
    }
}

impl PlayClaims {
    fn of(claims: &Claims) -> Self {
        let Claims { pseudonym, track, version, territory, plan, duration_ms, .. } = *claims;
        Self { pseudonym, track, version, territory, plan, duration_ms }
    }

    /// A renewed ticket keeps the play, its listener and its track; plan and territory may have changed meanwhile.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        (self.pseudonym, self.track) == (other.pseudonym, other.track)
    }
}

impl EventName {
    /// The record of a copy, for quarantine.
    #[must_use]
    pub fn record(&self, copy: &Copy) -> String {
        let event = Event::of(self.seq, copy.content);
        serde_json::json!({ "play": self.play, "sender": self.sender, "event": event }).to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use protocol::{RungSet, heartbeat::EventKind};

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_556_280_000);
    const KEYS: &str = r#"{"current":1,"keys":{"1":"1111111111111111111111111111111111111111111111111111111111111111"}}"#;

    fn claims(minted_at: UnixMs, pseudonym: u8) -> Claims {
        Claims {
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
            pseudonym: Pseudonym([pseudonym; 16]),
        }
    }

    fn post(ticket: &str, received_at: UnixMs, to_ms: u32) -> StoredPost {
        let event = Event { seq: 0, kind: EventKind::Progress, from_ms: 0, to_ms, muted: false, background: false, clock: None };
        let (ticket, sender) = (ticket.to_owned(), "s".to_owned());
        StoredPost { ticket, sender, received_at_ms: received_at, events: vec![event], receipts: Vec::new() }
    }

    fn sorted(posts: Vec<StoredPost>) -> Sorted {
        let batch = Batch { buffer: "b-1".to_owned(), epoch: "e".to_owned(), number: 1, frozen_at_ms: NOW, posts, report: None };
        sort(&batch, &TokenKeys::parse(KEYS).unwrap(), NOW).unwrap()
    }

    #[test]
    fn a_bad_record_is_quarantined_alone_and_says_why() {
        let keys = TokenKeys::parse(KEYS).unwrap();
        let good = token::mint(&keys, &claims(NOW.plus_ms(-60_000), 4), NOW).unwrap();
        let media = token::mint(&keys, &Claims { purpose: Purpose::Media, ..claims(NOW, 4) }, NOW).unwrap();
        let stranger = token::mint(&keys, &claims(NOW.plus_ms(-60_000), 5), NOW).unwrap();
        let old = claims(NOW.plus_ms(-PLAY_LIFE_MS - 1), 4);
        let old = token::mint(&keys, &Claims { expires_at: NOW, ..old }, NOW).unwrap();
        let future = token::mint(&keys, &claims(NOW.plus_ms(SKEW_MS + 1), 4), NOW).unwrap();
        let sorted = sorted(vec![
            post(&good, NOW, 10_000),
            post("forged", NOW, 10_000),
            post(&media, NOW, 10_000),
            post(&good, NOW.plus_ms(3_600_000 + 60_000), 10_000),
            post(&good, UnixMs(i64::MAX), 10_000),
            post(&good, NOW, 999_999),
            post(&old, NOW, 10_000),
            post(&future, NOW, 10_000),
            post(&stranger, NOW, 10_000),
            StoredPost { sender: "\0".to_owned(), ..post(&good, NOW, 10_000) },
        ]);
        let reasons: Vec<_> = sorted.quarantined.iter().map(|record| record.reason).collect();
        assert_eq!(
            reasons,
            [
                "ticket_invalid",
                "ticket_invalid",
                "received_in_the_future",
                "received_in_the_future",
                "interval_beyond_track",
                "play_too_old",
                "play_from_the_future",
                "ticket_of_another_play",
                "bad_sender",
            ]
        );
        assert_eq!(sorted.candidates.len(), 1);
    }

    #[test]
    fn expiry_is_judged_when_the_edge_received_the_post_not_when_it_reached_the_origin() {
        let keys = TokenKeys::parse(KEYS).unwrap();
        let ticket = token::mint(&keys, &claims(NOW.plus_ms(-7_200_000), 4), NOW).unwrap();
        assert_eq!(sorted(vec![post(&ticket, NOW.plus_ms(-5_000_000), 10_000)]).quarantined, []);
        assert_eq!(sorted(vec![post(&ticket, NOW, 10_000)]).quarantined[0].reason, "ticket_expired");
    }
}
