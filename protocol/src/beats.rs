//! What one account's plays may do at once: how many of them beat, and how fast they post. Whoever takes heartbeats in (the buffer at the
//! edge, the gateway) keeps one of these in memory: what it forgets is a courtesy or a bound, never an event.
//!
//! Never on the manifest path, and never a reason to lose an event: a play too many is told to stop (`"stop": "elsewhere"`) while what it
//! reports is kept, and an account that posts too fast is told when to come back (429) and keeps what it has.

use std::collections::{BTreeMap, HashMap};

use crate::{
    PlayId, Problem, UnixMs,
    heartbeat::{Event, EventKind},
    token::Pseudonym,
};

/// A play that has not beaten for three heartbeats is over.
const SILENT_MS_MAX: i64 = 45_000;
/// Accounts remembered before those that fell silent are dropped.
const ACCOUNTS_MAX: usize = 20_000;
/// One post in so many milliseconds is what an account may send for ever: 20 a second, while an honest player sends one in 15 s and one at each
/// press of a button.
const POST_EVERY_MS: i64 = 50;
/// So many posts may come in one burst: a player that was offline sends what it kept.
const BURST_POSTS: i64 = 200;
/// What players are asked for when a store is half full, and when it is full: twice and four times their usual interval.
const INTERVAL_MS_SLOW: u32 = 30_000;
const INTERVAL_MS_MAX: u32 = 60_000;

/// The accounts that were heard of lately.
#[derive(Debug, Default)]
pub struct Beats {
    accounts: HashMap<Pseudonym, Account>,
}

#[derive(Debug, Default)]
struct Account {
    /// Plays that beat, and when they last did.
    plays: BTreeMap<PlayId, UnixMs>,
    /// When the account's posts so far would have come at the steady rate (the "theoretical arrival time" of the GCRA, ITU-T I.371).
    paid_until: UnixMs,
}

impl Account {
    fn is_silent(&self, now: UnixMs) -> bool {
        self.paid_until <= now && !self.plays.values().any(|at| lively(*at, now))
    }
}

impl Beats {
    /// Counts a post of `account`. The error is how many seconds to wait before the next.
    ///
    /// # Errors
    /// When it posts faster than it may.
    pub fn admit(&mut self, account: Pseudonym, now: UnixMs) -> Result<(), u32> {
        // Nobody is refused for want of memory.
        let Some(known) = self.known(account, now) else { return Ok(()) };
        // No more than a burst can be owed: a clock that went back bans nobody.
        known.paid_until = known.paid_until.max(now).min(now.plus_ms(BURST_POSTS * POST_EVERY_MS));
        let over_ms = known.paid_until.since(now) - (BURST_POSTS - 1) * POST_EVERY_MS;
        if over_ms > 0 {
            return Err(u32::try_from(over_ms.div_euclid(1_000) + 1).unwrap_or(u32::MAX));
        }
        known.paid_until = known.paid_until.plus_ms(POST_EVERY_MS);
        Ok(())
    }

    /// Notes a beat of `play` (or, when not `beats`, its pause or end). Answers whether `limit` newer plays of the account beat too.
    pub fn beat(&mut self, account: Pseudonym, play: PlayId, limit: usize, beats: bool, now: UnixMs) -> bool {
        let Some(known) = self.known(account, now) else { return false };
        known.plays.retain(|_, at| lively(*at, now));
        if beats {
            known.plays.insert(play, now);
            // The oldest beyond the plan's count have been told to stop and are not needed to judge a newer one.
            while known.plays.len() > limit.max(1) + 1 {
                known.plays.pop_first();
            }
        } else {
            known.plays.remove(&play);
        }
        // Ids are UUIDv7: their order is the order in which the plays were minted.
        let newer = known.plays.keys().filter(|other| **other > play).count();
        let stop = beats && newer >= limit.max(1);
        if known.is_silent(now) {
            self.accounts.remove(&account);
        }
        stop
    }

    /// The account's entry; none when memory is full of accounts that are busy.
    fn known(&mut self, account: Pseudonym, now: UnixMs) -> Option<&mut Account> {
        if self.accounts.len() >= ACCOUNTS_MAX && !self.accounts.contains_key(&account) {
            self.accounts.retain(|_, known| !known.is_silent(now));
            if self.accounts.len() >= ACCOUNTS_MAX {
                return None;
            }
        }
        Some(self.accounts.entry(account).or_default())
    }
}

/// Whether a play whose latest events these are goes on: it neither ended nor paused.
#[must_use]
pub fn go_on(events: &[Event]) -> bool {
    events.last().is_some_and(|event| !event.kind.ends_play() && event.kind != EventKind::Pause)
}

/// 429 for an account that posts faster than it may.
#[must_use]
pub fn too_many_heartbeats(retry_after_s: u32) -> Problem {
    let detail = "this account posts heartbeats faster than players do: keep them and send them later, many in one post";
    Problem { retry_after_s: Some(retry_after_s), ..Problem::new(429, "too_many_heartbeats", detail) }
}

/// How often players are asked to beat while a store that takes `most` holds `held`: as they like up to half of it, then less and less often. Its
/// place in an answer is `heartbeat_every_ms`.
#[must_use]
pub fn asked_interval_ms(held: usize, most: usize) -> Option<u32> {
    let soft = most / 2;
    let (beyond, room) = (held.checked_sub(soft)?, most - soft);
    if beyond == 0 && room > 0 {
        return None;
    }
    let range = u128::from(INTERVAL_MS_MAX - INTERVAL_MS_SLOW);
    let added = range * (beyond.min(room.max(1)) as u128) / (room.max(1) as u128);
    Some(INTERVAL_MS_SLOW + u32::try_from(added).unwrap_or(INTERVAL_MS_MAX))
}

const fn lively(at: UnixMs, now: UnixMs) -> bool {
    now.0 - at.0 <= SILENT_MS_MAX
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::*;

    const A: Pseudonym = Pseudonym([1; 16]);
    const B: Pseudonym = Pseudonym([2; 16]);

    #[test]
    fn the_older_play_is_told_to_stop_while_the_newer_beats() {
        let mut beats = Beats::default();
        let (old, new) = (PlayId::v7(UnixMs(1_000), [0; 10]), PlayId::v7(UnixMs(2_000), [0; 10]));
        assert!(!beats.beat(A, old, 1, true, UnixMs(3_000)));
        assert!(!beats.beat(A, new, 1, true, UnixMs(4_000)));
        assert!(beats.beat(A, old, 1, true, UnixMs(5_000)));
        assert!(!beats.beat(A, new, 1, true, UnixMs(6_000)));
        assert!(!beats.beat(B, old, 1, true, UnixMs(6_000)), "another account");
        assert!(!beats.beat(A, new, 1, false, UnixMs(7_000)), "the newer pauses");
        assert!(!beats.beat(A, old, 1, true, UnixMs(8_000)));
        assert!(!beats.beat(A, new, 1, true, UnixMs(9_000)));
        assert!(!beats.beat(A, old, 1, true, UnixMs(60_000)), "the newer fell silent");
        assert!(!beats.beat(A, new, 3, true, UnixMs(61_000)), "a plan of three");
        assert!(!beats.beat(A, old, 3, true, UnixMs(61_000)));
    }

    #[test]
    fn a_thousand_plays_of_one_account_leave_the_newest_alone_and_take_no_more_memory_than_a_few() {
        let mut beats = Beats::default();
        let play = |n: i64| PlayId::v7(UnixMs(1_000 + n), [0; 10]);
        for n in 0..1_000 {
            assert!(!beats.beat(A, play(n), 3, true, UnixMs(5_000)), "the newest so far");
        }
        let told: Vec<bool> = (0..1_000).map(|n| beats.beat(A, play(n), 3, true, UnixMs(6_000))).collect();
        assert_eq!(told.iter().filter(|stop| !**stop).count(), 3, "as many as the plan allows go on");
        assert!(told.iter().rev().take(3).all(|stop| !stop));
        assert!(beats.accounts.get(&A).unwrap().plays.len() <= 4);
    }

    #[test]
    fn a_burst_is_taken_and_what_goes_on_faster_is_told_when_to_come_back() {
        let mut beats = Beats::default();
        let admitted = (0..1_000).filter(|_| beats.admit(A, UnixMs(10_000)).is_ok()).count();
        assert_eq!(admitted, 200);
        assert_eq!(beats.admit(A, UnixMs(10_000)), Err(1));
        assert_eq!(beats.admit(B, UnixMs(10_000)), Ok(()), "another account");
        let admitted = (0..60_000).filter(|ms| beats.admit(A, UnixMs(10_000 + ms)).is_ok()).count();
        assert!((1_198..=1_202).contains(&admitted), "20 a second: {admitted} in a minute");
        assert_eq!((0..1_000).filter(|_| beats.admit(A, UnixMs(200_000)).is_ok()).count(), 200, "it rested");
    }

    #[test]
    fn a_clock_that_goes_back_bans_nobody() {
        let mut beats = Beats::default();
        assert_eq!(beats.admit(A, UnixMs(600_000)), Ok(()));
        assert_eq!(beats.admit(A, UnixMs(0)), Err(1));
        assert_eq!(beats.admit(A, UnixMs(1_000)), Ok(()));
    }

    #[test]
    fn a_store_that_fills_asks_players_to_slow_down_long_before_it_is_full() {
        let asked: Vec<_> = [0, 50, 51, 75, 99, 100].map(|percent| asked_interval_ms(percent, 100)).into();
        assert_eq!(asked, [None, None, Some(30_600), Some(45_000), Some(59_400), Some(60_000)]);
        assert_eq!(asked_interval_ms(usize::MAX, usize::MAX), Some(60_000));
        assert_eq!(asked_interval_ms(1, 0), Some(60_000));
    }

    #[test]
    fn memory_is_bounded_by_forgetting_the_silent() {
        let mut beats = Beats::default();
        let account = |n: u32| Pseudonym(std::array::from_fn(|at| n.to_be_bytes().get(at).copied().unwrap_or(0)));
        let play = PlayId::v7(UnixMs(1), [0; 10]);
        for n in 0..30_000 {
            assert_eq!(beats.admit(account(n), UnixMs(1_000)), Ok(()), "nobody is refused for want of memory");
            beats.beat(account(n), play, 1, true, UnixMs(1_000));
        }
        assert_eq!(beats.accounts.len(), ACCOUNTS_MAX);
        beats.beat(account(40_000), play, 1, true, UnixMs(100_000));
        assert_eq!(beats.accounts.len(), 1, "the silent make room");
    }
}
