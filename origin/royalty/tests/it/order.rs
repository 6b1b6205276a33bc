//! Order-freedom through PostgreSQL: made-up events and receipts, delivered by buffers at the edge and by the gateway, in any order, several
//! times, split into any batches and folded in between, give the listens of the reference model, which is written apart from the rule.
//!
//! 200 sets by default; `ANTIPHON_ORDER_SETS=5000` for more. A failure names its seed.

#[path = "../../../../protocol/tests/listen_model/model.rs"]
mod model;

use std::collections::BTreeMap;

use protocol::{
    MediaVersion, Plan, PlayId, RungSet, UnixMs,
    heartbeat::{Batch, Clock, Event, EventKind, StoredPost},
    listen::ListenState,
    receipt::{Proven, Segment},
    token::{self, Claims, Purpose},
};

use crate::{
    heartbeats::Dice,
    scene::{NOW, Scene, scene, track},
};

const SENDERS: [&str; 2] = ["desk", "phone"];
/// Sets that are delivered at the same time, as accounts are.
const TOGETHER: u64 = 4;

/// One delivery of one post: what is in it, and when it was received after the set's first possible mint.
#[derive(Clone)]
struct Post {
    play: usize,
    sender: &'static str,
    event: Option<Event>,
    segment: Option<Segment>,
    received_ms: i64,
}

struct Set {
    seed: u64,
    /// The first possible mint.
    origin: UnixMs,
    /// Of each play: its mint after `origin`, and its length.
    plays: Vec<(i64, u32)>,
    deliveries: Vec<Post>,
}

impl Set {
    fn made_up(seed: u64) -> Self {
        use EventKind::{End, Pause, Progress, Resume, Seek, Start, Stop};
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let upto = |dice: &mut Dice, below: u32| u32::try_from(dice.roll(below as usize)).unwrap();
        // Days apart, and sometimes across a midnight.
        let origin = NOW.plus_ms(-i64::try_from(seed % 5 + 1).unwrap() * 86_400_000 + i64::from(upto(&mut dice, 12_000_000)));
        let mut set = Self { seed, origin, plays: Vec::new(), deliveries: Vec::new() };
        let mut mint = 0;
        for play in 0..1 + dice.roll(4) {
            mint += i64::from(1 + upto(&mut dice, 25_000));
            let duration = [5_000, 29_000, 40_000, 61_000][dice.roll(4)];
            set.plays.push((mint, duration));
            let mut next = [(0u32, 1_000_000_000_000i64); 2];
            for _ in 0..dice.roll(10) {
                let who = dice.roll(2);
                let (seq, clock) = next[who];
                let seq = seq + u32::from(dice.roll(10) == 0);
                let kind = [Start, Progress, Progress, Progress, Pause, Resume, Seek, Stop, End][dice.roll(9)];
                let mut event = Event { seq, kind, from_ms: 0, to_ms: 0, muted: false, background: dice.roll(2) == 0, clock: None };
                let mut now = clock;
                if dice.roll(2) == 0 {
                    event.from_ms = upto(&mut dice, duration);
                    event.to_ms = (event.from_ms + upto(&mut dice, 25_000)).min(duration + 2_000);
                } else {
                    now += i64::from(upto(&mut dice, 28_000)) - 3_000;
                    let position_ms = (dice.roll(3) == 0).then(|| upto(&mut dice, 70_000));
                    event.clock = Some(Clock { at_ms: now, playing: dice.roll(5) > 0, position_ms });
                }
                next[who] = (seq + 1, now);
                for _ in 0..1 + dice.roll(3) {
                    let received_ms = mint + i64::from(upto(&mut dice, 90_000));
                    let segment = (dice.roll(3) == 0).then(|| segment(upto(&mut dice, 10)));
                    set.deliveries.push(Post { play, sender: SENDERS[who], event: Some(event.clone()), segment, received_ms });
                }
            }
            for _ in 0..dice.roll(4) {
                let received_ms = mint + i64::from(upto(&mut dice, 90_000));
                set.deliveries.push(Post {
                    play,
                    sender: SENDERS[0],
                    event: None,
                    segment: Some(segment(upto(&mut dice, 10))),
                    received_ms,
                });
            }
        }
        dice.shuffle(&mut set.deliveries);
        set
    }

    fn account(&self) -> protocol::AccountId {
        let [.., a, b] = self.seed.to_be_bytes();
        protocol::AccountId::v7(NOW, [a, b, 0, 0, 0, 0, 0, 0, 0, 1])
    }

    fn play(&self, n: usize) -> PlayId {
        let [.., a, b] = self.seed.to_be_bytes();
        PlayId::v7(self.origin.plus_ms(self.plays[n].0), [a, b, u8::try_from(n).unwrap(), 7, 7, 7, 7, 7, 7, 7])
    }

    fn tickets(&self, scene: &Scene) -> Vec<String> {
        let ticket = |n: usize| {
            let play = self.play(n);
            let claims = Claims {
                purpose: Purpose::Event,
                plan: Plan::Premium,
                rungs: RungSet::of(&[]),
                territory: "DE".parse().unwrap(),
                buffer: 3,
                expires_at: play.minted_at().plus_ms(56 * 3_600_000),
                duration_ms: self.plays[n].1,
                play,
                track: track(u8::try_from(n).unwrap()),
                version: MediaVersion([9; 16]),
                pseudonym: scene.keys.token.pseudonym(self.account()),
            };
            token::mint(&scene.keys.token, &claims, play.minted_at()).unwrap()
        };
        (0..self.plays.len()).map(ticket).collect()
    }

    /// Delivers everything: some posts by the gateway, one a batch, the others by two buffers in frozen batches, some of which are sent twice.
    async fn deliver(&self, scene: &Scene) {
        let mut dice = Dice(self.seed | 0x5eed_0000_0000);
        let tickets = self.tickets(scene);
        let mut posts: Vec<StoredPost> = self.deliveries.iter().map(|post| self.stored(scene, &tickets, post)).collect();
        let mut number = 0;
        let mut again: Vec<Batch> = Vec::new();
        while !posts.is_empty() {
            let by_gateway = dice.roll(4) == 0;
            let count = if by_gateway { 1 } else { posts.len().min(1 + dice.roll(6)) };
            let rest = posts.split_off(count);
            number += 1;
            let buffer = if by_gateway { "gateway" } else { ["heartbeats-3", "heartbeats-9"][dice.roll(2)] };
            let epoch = format!("epoch-{}", self.seed);
            let batch = Batch { buffer: buffer.to_owned(), epoch, number, frozen_at_ms: NOW, posts, report: None };
            send(scene, &batch).await;
            if dice.roll(3) == 0 {
                again.push(batch);
            }
            if dice.roll(4) == 0
                && let Some(batch) = again.pop()
            {
                send(scene, &batch).await;
            }
            if dice.roll(4) == 0 {
                scene.fold().await;
            }
            posts = rest;
        }
        for batch in &again {
            send(scene, batch).await;
        }
    }

    fn stored(&self, scene: &Scene, tickets: &[String], post: &Post) -> StoredPost {
        let play = self.play(post.play);
        let seal = |segment: Segment| segment.seal(&scene.keys.token, play, play.minted_at()).unwrap();
        StoredPost {
            ticket: tickets[post.play].clone(),
            sender: post.sender.to_owned(),
            received_at_ms: self.origin.plus_ms(post.received_ms),
            events: post.event.iter().cloned().collect(),
            receipts: post.segment.map(seal).into_iter().collect(),
        }
    }

    /// What the model makes of it, told of each event the earliest receipt and of each play every segment.
    fn expected(&self) -> Vec<(i64, ListenState, bool)> {
        let told = |(n, (mint, duration)): (usize, &(i64, u32))| {
            let mut events: BTreeMap<(String, u32), model::Event> = BTreeMap::new();
            let mut fetched = Proven::default();
            for post in self.deliveries.iter().filter(|post| post.play == n) {
                if let Some(segment) = post.segment {
                    fetched.add(segment.start_ms, segment.end_ms);
                }
                let Some(event) = &post.event else { continue };
                let told = events.entry((post.sender.to_owned(), event.seq)).or_insert_with(|| model::Event {
                    ends: event.kind.ends_play(),
                    interval: (event.from_ms.into(), event.to_ms.into()),
                    report: event.clock.map(|clock| (clock.at_ms, clock.playing, clock.position_ms.map(i64::from))),
                    receipt: post.received_ms,
                });
                told.receipt = told.receipt.min(post.received_ms);
            }
            let fetched = fetched.parts().map(|(from, to)| (from.into(), to.into())).collect();
            model::Play { mint: *mint, duration: (*duration).into(), events, fetched }
        };
        model::judge(self.plays.iter().enumerate().map(told).collect(), false)
    }

    async fn stored_listens(&self, scene: &Scene) -> BTreeMap<uuid::Uuid, (i64, String, Option<String>, bool)> {
        let rows: Vec<(uuid::Uuid, i64, String, Option<String>, bool)> =
            sqlx::query_as("SELECT play, played_ms, state, reason, corroborated FROM royalty.plays WHERE play = ANY ($1)")
                .bind((0..self.plays.len()).map(|n| self.play(n).uuid()).collect::<Vec<_>>())
                .fetch_all(&scene.pool)
                .await
                .unwrap();
        rows.into_iter().map(|(play, played, state, reason, corroborated)| (play, (played, state, reason, corroborated))).collect()
    }

    async fn check(&self, scene: &Scene) {
        let stored = self.stored_listens(scene).await;
        for (n, (played, state, corroborated)) in self.expected().into_iter().enumerate() {
            let said = self.deliveries.iter().any(|post| post.play == n);
            let Some(listen) = stored.get(&self.play(n).uuid()) else {
                assert!(!said, "seed {}: play {n} is lost", self.seed);
                continue;
            };
            let (state, reason) = match state {
                ListenState::Open => ("open", None),
                ListenState::Provisional => ("provisional", None),
                ListenState::Void(reason) => ("void", Some(reason.code().to_owned())),
            };
            assert_eq!(*listen, (played, state.to_owned(), reason, corroborated), "seed {}, play {n}", self.seed);
        }
    }
}

fn segment(n: u32) -> Segment {
    Segment { n, start_ms: n * 6_000, end_ms: (n + 1) * 6_000 }
}

async fn send(scene: &Scene, batch: &Batch) {
    let (status, answer) = scene.send_batch(batch).await;
    assert_eq!(status, 200, "{answer}");
}

fn sets() -> u64 {
    std::env::var("ANTIPHON_ORDER_SETS").ok().and_then(|sets| sets.parse().ok()).unwrap_or(200)
}

#[tokio::test]
async fn any_order_duplication_split_and_path_gives_the_listens_of_the_model() {
    let scene = scene().await;
    for first in (1..=sets()).step_by(TOGETHER as usize) {
        let some: Vec<Set> = (first..(first + TOGETHER).min(sets() + 1)).map(Set::made_up).collect();
        futures::future::join_all(some.iter().map(|set| set.deliver(&scene))).await;
        scene.fold().await;
        for set in &some {
            set.check(&scene).await;
        }
    }
    // Every record is accounted for: the copies as duplicates, none in quarantine.
    let counts = scene.counts("2026-11").await;
    assert_eq!((counts["quarantined"].as_i64(), counts["pending"].as_i64()), (Some(0), Some(0)), "{counts}");
    let distinct = scene.number("SELECT count(*) FROM royalty.events").await;
    assert_eq!(counts["counted"].as_i64(), Some(distinct));
    // The sets would prove little if they all ended alike.
    for verdict in ["open", "provisional", "void"] {
        let plays = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM royalty.plays WHERE state = $1").bind(verdict);
        assert!(plays.fetch_one(&scene.pool).await.unwrap() > 0, "no play is {verdict}");
    }
}
