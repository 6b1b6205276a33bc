//! Every hop is held against the one before it, and what does not add up names its batch.

use protocol::{
    heartbeat::{Batch, StoredPost},
    tally::{Hour, HourTally, Report, Since},
};
use serde_json::{Value, json};

use crate::scene::{NOW, Play, Scene, a_listen, scene, track};

/// A buffer that counts as the edge's does: sums since its epoch began, told in each batch.
struct Buffer {
    number: u64,
    tally: HourTally,
}

impl Buffer {
    fn new(play: &Play) -> Self {
        Self { number: 0, tally: HourTally { hour: Hour::of(play.id.minted_at()), ..HourTally::default() } }
    }

    /// Stores posts and freezes all of them; `refused` events were refused at the front and `known` ones were known.
    fn freeze(&mut self, posts: Vec<StoredPost>, refused: u64, known: u64) -> Batch {
        let events: u64 = posts.iter().map(|post| post.events.len() as u64).sum();
        self.number += 1;
        self.tally.offered += events + refused + known;
        self.tally.refused += refused;
        self.tally.duplicate += known;
        self.tally.stored += events;
        self.tally.frozen += events;
        let report = Report { since: Since::Epoch, hours: vec![self.tally], posts_waiting: 0, set_aside: Vec::new() };
        Batch { buffer: "edge-3".into(), epoch: "e".into(), number: self.number, frozen_at_ms: NOW, posts, report: Some(report) }
    }
}

impl Scene {
    async fn reconciled(&self) -> Value {
        self.get(&self.admin(), "/v1/royalties/reconciliation?period=2026-11&hours=true").await
    }

    async fn takes(&self, batch: &Batch) {
        let (status, answer) = self.send_batch(batch).await;
        assert_eq!(status, 200, "{answer}");
    }
}

/// The figures of a hop: in, out, quarantined, duplicate, pending, difference.
fn hop(reconciled: &Value, name: &str) -> [i64; 6] {
    let hop = reconciled["hops"].as_array().unwrap().iter().find(|hop| hop["hop"] == name).unwrap();
    ["in", "out", "quarantined", "duplicate", "pending", "difference"].map(|figure| hop[figure].as_i64().unwrap())
}

/// Code, batch, last batch, events.
type Difference = (String, Option<i64>, Option<i64>, Option<i64>);

fn differences(reconciled: &Value) -> Vec<Difference> {
    let told = |finding: &Value| {
        (finding["code"].as_str().unwrap().to_owned(), finding["first"].as_i64(), finding["last"].as_i64(), finding["events"].as_i64())
    };
    reconciled["differences"].as_array().unwrap().iter().map(told).collect()
}

fn named(code: &str, batch: i64, events: Option<i64>) -> Difference {
    (code.to_owned(), Some(batch), Some(batch), events)
}

#[tokio::test]
async fn every_hop_tells_what_was_sent_and_the_identity_holds_from_end_to_end() {
    let scene = scene().await;
    let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
    let posts = Scene::posts(&play, &a_listen());
    let forged = StoredPost { ticket: "A".repeat(130), received_at_ms: NOW.plus_ms(-60_000), ..posts[0].clone() };
    let mut other = posts[1].clone();
    other.events[0].to_ms += 1;
    let mut buffer = Buffer::new(&play);
    let (first, second) = (buffer.freeze(posts.clone(), 3, 2), buffer.freeze([posts, vec![forged, other]].concat(), 0, 0));
    scene.takes(&first).await;
    scene.takes(&second).await;
    scene.takes(&first).await;

    let waiting = scene.reconciled().await;
    assert_eq!(hop(&waiting, "client"), [15, 10, 3, 2, 0, 0]);
    assert_eq!(hop(&waiting, "buffer"), [10, 10, 0, 0, 0, 0]);
    assert_eq!(hop(&waiting, "collector"), [10, 4, 2, 4, 0, 0]);
    assert_eq!(hop(&waiting, "listens"), [4, 0, 0, 0, 4, 0]);
    assert_eq!(waiting["identity"], json!({"acked": 10, "counted": 0, "quarantined": 2, "duplicate": 4, "pending": 4}));

    scene.fold().await;
    let reconciled = scene.reconciled().await;
    assert_eq!(hop(&reconciled, "listens"), [4, 4, 0, 0, 0, 0]);
    assert_eq!(reconciled["identity"], json!({"acked": 10, "counted": 4, "quarantined": 2, "duplicate": 4, "pending": 0}));
    assert_eq!((&reconciled["differences"], &reconciled["waiting"], reconciled["unreported"].as_i64()), (&json!([]), &json!([]), Some(0)));
    assert_eq!(reconciled["plays"], json!({"open": 0, "provisional": 1, "final": 0, "void": 0}));
    assert_eq!(reconciled["hours"].as_array().unwrap().len(), 1);
    assert_eq!(reconciled["hours"][0]["hour_at"], "2026-11-24T21:00:00.000Z");
}

#[tokio::test]
async fn what_carries_no_report_is_told_apart_and_takes_part() {
    let scene = scene().await;
    let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
    let batch = Batch { number: 1, ..Scene::batch(Scene::posts(&play, &a_listen())) };
    scene.takes(&batch).await;
    scene.fold().await;
    let reconciled = scene.reconciled().await;
    assert_eq!((reconciled["unreported"].as_i64(), hop(&reconciled, "collector")), (Some(4), [4, 4, 0, 0, 0, 0]));
    assert_eq!(reconciled["identity"]["acked"], 4);
    assert_eq!(reconciled["differences"], json!([]));
}

#[tokio::test]
async fn a_batch_that_never_arrived_is_named_and_a_late_one_closes_the_gap() {
    let scene = scene().await;
    let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
    let posts = Scene::posts(&play, &a_listen());
    let mut buffer = Buffer::new(&play);
    let batches: Vec<Batch> = posts.iter().map(|post| buffer.freeze(vec![post.clone()], 0, 0)).collect();
    for batch in [&batches[0], &batches[3]] {
        scene.takes(batch).await;
    }
    scene.fold().await;
    let gone = scene.reconciled().await;
    assert_eq!(differences(&gone), [("batch_missing".to_owned(), Some(2), Some(3), Some(2))]);
    assert_eq!(gone["differences"][0]["buffer"], "edge-3");
    assert_eq!(hop(&gone, "collector"), [4, 2, 0, 0, 0, 2]);

    scene.takes(&batches[1]).await;
    assert_eq!(differences(&scene.reconciled().await), [named("batch_missing", 3, Some(1))]);
    scene.takes(&batches[2]).await;
    scene.fold().await;
    let whole = scene.reconciled().await;
    assert_eq!((differences(&whole), hop(&whole, "collector")), (vec![], [4, 4, 0, 0, 0, 0]));
}

#[tokio::test]
async fn a_batch_that_its_buffer_still_holds_is_waiting_and_not_lost() {
    let scene = scene().await;
    let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
    let posts = Scene::posts(&play, &a_listen());
    let mut buffer = Buffer::new(&play);
    buffer.freeze(vec![posts[0].clone()], 0, 0);
    let mut later = buffer.freeze(posts[1..].to_vec(), 0, 0);
    later.report.as_mut().unwrap().set_aside = vec![1];
    scene.takes(&later).await;
    scene.fold().await;
    let reconciled = scene.reconciled().await;
    assert_eq!(differences(&reconciled), []);
    assert_eq!((reconciled["waiting"][0]["code"].as_str(), reconciled["waiting"][0]["first"].as_i64()), (Some("set_aside"), Some(1)));
    assert_eq!(hop(&reconciled, "collector"), [4, 3, 0, 0, 1, 0]);
    assert_eq!(reconciled["identity"], json!({"acked": 4, "counted": 3, "quarantined": 0, "duplicate": 0, "pending": 1}));
}

#[tokio::test]
async fn what_somebody_removed_by_hand_is_found_at_its_hop() {
    for (removed, expected) in [
        ("DELETE FROM royalty.batches WHERE number = 2", named("key_missing", 2, Some(2))),
        ("DELETE FROM royalty.batch_hours WHERE number = 2", named("batch_short", 2, Some(2))),
        ("DELETE FROM royalty.events WHERE seq = 3", ("events_missing".to_owned(), None, None, Some(1))),
    ] {
        let scene = scene().await;
        let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
        let posts = Scene::posts(&play, &a_listen());
        let mut buffer = Buffer::new(&play);
        for posts in [vec![posts[0].clone()], posts[1..3].to_vec(), vec![posts[3].clone()]] {
            scene.takes(&buffer.freeze(posts, 0, 0)).await;
        }
        scene.fold().await;
        assert_eq!(differences(&scene.reconciled().await), [], "before: {removed}");
        let mut owner = scene.db.owner().acquire().await.unwrap();
        // As an owner who means it: neither triggers nor foreign keys are asked.
        sqlx::query("SET session_replication_role = replica").execute(&mut *owner).await.unwrap();
        sqlx::query(removed).execute(&mut *owner).await.unwrap();
        let found = differences(&scene.reconciled().await);
        assert!(found.contains(&expected), "{removed}: {found:?}");
    }
}

#[tokio::test]
async fn a_sender_that_acknowledges_nothing_before_the_merge_may_skip_numbers() {
    let scene = scene().await;
    let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
    let hour = Hour::of(play.id.minted_at());
    for (post, number) in Scene::posts(&play, &a_listen()).into_iter().zip([2, 5, 6, 9]) {
        let tally = HourTally { hour, offered: 2, refused: 1, duplicate: 0, stored: 1, frozen: 1 };
        let report = Some(Report { since: Since::Batch, hours: vec![tally], posts_waiting: 0, set_aside: Vec::new() });
        let (buffer, epoch) = ("gateway".to_owned(), "g".to_owned());
        scene.takes(&Batch { buffer, epoch, number, frozen_at_ms: NOW, posts: vec![post], report }).await;
    }
    scene.fold().await;
    let reconciled = scene.reconciled().await;
    assert_eq!(differences(&reconciled), []);
    assert_eq!((hop(&reconciled, "client"), hop(&reconciled, "collector")), ([8, 4, 4, 0, 0, 0], [4, 4, 0, 0, 0, 0]));
}

#[tokio::test]
async fn a_front_and_a_buffer_that_miscount_are_found() {
    let scene = scene().await;
    let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
    let mut buffer = Buffer::new(&play);
    let mut batch = buffer.freeze(Scene::posts(&play, &a_listen()), 0, 0);
    let tally = &mut batch.report.as_mut().unwrap().hours[0];
    tally.offered += 1;
    tally.stored += 2;
    scene.takes(&batch).await;
    let codes: Vec<_> = differences(&scene.reconciled().await).into_iter().map(|(code, first, ..)| (code, first)).collect();
    assert_eq!(codes, [("front_miscounts".to_owned(), None), ("buffer_miscounts".to_owned(), Some(1))]);
}
