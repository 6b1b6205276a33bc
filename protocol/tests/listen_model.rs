//! The listen rule against a second model of it, and against every way in which the same events can arrive.
//!
//! The model is written from docs/listen-rule.md and shares no code with `protocol::listen`: it marks each heard millisecond in a bitmap,
//! tries every stretch of time, and is as slow as that sounds. 10,000 cases by default; `ANTIPHON_LISTEN_CASES=100000 cargo test -p protocol
//! --release --test listen_model` for more.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use protocol::{
    PlayId, UnixMs,
    heartbeat::EventKind::{self, End, Pause, Progress, Resume, Seek, Start, Stop},
    listen::{Heard, ListenState, PlayEvidence, VoidReason, fold},
};

const MINT: i64 = 1_795_556_280_000;

/// One delivery of one event: what a collector sees, as often and in whatever order it comes.
#[derive(Debug, Clone)]
struct Delivery {
    play: usize,
    heard: Heard,
}

mod model {
    //! The rule, told again. Times are ms since the first possible mint.

    use super::*;

    pub(super) struct Play {
        pub(super) mint: i64,
        pub(super) duration: i64,
        /// `(sender, seq)` to `(kind, from, to, earliest receipt)`.
        pub(super) events: BTreeMap<(String, u32), (EventKind, i64, i64, i64)>,
    }

    fn budget(elapsed: i64) -> i64 {
        elapsed + elapsed / 20
    }

    fn marked(bitmap: &[bool]) -> i64 {
        bitmap.iter().filter(|heard| **heard).count() as i64
    }

    fn mark(bitmap: &mut [bool], from: i64, to: i64) {
        let to = to.max(from);
        bitmap[from as usize..to as usize].fill(true);
    }

    /// `(credited alone, claimed)`.
    fn heard_alone(play: &Play) -> (i64, i64) {
        let blank = vec![false; play.duration as usize];
        let (mut credited, mut claimed) = (blank.clone(), blank);
        let mut left: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for ((sender, _), (_, from, to, receipt)) in &play.events {
            let (from, to) = ((*from).min(play.duration), (*to).min(play.duration));
            mark(&mut claimed, from, to);
            let (seen, rest) = left.entry(sender).or_insert((play.mint, 2_000));
            *rest += budget((*receipt - *seen).max(0));
            *seen = (*seen).max(*receipt);
            let length = (to - from).max(0).min(*rest);
            *rest -= length;
            mark(&mut credited, from, from + length);
        }
        (marked(&credited), marked(&claimed))
    }

    pub(super) fn judge(mut plays: Vec<Play>) -> Vec<(i64, ListenState)> {
        plays.sort_by_key(|play| play.mint);
        let mut before: Vec<(i64, i64, i64)> = Vec::new();
        let mut verdicts = Vec::new();
        for play in &plays {
            let receipts: Vec<i64> = play.events.values().map(|event| event.3).collect();
            let last = receipts.iter().copied().max().unwrap_or(play.mint).max(play.mint);
            let first = receipts.iter().copied().min().unwrap_or(play.mint);
            let (alone, claimed) = heard_alone(play);
            let alone = alone.min(budget(last - play.mint) + 2_000);
            // Every stretch of time that holds this play.
            let mut room = i64::MAX;
            for start in before.iter().map(|other| other.0).chain([play.mint]).filter(|start| *start <= play.mint) {
                for end in before.iter().map(|other| other.1).chain([last]).filter(|end| *end >= last) {
                    let taken: i64 = before.iter().filter(|other| other.0 >= start && other.1 <= end).map(|other| other.2).sum();
                    room = room.min(budget(end - start) + 2_000 - taken);
                }
            }
            let played = alone.min(room.max(0));
            before.push((play.mint, last, played));
            let needed = play.duration.clamp(1, 30_000);
            let over = play.events.values().any(|event| matches!(event.0, Stop | End));
            let state = if played >= needed && last.max(first) - first >= needed / 3 {
                ListenState::Provisional
            } else if !over {
                ListenState::Open
            } else if played >= needed {
                ListenState::Void(VoidReason::TooFewReceipts)
            } else if alone >= needed {
                ListenState::Void(VoidReason::Overlapping)
            } else if claimed >= needed {
                ListenState::Void(VoidReason::FasterThanTime)
            } else {
                ListenState::Void(VoidReason::TooShort)
            };
            verdicts.push((played, state));
        }
        verdicts
    }
}

/// A play as it is made up: its mint after [`MINT`], its length, and its deliveries, some of them of the same event.
type MadeUp = (i64, u32, Vec<Delivery>);

fn deliveries() -> impl Strategy<Value = Vec<MadeUp>> {
    let kind = prop::sample::select(vec![Start, Progress, Progress, Progress, Pause, Resume, Seek, Stop, End]);
    let times = prop::collection::vec(0i64..90_000, 1..4);
    let event = (kind, any::<bool>(), 0u32..60_000, 0u32..25_000, times);
    let play = (0i64..60_000, prop::sample::select(vec![5_000u32, 29_000, 40_000, 61_000]), prop::collection::vec(event, 0..10));
    prop::collection::vec(play, 1..5).prop_map(|plays| {
        plays
            .into_iter()
            .enumerate()
            .map(|(play, (mint, duration, events))| {
                let of = |(seq, (kind, second, from, length, times)): (u32, (EventKind, bool, u32, u32, Vec<i64>))| {
                    let sender = if second { "phone" } else { "desk" };
                    times.into_iter().map(move |after| Delivery {
                        play,
                        heard: Heard {
                            sender: sender.to_owned(),
                            seq,
                            kind,
                            from_ms: from,
                            to_ms: from + length,
                            clock: None,
                            received_at: UnixMs(MINT + mint + after),
                        },
                    })
                };
                (mint, duration, (0u32..).zip(events).flat_map(of).collect())
            })
            .collect()
    })
}

/// What a collector keeps of deliveries in the order they come: of each event the earliest receipt.
fn collected(plays: &[MadeUp], order: &[Delivery]) -> Vec<PlayEvidence> {
    let mut kept: BTreeMap<(usize, String, u32), Heard> = BTreeMap::new();
    for Delivery { play, heard } in order {
        let name = (*play, heard.sender.clone(), heard.seq);
        let known = kept.entry(name).or_insert_with(|| heard.clone());
        known.received_at = known.received_at.min(heard.received_at);
    }
    let evidence = plays.iter().enumerate().map(|(play, (mint, duration_ms, _))| PlayEvidence {
        play: PlayId::v7(UnixMs(MINT + mint), [u8::try_from(play).unwrap(); 10]),
        duration_ms: *duration_ms,
        events: kept.iter().filter(|((of, ..), _)| *of == play).map(|(_, heard)| heard.clone()).collect(),
    });
    evidence.collect()
}

fn cases() -> u32 {
    std::env::var("ANTIPHON_LISTEN_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(10_000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn any_order_repetition_and_path_gives_the_listens_of_the_model(
        (plays, order) in deliveries().prop_flat_map(|plays| {
            let all: Vec<Delivery> = plays.iter().flat_map(|play| play.2.clone()).collect();
            (Just(plays), Just(all).prop_shuffle())
        }),
    ) {
        let straight: Vec<Delivery> = plays.iter().flat_map(|play| play.2.clone()).collect();
        let judged = fold(&collected(&plays, &straight));
        let mut shuffled = collected(&plays, &order);
        shuffled.reverse();
        shuffled.iter_mut().for_each(|play| play.events.reverse());
        prop_assert_eq!(&fold(&shuffled), &judged);

        // Plays of one mint are told apart by their ids, which the model does not have.
        let mut mints: Vec<i64> = plays.iter().map(|play| play.0).collect();
        mints.sort_unstable();
        mints.dedup();
        prop_assume!(mints.len() == plays.len());
        let told = collected(&plays, &order).into_iter().map(|evidence| model::Play {
            mint: evidence.play.minted_at().0 - MINT,
            duration: evidence.duration_ms.into(),
            events: evidence.events.into_iter().map(|heard| {
                let receipt = heard.received_at.0 - MINT;
                ((heard.sender, heard.seq), (heard.kind, heard.from_ms.into(), heard.to_ms.into(), receipt))
            }).collect(),
        });
        let expected: Vec<(i64, ListenState)> = model::judge(told.collect());
        let judged: Vec<(i64, ListenState)> = judged.iter().map(|listen| (i64::from(listen.played_ms), listen.state)).collect();
        prop_assert_eq!(judged, expected);
    }
}
