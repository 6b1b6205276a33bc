//! The listen rule against a second model of it, and against every way in which the same events and receipts can arrive.
//!
//! The model (`mod model`) is written from docs/listen-rule.md and shares no code with `protocol::listen`: it marks each heard millisecond in a bitmap,
//! looks back for what a stock player said before, tries every stretch of time, and is as slow as that sounds. 10,000 cases by default;
//! `ANTIPHON_LISTEN_CASES=100000 cargo test -p protocol --release --test listen_model` for more.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod model;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use protocol::{
    PlayId, UnixMs,
    heartbeat::{
        Clock,
        EventKind::{self, End, Pause, Progress, Resume, Seek, Start, Stop},
    },
    listen::{Heard, ListenState, PlayEvidence, Uncorroborated, VoidReason, fold},
};

const MINT: i64 = 1_795_556_280_000;
const DURATIONS_MS: [u32; 4] = [5_000, 29_000, 40_000, 61_000];

/// One delivery: what a collector sees, as often and in whatever order it comes.
#[derive(Debug, Clone)]
enum Delivery {
    Event(usize, Heard),
    /// A receipt for a segment that is heard from the one to the other.
    Fetched(usize, u32, u32),
}

/// A play as it is made up: its mint after [`MINT`], its length, and its deliveries, some of them of the same event.
type MadeUp = (i64, u32, Vec<Delivery>);

/// What an event says: an interval, a player's state by its own clock, or nothing of either.
#[derive(Debug, Clone, Copy)]
enum Says {
    Heard(u32, u32),
    /// `(after the last report, playing, position)`
    Does(i64, bool, Option<u32>),
    Nothing,
}

/// What one kind of player says: ours, a stock one, or one that says anything.
type Manner = fn() -> BoxedStrategy<Says>;

fn intervals() -> BoxedStrategy<Says> {
    (0u32..60_000, 0u32..25_000).prop_map(|(from, length)| Says::Heard(from, from + length)).boxed()
}

fn reports() -> BoxedStrategy<Says> {
    let position = prop::option::weighted(0.3, 0u32..70_000);
    (-3_000i64..25_000, prop::bool::weighted(0.8), position)
        .prop_map(|(after, playing, position)| Says::Does(after, playing, position))
        .boxed()
}

fn anything() -> BoxedStrategy<Says> {
    let wild =
        (any::<i64>(), any::<bool>(), any::<Option<u32>>()).prop_map(|(after, playing, position)| Says::Does(after, playing, position));
    prop_oneof![4 => intervals(), 4 => reports(), 1 => wild, 1 => Just(Says::Nothing)].boxed()
}

/// Kind, sender, whether a number is left out before it, what it says, and when each copy of it is received.
type DrawnEvent = (EventKind, bool, bool, Says, Vec<i64>);
/// Mint, duration, events and segments fetched.
type Drawn = (i64, u32, Vec<DrawnEvent>, Vec<(u32, u32)>);

fn plays() -> impl Strategy<Value = Vec<MadeUp>> {
    let play = prop::sample::select(vec![intervals as Manner, reports, anything]).prop_flat_map(|manner| {
        let kind = prop::sample::select(vec![Start, Progress, Progress, Progress, Pause, Resume, Seek, Stop, End]);
        let event = (kind, any::<bool>(), prop::bool::weighted(0.1), manner(), prop::collection::vec(0i64..90_000, 1..4));
        let fetched = prop::collection::vec((0u32..60_000, 1u32..20_000), 0..6);
        (0i64..60_000, prop::sample::select(DURATIONS_MS.to_vec()), prop::collection::vec(event, 0..10), fetched)
    });
    prop::collection::vec(play, 1..5).prop_map(|plays| {
        let of = |(play, (mint, duration, events, fetched)): (usize, Drawn)| {
            let mut deliveries: Vec<Delivery> =
                fetched.into_iter().map(|(from, length)| Delivery::Fetched(play, from, from + length)).collect();
            let mut senders = BTreeMap::from([("desk", (0, 0)), ("phone", (0, 0))]);
            for (kind, second, gap, says, times) in events {
                let sender = if second { "phone" } else { "desk" };
                let (next, now) = senders.get_mut(sender).unwrap();
                let seq = *next + u32::from(gap);
                *next = seq + 1;
                for after in times {
                    let received_at = UnixMs(MINT + mint + after);
                    deliveries.push(Delivery::Event(play, heard(sender, seq, kind, says, *now, received_at)));
                }
                if let Says::Does(after, ..) = says {
                    *now = now.saturating_add(after);
                }
            }
            (mint, duration, deliveries)
        };
        plays.into_iter().enumerate().map(of).collect()
    })
}

fn heard(sender: &str, seq: u32, kind: EventKind, says: Says, before_ms: i64, received_at: UnixMs) -> Heard {
    let (from_ms, to_ms) = if let Says::Heard(from, to) = says { (from, to) } else { (0, 0) };
    let clock = match says {
        Says::Does(after, playing, position_ms) => Some(Clock { at_ms: before_ms.saturating_add(after), playing, position_ms }),
        Says::Heard(..) | Says::Nothing => None,
    };
    Heard { sender: sender.to_owned(), seq, kind, from_ms, to_ms, clock, received_at }
}

/// What a collector keeps of deliveries in the order they come: of each event the earliest receipt, and which parts are known to be fetched.
fn collected(plays: &[MadeUp], order: &[Delivery]) -> Vec<PlayEvidence> {
    let mut kept: BTreeMap<(usize, String, u32), Heard> = BTreeMap::new();
    for delivery in order {
        let Delivery::Event(play, heard) = delivery else { continue };
        let known = kept.entry((*play, heard.sender.clone(), heard.seq)).or_insert_with(|| heard.clone());
        known.received_at = known.received_at.min(heard.received_at);
    }
    let evidence = plays.iter().enumerate().map(|(play, (mint, duration_ms, _))| PlayEvidence {
        play: PlayId::v7(UnixMs(MINT + mint), [u8::try_from(play).unwrap(); 10]),
        duration_ms: *duration_ms,
        events: kept.iter().filter(|((of, ..), _)| *of == play).map(|(_, heard)| heard.clone()).collect(),
        proven: order.iter().filter_map(|delivery| fetched_in(play, delivery)).collect(),
    });
    evidence.collect()
}

fn fetched_in(play: usize, delivery: &Delivery) -> Option<(u32, u32)> {
    match delivery {
        Delivery::Fetched(of, from, to) if *of == play => Some((*from, *to)),
        Delivery::Fetched(..) | Delivery::Event(..) => None,
    }
}

/// The evidence as the model is told it.
fn told(evidence: &PlayEvidence) -> model::Play {
    let events = evidence.events.iter().map(|heard| {
        let report = heard.clock.map(|clock| (clock.at_ms, clock.playing, clock.position_ms.map(i64::from)));
        let event = model::Event {
            ends: matches!(heard.kind, Stop | End),
            interval: (heard.from_ms.into(), heard.to_ms.into()),
            report,
            receipt: heard.received_at.0 - MINT,
        };
        ((heard.sender.clone(), heard.seq), event)
    });
    model::Play {
        mint: evidence.play.minted_at().0 - MINT,
        duration: evidence.duration_ms.into(),
        events: events.collect(),
        fetched: evidence.proven.parts().map(|(from, to)| (from.into(), to.into())).collect(),
    }
}

fn cases() -> u32 {
    std::env::var("ANTIPHON_LISTEN_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(10_000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn any_order_repetition_and_path_gives_the_listens_of_the_model(
        (plays, order) in plays().prop_flat_map(|plays| {
            let all: Vec<Delivery> = plays.iter().flat_map(|play| play.2.clone()).collect();
            (Just(plays), Just(all).prop_shuffle())
        }),
        strict in any::<bool>(),
    ) {
        let policy = if strict { Uncorroborated::Void } else { Uncorroborated::Count };
        let straight: Vec<Delivery> = plays.iter().flat_map(|play| play.2.clone()).collect();
        let judged = fold(&collected(&plays, &straight), policy);
        let mut shuffled = collected(&plays, &order);
        shuffled.reverse();
        shuffled.iter_mut().for_each(|play| play.events.reverse());
        prop_assert_eq!(&fold(&shuffled, policy), &judged);

        // Plays of one mint are told apart by their ids, which the model does not have.
        let mints: BTreeSet<i64> = plays.iter().map(|play| play.0).collect();
        prop_assume!(mints.len() == plays.len());
        let expected = model::judge(collected(&plays, &order).iter().map(told).collect(), strict);
        let judged: Vec<_> = judged.iter().map(|listen| (i64::from(listen.played_ms), listen.state, listen.corroborated)).collect();
        prop_assert_eq!(judged, expected);
    }
}

/// The cases above would prove little if they all ended alike.
#[test]
fn every_verdict_occurs_among_the_cases() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut verdicts = BTreeMap::<String, u32>::new();
    for _ in 0..4_000 {
        let plays = plays().new_tree(&mut runner).unwrap().current();
        let all: Vec<Delivery> = plays.iter().flat_map(|play| play.2.clone()).collect();
        for (evidence, listen) in collected(&plays, &all).iter().zip(fold(&collected(&plays, &all), Uncorroborated::Void)) {
            let by_reports = evidence.events.iter().any(|heard| heard.clock.is_some());
            *verdicts.entry(format!("{:?} by reports: {by_reports}", listen.state)).or_default() += 1;
        }
    }
    println!("{verdicts:#?}");
    let among = |state: ListenState, by_reports: bool| verdicts.contains_key(&format!("{state:?} by reports: {by_reports}"));
    use VoidReason::{FasterThanTime, Overlapping, TooFewReceipts, TooShort, Uncorroborated as NotFetched};
    for state in
        [ListenState::Open, ListenState::Provisional].into_iter().chain([FasterThanTime, TooShort, NotFetched].map(ListenState::Void))
    {
        assert!(among(state, false) && among(state, true), "no case is {state:?}");
    }
    for state in [Overlapping, TooFewReceipts].map(ListenState::Void) {
        assert!(among(state, false) || among(state, true), "no case is {state:?}");
    }
}
