//! The contract of an intake, kept by both: what is taken is merged once, whatever dies, comes twice, or comes in another order.

mod broker;
mod kafka;
mod rig;

use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::heartbeat::{Batch, EventKind, StoredPost};
use rig::Rig;
pub use rig::until;
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::scene::{NOW, Scene, a_listen, track};

/// Each test against the real PostgreSQL, and against a real broker before it.
macro_rules! both {
    ($($test:ident),* $(,)?) => {
        mod postgres_keeps_it {
            use super::Rig;
            $(#[tokio::test] async fn $test() { super::$test(Rig::postgres().await.unwrap()).await })*
        }
        mod kafka_keeps_it {
            use super::Rig;
            $(#[tokio::test] async fn $test() { if let Some(rig) = Rig::kafka().await { super::$test(rig).await } })*
        }
    };
}

both![
    a_batch_is_counted_once_however_often_it_is_sent,
    batches_in_another_order_give_the_same_rows,
    a_batch_with_the_name_of_another_takes_nothing_from_it_and_is_on_record,
    a_batch_whose_acknowledgement_is_lost_is_counted_once,
    a_collector_that_dies_while_batches_come_in_loses_and_doubles_nothing,
    a_record_that_cannot_count_is_quarantined_and_the_rest_is_counted,
];

/// `count` batches, each of one listen of one of eight accounts.
fn batches(scene: &Scene, count: u8) -> Vec<Batch> {
    let plays = (0..count).map(|n| scene.play(n % 8, track(n), NOW.plus_ms(-3_600_000 + i64::from(n / 8) * 60_000), n));
    plays.map(|play| Scene::batch(Scene::posts(&play, &a_listen()))).collect()
}

async fn evidence(scene: &Scene) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT format('%s %s %s %s', e.*, p.state, p.reason, p.played_ms)
         FROM royalty.events AS e JOIN royalty.plays AS p USING (play) ORDER BY e.play, sender, seq",
    )
    .fetch_all(&scene.pool)
    .await
    .unwrap()
}

async fn a_batch_is_counted_once_however_often_it_is_sent(rig: Rig) {
    let batch = &batches(&rig.scene, 1)[0];
    let send = || rig.buffer.deliver(batch);
    let answers = tokio::join!(send(), send(), send(), send(), send());
    let mut outcomes = [answers.0, answers.1, answers.2, answers.3, answers.4].map(|answer| {
        assert_eq!(answer["acked"], 4, "{answer}");
        answer["outcome"].as_str().unwrap().to_owned()
    });
    outcomes.sort();
    let honest =
        if rig.is_kafka() { ["queued"; 5] } else { ["already_merged", "already_merged", "already_merged", "already_merged", "merged"] };
    assert_eq!(outcomes, honest);
    rig.settle().await;
    let counts = rig.scene.counts("2026-11").await;
    assert_eq!(counts, json!({"acked": 4, "counted": 4, "quarantined": 0, "duplicate": 0, "pending": 0}));
}

async fn batches_in_another_order_give_the_same_rows(rig: Rig) {
    // Every record is in two batches, once received later, as after a retry through another edge.
    let plays: Vec<_> = (0..6u8).map(|n| rig.scene.play(n % 3, track(n), NOW.plus_ms(-600_000 + i64::from(n) * 60_000), n)).collect();
    let posts: Vec<StoredPost> = plays.iter().flat_map(|play| Scene::posts(play, &a_listen())).collect();
    let late: Vec<StoredPost> =
        posts.iter().map(|post| StoredPost { received_at_ms: post.received_at_ms.plus_ms(3_000), ..post.clone() }).collect();
    let other = Rig::start(platform::config::Royalty::default()).await;
    for some in posts.chunks(5).chain(late.chunks(7)) {
        other.buffer.deliver(&Scene::batch(some.to_vec())).await;
    }
    other.settle().await;
    let mut backwards: Vec<Batch> = posts.chunks(4).chain(late.chunks(3)).map(|some| Scene::batch(some.to_vec())).collect();
    backwards.reverse();
    for batch in &backwards {
        rig.buffer.deliver(batch).await;
    }
    rig.settle().await;
    assert_eq!(evidence(&rig.scene).await, evidence(&other.scene).await);
    let counts = rig.scene.counts("2026-11").await;
    assert_eq!(counts, json!({"acked": 48, "counted": 24, "quarantined": 0, "duplicate": 24, "pending": 0}));
}

async fn a_batch_with_the_name_of_another_takes_nothing_from_it_and_is_on_record(rig: Rig) {
    let batch = &batches(&rig.scene, 1)[0];
    rig.buffer.deliver(batch).await;
    rig.settle().await;
    let before = evidence(&rig.scene).await;
    let mut other = batch.clone();
    other.posts.pop();
    other.posts[0].events[0].seq = 77;
    let (status, answer) = rig.buffer.send(&other).await.unwrap();
    if rig.is_kafka() {
        assert_eq!((status, answer["outcome"].as_str()), (200, Some("queued")), "{answer}");
        rig.settle().await;
        assert_eq!(rig.refusals().await, ["batch_conflict"]);
    } else {
        assert_eq!((status, answer["code"].as_str()), (409, Some("batch_conflict")), "{answer}");
    }
    assert_eq!(evidence(&rig.scene).await, before);
    // What comes behind it is merged.
    rig.buffer.deliver(&batches(&rig.scene, 2)[1]).await;
    rig.settle().await;
    assert_eq!(rig.scene.counts("2026-11").await["counted"], 8);
}

async fn a_batch_whose_acknowledgement_is_lost_is_counted_once(rig: Rig) {
    let batch = &batches(&rig.scene, 1)[0];
    let body = serde_json::to_string(batch).unwrap();
    let host = rig.process.base.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(host).await.unwrap();
    let head = format!("POST /internal/batches HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\r\n", body.len());
    connection.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    until("the batch is merged", async || rig.scene.number("SELECT count(*) FROM royalty.batches").await == 1).await;
    // The answer is not read: the buffer died between the commit and the acknowledgement, and sends again.
    drop(connection);
    let answer = rig.buffer.deliver(batch).await;
    assert_eq!(answer["outcome"], if rig.is_kafka() { "queued" } else { "already_merged" });
    rig.settle().await;
    let counts = rig.scene.counts("2026-11").await;
    assert_eq!(counts, json!({"acked": 4, "counted": 4, "quarantined": 0, "duplicate": 0, "pending": 0}));
}

/// Four buffers deliver `batches`, each batch until it is taken, while `trouble` goes on with how many are taken as its clock.
async fn under_trouble(rig: &mut Rig, batches: &[Batch], trouble: impl AsyncFnOnce(&mut Rig, &AtomicUsize)) {
    let (next, taken, buffer) = (AtomicUsize::new(0), AtomicUsize::new(0), rig.buffer.clone());
    let deliver = async || {
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            buffer.deliver(batch).await;
            taken.fetch_add(1, Ordering::Relaxed);
        }
    };
    tokio::join!(deliver(), deliver(), deliver(), deliver(), trouble(rig, &taken));
    rig.settle().await;
    let records: usize = batches.iter().map(Batch::events).sum();
    let counts = rig.scene.counts("2026-11").await;
    assert_eq!(counts, json!({"acked": records, "counted": records, "quarantined": 0, "duplicate": 0, "pending": 0}));
    assert_eq!(rig.refusals().await, [""; 0]);
}

async fn a_collector_that_dies_while_batches_come_in_loses_and_doubles_nothing(mut rig: Rig) {
    let batches = batches(&rig.scene, 240);
    under_trouble(&mut rig, &batches, async |rig, taken| {
        for deaths in 1..=6 {
            until("some more are taken", async || taken.load(Ordering::Relaxed) >= deaths * 30).await;
            rig.die_and_begin_again().await;
        }
    })
    .await;
}

async fn a_record_that_cannot_count_is_quarantined_and_the_rest_is_counted(rig: Rig) {
    let play = rig.scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
    let mut posts = Scene::posts(&play, &a_listen());
    posts.push(StoredPost { ticket: "forged".to_owned(), ..posts[0].clone() });
    posts.push(Scene::posts(&play, &[(9, EventKind::Progress, 0, 900_000, 50_000)]).remove(0));
    rig.buffer.deliver(&Scene::batch(posts)).await;
    rig.settle().await;
    let counts = rig.scene.counts("2026-11").await;
    assert_eq!(counts, json!({"acked": 6, "counted": 4, "quarantined": 2, "duplicate": 0, "pending": 0}));
}
