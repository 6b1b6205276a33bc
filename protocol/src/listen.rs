//! The listen rule: from the heartbeats of an account's plays to listens that count.
//!
//! A pure fold over the *set* of events: whatever order, duplication or path they arrived by, the same set gives the same listens.
//! It sees, for each `(play, sender, seq)`, what was heard (see [`Heard`]) and the earliest receipt, and for each play which parts of its track
//! are proven to have been fetched ([`crate::receipt`]). `docs/listen-rule.md` tells it with examples, which are its tests.
//!
//! 1. **Speed.** In `seq` order, a sender may be credited 1.05 times the time that passed between receipts, counted from the mint, plus
//!    2 s once. What an interval leaves unused stays available, since heartbeats kept while offline arrive together.
//! 2. **Played** is the length of the union of credited intervals: what is heard twice counts once.
//! 3. **One pair of ears.** Over every stretch of time, the plays of one account that lie within it may be credited 1.05 times its
//!    length, plus 2 s. Where plays compete, the later one loses.
//! 4. **Valid** at 30 s, or the whole of a shorter track, with two receipts at least 10 s apart (a third of what is needed, for a
//!    shorter track).
//! 5. **Corroborated** when what was credited and is proven to have been fetched would be enough by itself. That changes no other verdict; a
//!    deployment decides whether it wants to pay for what is [`Uncorroborated`].
//!
//! Every decision carries [`RULE_VERSION`], and a change of the rule is a new version.

use std::collections::BTreeMap;

mod heard;
mod room;

pub use heard::Heard;
use heard::{Stretch, stretches};
use room::{Span, room};

use serde::{Deserialize, Serialize};

use crate::{PlayId, UnixMs, receipt::Proven};

/// The version of this rule, stored with every listen. Version 2 added reports of a player's state, version 3 whether a listen is corroborated.
/// What was judged by an earlier version is judged alike, unless a deployment voids what is not corroborated.
pub const RULE_VERSION: u16 = 3;
/// A play counts from here, or from the whole of a shorter track.
pub const VALID_MS: u32 = 30_000;
/// Clocks and networks are forgiven this much, once.
const SLACK_MS: i64 = 2_000;
/// Receipts of a valid play spread over a third of what it needs.
const SPREAD_DIVISOR: i64 = 3;
/// A playhead and a segment's edge may differ this much: both are rounded, and a decoder has its delay.
const EDGE_MS: u32 = 100;

/// What is known of one play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayEvidence {
    /// The play; its timestamp is the mint.
    pub play: PlayId,
    /// The track's length.
    pub duration_ms: u32,
    /// Its events, in any order, one for each `(sender, seq)`.
    pub events: Vec<Heard>,
    /// The parts of the track whose segments were asked for, as receipts prove.
    pub proven: Proven,
}

/// What a play is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The play.
    pub play: PlayId,
    /// Credited media time.
    pub played_ms: u32,
    /// Whether it counts.
    pub state: ListenState,
    /// Whether enough of what is credited is proven to have been fetched.
    pub corroborated: bool,
}

/// What becomes of a listen that would be valid and is not corroborated: a deployment's policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uncorroborated {
    /// It counts like any other: stock players never send receipts.
    #[default]
    Count,
    /// It is void, until receipts arrive.
    Void,
}

/// Where a play stands until its period closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenState {
    /// Not valid yet, and may still become so.
    Open,
    /// Valid.
    Provisional,
    /// Over without having become valid; later evidence may still change that.
    Void(VoidReason),
}

/// Why a play does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoidReason {
    /// Too little was heard.
    TooShort,
    /// More was claimed than time allows.
    FasterThanTime,
    /// The account listened to an earlier play at that time.
    Overlapping,
    /// All receipts came at nearly the same instant.
    TooFewReceipts,
    /// Nobody is known to have fetched what was heard, and the deployment asks for that.
    Uncorroborated,
}

impl VoidReason {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::FasterThanTime => "faster_than_time",
            Self::Overlapping => "overlapping_plays",
            Self::TooFewReceipts => "too_few_receipts",
            Self::Uncorroborated => "uncorroborated",
        }
    }
}

/// Judges the plays of one account together. The answer is in the order of their ids, which is the order of their mints.
///
/// A caller may leave out plays whose receipts all lie outside the time of the plays it asks about: they cannot compete.
#[must_use]
pub fn fold(plays: &[PlayEvidence], uncorroborated: Uncorroborated) -> Vec<Listen> {
    let mut ordered: Vec<&PlayEvidence> = plays.iter().collect();
    ordered.sort_by_key(|evidence| evidence.play);
    let mut earlier: Vec<Span> = Vec::with_capacity(ordered.len());
    ordered
        .into_iter()
        .map(|evidence| {
            let solo = judge_alone(evidence);
            let room_ms = room(&earlier, solo.mint, solo.last_receipt);
            let played_ms = solo.played_ms.min(room_ms);
            earlier.push(Span { from: solo.mint, to: solo.last_receipt, credited_ms: played_ms });
            Listen {
                play: evidence.play,
                played_ms: u32::try_from(played_ms).unwrap_or(u32::MAX),
                state: solo.state(played_ms, uncorroborated),
                corroborated: solo.is_corroborated(played_ms),
            }
        })
        .collect()
}

/// What a play deserves when no other competes.
struct Solo {
    mint: UnixMs,
    last_receipt: UnixMs,
    spread_ms: i64,
    claimed_ms: i64,
    played_ms: i64,
    /// Of what was credited, what is proven to have been fetched.
    fetched_ms: i64,
    needed_ms: i64,
    ended: bool,
}

impl Solo {
    const fn is_corroborated(&self, played_ms: i64) -> bool {
        played_ms >= self.needed_ms && self.fetched_ms >= self.needed_ms
    }

    fn state(&self, played_ms: i64, uncorroborated: Uncorroborated) -> ListenState {
        let receipts_are_spread = self.spread_ms >= self.needed_ms / SPREAD_DIVISOR;
        let is_valid = played_ms >= self.needed_ms && receipts_are_spread;
        if is_valid && (uncorroborated == Uncorroborated::Count || self.is_corroborated(played_ms)) {
            return ListenState::Provisional;
        }
        if !self.ended {
            return ListenState::Open;
        }
        ListenState::Void(if is_valid {
            VoidReason::Uncorroborated
        } else if played_ms >= self.needed_ms {
            VoidReason::TooFewReceipts
        } else if self.played_ms >= self.needed_ms {
            VoidReason::Overlapping
        } else if self.claimed_ms >= self.needed_ms {
            VoidReason::FasterThanTime
        } else {
            VoidReason::TooShort
        })
    }
}

fn judge_alone(evidence: &PlayEvidence) -> Solo {
    let mint = evidence.play.minted_at();
    let mut by_sender: BTreeMap<&str, Vec<&Heard>> = BTreeMap::new();
    for heard in &evidence.events {
        by_sender.entry(&heard.sender).or_default().push(heard);
    }
    let (mut claimed, mut credited) = (Vec::with_capacity(evidence.events.len()), Vec::with_capacity(evidence.events.len()));
    for events in by_sender.values_mut() {
        events.sort_by_key(|heard| heard.seq);
        let claims = stretches(events, evidence.duration_ms);
        claimed.extend(claims.iter().map(|claim| (claim.from_ms, claim.to_ms)));
        credit_in_order(&claims, mint, &mut credited);
    }
    let receipts = evidence.events.iter().map(|heard| heard.received_at);
    let first_receipt = receipts.clone().min().unwrap_or(mint);
    let last_receipt = receipts.max().unwrap_or(mint).max(mint);
    let fetched_ms = fetched_ms(&credited, &evidence.proven);
    // Two senders of one play share its listener: together they cannot outrun the time either.
    let played_ms = union_ms(credited).min(speed_limit(last_receipt.since(mint)) + SLACK_MS);
    Solo {
        mint,
        last_receipt,
        spread_ms: last_receipt.since(first_receipt),
        claimed_ms: union_ms(claimed),
        played_ms,
        fetched_ms,
        needed_ms: i64::from(VALID_MS.min(evidence.duration_ms.max(1))),
        ended: evidence.events.iter().any(|heard| heard.kind.ends_play()),
    }
}

/// Rule 1: the stretches of one sender, each cut to what the time since the mint still allows.
fn credit_in_order(claims: &[Stretch], mint: UnixMs, credited: &mut Vec<(u32, u32)>) {
    let mut latest = mint;
    let mut allowance_ms = SLACK_MS;
    for claim in claims {
        let now = latest.max(claim.received_at);
        allowance_ms += speed_limit(now.since(latest));
        latest = now;
        let from = claim.from_ms;
        let length = i64::from(claim.to_ms.saturating_sub(from)).min(allowance_ms);
        allowance_ms -= length;
        if let Ok(length) = u32::try_from(length)
            && length > 0
        {
            credited.push((from, from + length));
        }
    }
}

/// Rule 5: how much of what was credited is proven to have been fetched.
fn fetched_ms(credited: &[(u32, u32)], proven: &Proven) -> i64 {
    if proven.is_empty() {
        return 0;
    }
    let fetched: Proven = proven.parts().map(|(from, to)| (from.saturating_sub(EDGE_MS), to.saturating_add(EDGE_MS))).collect();
    fetched.shared_ms(&credited.iter().copied().collect())
}

/// 1.05 times the time that passed.
const fn speed_limit(elapsed_ms: i64) -> i64 {
    elapsed_ms + elapsed_ms / 20
}

fn union_ms(mut intervals: Vec<(u32, u32)>) -> i64 {
    intervals.sort_unstable();
    let mut total = 0;
    let mut reached = 0;
    for (from, to) in intervals {
        total += i64::from(to.saturating_sub(from.max(reached)));
        reached = reached.max(to);
    }
    total
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::heartbeat::EventKind;

    const MINT: i64 = 1_795_556_280_000;

    fn play(n: u8, mint: i64, duration_ms: u32, events: &[(u32, EventKind, u32, u32, i64)]) -> PlayEvidence {
        let heard = |&(seq, kind, from_ms, to_ms, after_ms): &(u32, EventKind, u32, u32, i64)| Heard {
            sender: "s".to_owned(),
            seq,
            kind,
            from_ms,
            to_ms,
            clock: None,
            received_at: UnixMs(mint + after_ms),
        };
        let (play, events) = (PlayId::v7(UnixMs(mint), [n; 10]), events.iter().map(heard).collect());
        PlayEvidence { play, duration_ms, events, proven: Proven::default() }
    }

    fn fold(plays: &[PlayEvidence]) -> Vec<Listen> {
        super::fold(plays, Uncorroborated::Count)
    }

    fn verdict(evidence: PlayEvidence) -> (u32, ListenState) {
        let listen = fold(&[evidence])[0];
        (listen.played_ms, listen.state)
    }

    use EventKind::{End, Pause, Progress, Seek, Start, Stop};
    use ListenState::{Open, Provisional, Void};

    #[test]
    fn one_play_by_itself() {
        let table = [
            (
                "35 s heard in time",
                200_000,
                vec![
                    (0, Start, 0, 0, 100),
                    (1, Progress, 0, 15_000, 15_100),
                    (2, Progress, 15_000, 30_000, 30_100),
                    (3, Stop, 30_000, 35_000, 35_100),
                ],
                (35_000, Provisional),
            ),
            ("not over yet", 200_000, vec![(0, Start, 0, 0, 100), (1, Progress, 0, 15_000, 15_100)], (15_000, Open)),
            ("left after 15 s", 200_000, vec![(0, Start, 0, 0, 100), (1, Stop, 0, 15_000, 15_100)], (15_000, Void(VoidReason::TooShort))),
            (
                "30 s claimed after 5 s",
                200_000,
                vec![(0, Start, 0, 0, 100), (1, Stop, 0, 30_000, 5_000)],
                (7_250, Void(VoidReason::FasterThanTime)),
            ),
            (
                "30 s claimed after 5 s, then silence",
                200_000,
                vec![(0, Start, 0, 0, 100), (1, Progress, 0, 30_000, 5_000), (2, Stop, 30_000, 30_000, 60_000)],
                (7_250, Void(VoidReason::FasterThanTime)),
            ),
            (
                "the same 15 s twice",
                200_000,
                vec![(0, Progress, 0, 15_000, 15_000), (1, Seek, 0, 15_000, 30_000), (2, Stop, 15_000, 15_000, 31_000)],
                (15_000, Void(VoidReason::TooShort)),
            ),
            (
                "kept offline, sent together, then one more",
                200_000,
                vec![(0, Progress, 0, 15_000, 40_000), (1, Progress, 15_000, 30_000, 40_000), (2, Pause, 30_000, 40_000, 51_000)],
                (40_000, Provisional),
            ),
            (
                "all at one instant",
                200_000,
                vec![(0, Progress, 0, 30_000, 40_000), (1, Stop, 30_000, 40_000, 40_000)],
                (40_000, Void(VoidReason::TooFewReceipts)),
            ),
            ("a whole short track", 9_000, vec![(0, Start, 0, 0, 0), (1, End, 0, 9_000, 9_000)], (9_000, Provisional)),
            ("beyond the end", 9_000, vec![(0, Start, 0, 0, 0), (1, End, 0, 11_000, 11_000)], (9_000, Provisional)),
        ];
        for (name, duration_ms, events, expected) in table {
            assert_eq!(verdict(play(1, MINT, duration_ms, &events)), expected, "{name}");
        }
    }

    #[test]
    fn receipts_corroborate_what_was_heard_of_their_segments_and_change_nothing_else() {
        let heard = [(0, Start, 0, 0, 100), (1, Progress, 0, 15_000, 15_100), (2, Stop, 15_000, 35_000, 35_100)];
        type Case<'a> = (&'a str, &'a [(u32, u32)], bool);
        let table: [Case; 9] = [
            ("no receipt", &[], false),
            ("every segment", &[(0, 2_000), (2_000, 8_000), (8_000, 36_000)], true),
            ("just enough", &[(4_900, 35_000)], true),
            ("a millisecond less", &[(5_101, 35_000)], false),
            ("within the tolerance of both edges", &[(2_000, 31_800)], true),
            ("beyond the tolerance", &[(2_000, 31_799)], false),
            ("segments that were not heard", &[(100_000, 200_000)], false),
            ("a hole in the middle", &[(0, 14_000), (21_000, 36_000)], false),
            ("a hole that leaves enough", &[(0, 14_000), (18_000, 36_000)], true),
        ];
        for (name, proven, corroborated) in table {
            let evidence = PlayEvidence { proven: proven.iter().copied().collect(), ..play(1, MINT, 200_000, &heard) };
            let listen = fold(std::slice::from_ref(&evidence))[0];
            assert_eq!((listen.played_ms, listen.state, listen.corroborated), (35_000, Provisional, corroborated), "{name}");
            let strict = super::fold(&[evidence], Uncorroborated::Void)[0];
            let expected = if corroborated { Provisional } else { Void(VoidReason::Uncorroborated) };
            assert_eq!((strict.played_ms, strict.state, strict.corroborated), (35_000, expected, corroborated), "{name}");
        }
    }

    #[test]
    fn a_thousand_parallel_plays_are_one_listen() {
        let events = [(0, Start, 0, 0, 100), (1, Progress, 0, 30_000, 31_000), (2, Stop, 30_000, 35_000, 36_000)];
        let plays: Vec<_> = (0..200u8).map(|n| play(n, MINT, 200_000, &events)).collect();
        let valid = fold(&plays).into_iter().filter(|listen| listen.state == Provisional).count();
        assert_eq!(valid, 1);
    }

    #[test]
    fn tracks_heard_one_after_another_all_count_even_when_reported_late() {
        let heard = |late: i64| [(0, Start, 0, 0, 0), (1, Progress, 0, 30_000, 31_000), (2, End, 30_000, 60_000, late)];
        let plays = [
            play(1, MINT, 60_000, &heard(200_000)),
            play(2, MINT + 55_000, 60_000, &heard(145_000)),
            play(3, MINT + 115_000, 60_000, &heard(90_000)),
        ];
        assert!(fold(&plays).iter().all(|listen| listen.state == Provisional), "{:?}", fold(&plays));
    }

    fn any_events() -> impl Strategy<Value = Vec<(u32, EventKind, u32, u32, i64)>> {
        let kind = prop::sample::select(vec![Start, Progress, Pause, Seek, Stop, End]);
        prop::collection::vec((kind, 0u32..200_000, 0u32..40_000, 0i64..250_000), 0..12).prop_map(|events| {
            events.into_iter().zip(0u32..).map(|((kind, from, length, at), seq)| (seq, kind, from, from + length, at)).collect()
        })
    }

    #[test]
    fn thousands_of_parallel_plays_are_judged_in_a_moment() {
        let events = [(0, Start, 0, 0, 100), (1, Progress, 0, 1, 3_600_000), (2, Stop, 1, 2, 3_600_001)];
        let plays: Vec<_> = (0..3_000u16).map(|n| play((n % 251) as u8, MINT + i64::from(n), 200_000, &events)).collect();
        assert_eq!(fold(&plays).len(), 3_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn order_does_not_matter_and_time_is_never_outrun(
            events in prop::collection::vec((any_events(), 0i64..100_000), 1..4),
            shuffle in any::<prop::sample::Index>(),
        ) {
            let plays: Vec<_> = events.iter().zip(0u8..).map(|((events, offset), n)| play(n, MINT + offset, 200_000, events)).collect();
            let listens = fold(&plays);
            let mut other = plays.clone();
            let turn = shuffle.index(other.len());
            other.rotate_left(turn);
            for evidence in &mut other {
                evidence.events.reverse();
            }
            prop_assert_eq!(&fold(&other), &listens);
            let last = plays.iter().flat_map(|evidence| &evidence.events).map(|heard| heard.received_at.0).max().unwrap_or(MINT).max(MINT);
            let first = plays.iter().map(|evidence| evidence.play.minted_at().0).min().unwrap_or(MINT);
            let total: i64 = listens.iter().map(|listen| i64::from(listen.played_ms)).sum();
            prop_assert!(total <= speed_limit((last - first).max(0)) + SLACK_MS);
        }
    }
}
