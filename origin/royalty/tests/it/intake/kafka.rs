//! What only a log in front of the merge can do wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

use chrono::DateTime;
use platform::config::Cells;
use protocol::heartbeat::{Batch, StoredPost};
use rskafka::{
    client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling},
    record::Record,
};
use serde_json::json;

use super::{
    batches,
    broker::{self, Broker},
    rig::{PARTITIONS, Process, Rig, on_topic, until},
    under_trouble,
};
use crate::scene::{NOW, Scene, a_listen, track};

async fn partition(broker: &Broker, topic: &str, partition: u16) -> PartitionClient {
    broker.client().await.partition_client(topic, partition.into(), UnknownTopicHandling::Retry).await.unwrap()
}

/// All records of a topic, by partition.
async fn records(broker: &Broker, topic: &str) -> BTreeMap<u16, Vec<Record>> {
    let mut all = BTreeMap::new();
    for number in 0..PARTITIONS {
        let client = partition(broker, topic, number).await;
        let (end, mut next) = (client.get_offset(OffsetAt::Latest).await.unwrap(), 0);
        let found: &mut Vec<Record> = all.entry(number).or_default();
        while next < end {
            let (some, _) = client.fetch_records(next, 1..1_000_000, 1_000).await.unwrap();
            next = some.last().unwrap().offset + 1;
            found.extend(some.into_iter().map(|record| record.record));
        }
    }
    all
}

#[tokio::test]
async fn all_events_of_an_account_are_in_one_partition_and_no_event_is_missing() {
    let Some(broker) = broker::shared().await else { return };
    let rig = Rig::over(broker).await;
    // So many accounts that none of the partitions is empty, whatever the keys of this run make of them.
    let plays: Vec<_> = (0..200u8).map(|n| rig.scene.play(n % 100, track(n), NOW.plus_ms(-3_600_000 + i64::from(n) * 10_000), n)).collect();
    let posts: Vec<StoredPost> = plays.iter().flat_map(|play| Scene::posts(play, &a_listen())).collect();
    let answer = rig.buffer.deliver(&Scene::batch(posts.clone())).await;
    assert_eq!(answer, json!({"outcome": "queued", "acked": 800, "parts": 4}));
    let mut home = BTreeMap::new();
    let mut found = 0;
    for (number, records) in records(broker, &rig.config.intake.topic).await {
        for record in records {
            let batch: Batch = serde_json::from_slice(&record.value.unwrap()).unwrap();
            found += batch.posts.len();
            for post in batch.posts {
                let account = plays.iter().position(|play| play.ticket == post.ticket).unwrap() % 100;
                assert_eq!(*home.entry(account).or_insert(number), number, "account {account}");
            }
        }
    }
    assert_eq!((found, home.len(), home.values().collect::<BTreeSet<_>>().len()), (800, 100, 4));
    rig.settle().await;
    assert_eq!(rig.scene.counts("2026-11").await["counted"], 800);
    // The same batch through PostgreSQL, as after a change of the setting: other keys, the same events.
    let mut direct = Process::start(&rig.scene, &platform::config::Royalty::default(), true).await;
    let answer = reqwest::Client::new().post(format!("{}/internal/batches", direct.base)).json(&Scene::batch(posts)).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    direct.kill();
    assert_eq!(rig.scene.counts("2026-11").await, json!({"acked": 1600, "counted": 800, "quarantined": 0, "duplicate": 800, "pending": 0}));
}

#[tokio::test]
async fn what_the_broker_holds_is_pending_until_somebody_merges_it() {
    let Some(broker) = broker::shared().await else { return };
    let mut rig = Rig::over(broker).await;
    rig.reads = false;
    rig.die_and_begin_again().await;
    let all = batches(&rig.scene, 10);
    for batch in all.iter().chain(&all[..3]) {
        rig.buffer.deliver(batch).await;
    }
    let waits = json!({"acked": 52, "counted": 0, "quarantined": 0, "duplicate": 0, "pending": 52});
    assert_eq!(rig.scene.counts("2026-11").await, waits);
    assert_eq!(rig.scene.counts("2026-10").await["acked"], 0);
    rig.reads = true;
    rig.die_and_begin_again().await;
    rig.settle().await;
    let counts = rig.scene.counts("2026-11").await;
    assert_eq!(counts, json!({"acked": 40, "counted": 40, "quarantined": 0, "duplicate": 0, "pending": 0}));
}

#[tokio::test]
async fn a_record_that_is_no_batch_is_set_aside_and_what_stands_behind_it_is_merged() {
    let Some(broker) = broker::shared().await else { return };
    let rig = Rig::over(broker).await;
    let good = batches(&rig.scene, 8);
    for number in 0..PARTITIONS {
        let client = partition(broker, &rig.config.intake.topic, number).await;
        let nameless = r#"{"buffer":"","epoch":"e","number":1,"frozen_at_ms":1,"posts":[]}"#;
        let garbage = [Some(b"\xff\x00 no json".to_vec()), None, Some(nameless.into()), Some(vec![b'['; 100_000])];
        let record = |value| Record { key: None, value, headers: BTreeMap::new(), timestamp: DateTime::UNIX_EPOCH };
        client.produce(garbage.into_iter().map(record).collect(), Compression::NoCompression).await.unwrap();
    }
    for batch in &good {
        rig.buffer.deliver(batch).await;
    }
    rig.settle().await;
    assert_eq!(rig.scene.counts("2026-11").await, json!({"acked": 32, "counted": 32, "quarantined": 0, "duplicate": 0, "pending": 0}));
    until("every bad record is on record", async || rig.refusals().await.len() == 16).await;
    assert!(rig.refusals().await.iter().all(|reason| reason == "unreadable"));
    let kept: Vec<u8> = sqlx::query_scalar("SELECT payload FROM royalty.refused_records WHERE position = 0 LIMIT 1")
        .fetch_one(&rig.scene.pool)
        .await
        .unwrap();
    assert_eq!(kept, b"\xff\x00 no json");
}

#[tokio::test]
async fn a_broker_killed_while_batches_come_in_loses_and_doubles_nothing() {
    let Some(mut broker) = Broker::start("killed").await else { return };
    let mut rig = Rig::over(&broker).await;
    let all = batches(&rig.scene, 240);
    under_trouble(&mut rig, &all, async |rig, taken| {
        for deaths in 1..=2u32 {
            until("some more are taken", async || taken.load(Ordering::Relaxed) >= deaths as usize * 70).await;
            let before = rig.buffer.put_off.load(Ordering::Relaxed);
            broker.kill();
            until("a batch is put off", async || rig.buffer.put_off.load(Ordering::Relaxed) > before + 3).await;
            broker.begin();
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_broker_a_batch_is_put_off_and_the_service_says_what_it_lacks() {
    let Some(mut broker) = Broker::start("away").await else { return };
    let rig = Rig::over(&broker).await;
    let all = batches(&rig.scene, 2);
    rig.buffer.deliver(&all[0]).await;
    rig.settle().await;
    let missing = || rig.process.ask(|intake| async move { intake.missing().await });
    assert_eq!(missing().await, None);
    broker.kill();
    let answer = rig.scene.request("POST", "/internal/batches").json(&all[1]).send().await.unwrap();
    assert_eq!(answer.headers().get("retry-after").unwrap(), "2");
    assert_eq!((answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap()["code"].as_str()), (503, Some("intake_away")));
    assert!(missing().await.unwrap().starts_with("kafka"));
    broker.begin();
    rig.buffer.deliver(&all[1]).await;
    rig.settle().await;
    assert_eq!(rig.scene.counts("2026-11").await["counted"], 8);
    assert_eq!(missing().await, None);
}

#[tokio::test]
async fn a_topic_made_anew_under_its_name_is_noticed_and_read_from_its_beginning() {
    let Some(broker) = broker::shared().await else { return };
    let mut rig = Rig::over(broker).await;
    let topic = rig.config.intake.topic.clone();
    // One account, so that all is in one partition, and more records in the new topic than were read of the old one.
    let play = |n: u8| rig.scene.play(1, track(n), NOW.plus_ms(-3_600_000 + i64::from(n) * 60_000), n);
    let one_by_one: Vec<Batch> = (0..8).map(|n| Scene::batch(Scene::posts(&play(n), &a_listen()))).collect();
    for batch in &one_by_one[..3] {
        rig.buffer.deliver(batch).await;
    }
    rig.settle().await;
    rig.process.kill();
    broker.drop_topic(&topic).await;
    until("the old topic is gone", async || broker.client().await.list_topics().await.unwrap().iter().all(|known| known.name != topic))
        .await;
    broker.make_topic(&topic, PARTITIONS).await;
    rig.reads = false;
    rig.die_and_begin_again().await;
    for batch in &one_by_one[3..] {
        rig.buffer.deliver(batch).await;
    }
    rig.reads = true;
    rig.die_and_begin_again().await;
    rig.settle().await;
    assert_eq!(rig.scene.counts("2026-11").await["counted"], 32);
    assert_eq!(rig.refusals().await, ["log_begins_again"]);
}

#[tokio::test]
async fn each_process_of_a_fleet_merges_the_partitions_of_its_own_cells_and_no_others() {
    let Some(broker) = broker::shared().await else { return };
    let topic = broker.topic(PARTITIONS).await;
    let of_cell = |cell| platform::config::Royalty { cells: Cells { count: 2, own: vec![cell] }, ..on_topic(broker, topic.clone()) };
    let rig = Rig::start(of_cell(0)).await;
    let plays = (0..64u8).map(|n| rig.scene.play(n, track(n), NOW.plus_ms(-3_600_000 + i64::from(n) * 10_000), n));
    for batch in &plays.map(|play| Scene::batch(Scene::posts(&play, &a_listen()))).collect::<Vec<_>>() {
        rig.buffer.deliver(batch).await;
    }
    rig.settle().await;
    let sources = || async {
        sqlx::query_scalar::<_, String>(
            "SELECT right(source, 1) FROM royalty.cursors WHERE starts_with(source, 'kafka:') AND position > 0 ORDER BY 1",
        )
        .fetch_all(&rig.scene.pool)
        .await
        .unwrap()
    };
    assert_eq!(sources().await, ["0", "2"]);
    let half = rig.scene.counts("2026-11").await["counted"].as_i64().unwrap();
    assert!((1..256).contains(&half), "{half}");
    // Whoever takes a batch takes it for all cells.
    let other = Process::start(&rig.scene, &of_cell(1), true).await;
    until("the other cell is merged", async || rig.scene.number("SELECT sum(acked)::BIGINT FROM royalty.batch_counts").await == 256).await;
    assert_eq!(sources().await, ["0", "1", "2", "3"]);
    drop(other);
}

#[tokio::test]
async fn a_topic_of_another_size_is_not_written_to() {
    let Some(broker) = broker::shared().await else { return };
    let mut config = on_topic(broker, broker.topic(PARTITIONS).await);
    config.intake.partitions = 8;
    let rig = Rig::start(config).await;
    let (status, answer) = rig.buffer.send(&batches(&rig.scene, 1)[0]).await.unwrap();
    assert_eq!((status, answer["code"].as_str()), (503, Some("intake_away")));
    let missing = rig.process.ask(|intake| async move { intake.missing().await }).await.unwrap();
    assert!(missing.contains("has 4 partitions, and royalty.intake.partitions is 8"), "{missing}");
}
