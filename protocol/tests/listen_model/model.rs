//! The listen rule, told again from docs/listen-rule.md. Times are ms since the first possible mint.

use std::collections::BTreeMap;

use protocol::listen::{ListenState, VoidReason};

/// How far the edge of a segment and a playhead may be apart.
const TOLERANCE: i64 = 100;

pub(super) struct Event {
    /// Whether nothing was to follow.
    pub(super) ends: bool,
    pub(super) interval: (i64, i64),
    /// `(the player's clock, whether it plays, where)`
    pub(super) report: Option<(i64, bool, Option<i64>)>,
    /// The earliest.
    pub(super) receipt: i64,
}

pub(super) struct Play {
    pub(super) mint: i64,
    pub(super) duration: i64,
    /// By sender and number.
    pub(super) events: BTreeMap<(String, u32), Event>,
    /// What is proven to have been fetched.
    pub(super) fetched: Vec<(i64, i64)>,
}

/// What a play deserves by itself.
struct Alone {
    credited: i64,
    claimed: i64,
    /// Credited and proven to have been fetched.
    proven: i64,
}

fn budget(elapsed: i64) -> i64 {
    elapsed + elapsed / 20
}

fn count(bitmap: &[bool]) -> i64 {
    bitmap.iter().filter(|marked| **marked).count() as i64
}

/// Marks what of the stretch lies within the track.
fn mark(bitmap: &mut [bool], (from, to): (i64, i64)) {
    let inside = |at: i64| usize::try_from(at.max(0)).unwrap_or(usize::MAX).min(bitmap.len());
    let (from, to) = (inside(from), inside(to));
    bitmap[from.min(to)..to].fill(true);
}

impl Play {
    /// What the sender last said of itself before its event `seq`, if no number is missing since.
    fn said_before(&self, sender: &str, seq: u32) -> Option<(i64, bool, Option<i64>)> {
        let earlier = (0..seq).rev().map_while(|seq| self.events.get(&(sender.to_owned(), seq)));
        earlier.into_iter().find_map(|event| event.report)
    }

    fn alone(&self, last: i64) -> Alone {
        let blank = vec![false; self.duration as usize];
        let (mut credited, mut claimed, mut fetched) = (blank.clone(), blank.clone(), blank);
        // Of each sender: its latest receipt, what it may still be credited, and where its playing has got to.
        let mut senders: BTreeMap<&str, (i64, i64, i64)> = BTreeMap::new();
        for ((sender, seq), event) in &self.events {
            let (seen, rest, reached) = senders.entry(sender).or_insert((self.mint, 2_000, 0));
            let stretch = match (event.report, self.said_before(sender, *seq)) {
                (None, _) => event.interval,
                (Some((now, ..)), Some((then, true, position))) => {
                    let from = position.unwrap_or(*reached);
                    let to = from.saturating_add(now.saturating_sub(then).max(0));
                    *reached = to.min(self.duration);
                    (from, to)
                }
                // It did not play, or nobody knows.
                (Some(_), _) => continue,
            };
            mark(&mut claimed, stretch);
            *rest += budget((event.receipt - *seen).max(0));
            *seen = (*seen).max(event.receipt);
            let (from, to) = (stretch.0.min(self.duration), stretch.1.min(self.duration));
            let length = (to - from).min(*rest);
            *rest -= length;
            mark(&mut credited, (from, from + length));
        }
        self.fetched.iter().for_each(|(from, to)| mark(&mut fetched, (from - TOLERANCE, to + TOLERANCE)));
        fetched.iter_mut().zip(&credited).for_each(|(fetched, credited)| *fetched &= credited);
        Alone { credited: count(&credited).min(budget(last - self.mint) + 2_000), claimed: count(&claimed), proven: count(&fetched) }
    }
}

/// Played time, state and whether it is corroborated, in the order of the mints. Under `strict`, what is not corroborated is void.
pub(super) fn judge(mut plays: Vec<Play>, strict: bool) -> Vec<(i64, ListenState, bool)> {
    plays.sort_by_key(|play| play.mint);
    let mut before: Vec<(i64, i64, i64)> = Vec::new();
    let mut verdicts = Vec::new();
    for play in &plays {
        let receipts = || play.events.values().map(|event| event.receipt);
        let last = receipts().max().unwrap_or(play.mint).max(play.mint);
        let first = receipts().min().unwrap_or(play.mint);
        let alone = play.alone(last);
        // Every stretch of time that holds this play.
        let mut room = i64::MAX;
        for start in before.iter().map(|other| other.0).chain([play.mint]).filter(|start| *start <= play.mint) {
            for end in before.iter().map(|other| other.1).chain([last]).filter(|end| *end >= last) {
                let taken: i64 = before.iter().filter(|other| other.0 >= start && other.1 <= end).map(|other| other.2).sum();
                room = room.min(budget(end - start) + 2_000 - taken);
            }
        }
        let played = alone.credited.min(room.max(0));
        before.push((play.mint, last, played));

        let needed = play.duration.clamp(1, 30_000);
        let spread = last.max(first) - first >= needed / 3;
        let corroborated = played >= needed && alone.proven >= needed;
        let reason = if played >= needed && spread && (corroborated || !strict) {
            None
        } else if played >= needed && spread {
            Some(VoidReason::Uncorroborated)
        } else if played >= needed {
            Some(VoidReason::TooFewReceipts)
        } else if alone.credited >= needed {
            Some(VoidReason::Overlapping)
        } else if alone.claimed >= needed {
            Some(VoidReason::FasterThanTime)
        } else {
            Some(VoidReason::TooShort)
        };
        let over = play.events.values().any(|event| event.ends);
        let state = match reason {
            None => ListenState::Provisional,
            Some(_) if !over => ListenState::Open,
            Some(reason) => ListenState::Void(reason),
        };
        verdicts.push((played, state, corroborated));
    }
    verdicts
}
