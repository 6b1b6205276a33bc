//! The queue against a real PostgreSQL, as the role that uses it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use platform::{Clock, queue::Queue, testing};
use protocol::UnixMs;
use serde_json::json;

const LEASE_MS: i64 = 1000;

async fn queue() -> (Queue, Clock) {
    let clock = Clock::fixed(UnixMs(1_795_556_280_000));
    (Queue::with_clock(testing::postgres().await.pool("ingest"), clock.clone()), clock)
}

#[tokio::test]
async fn a_message_is_worked_on_by_one_and_done_once() {
    let (queue, clock) = queue().await;
    assert!(queue.send("uploads", "a", &json!({"n": 1})).await.unwrap());
    assert!(!queue.send("uploads", "a", &json!({"n": 2})).await.unwrap(), "the same work is already waiting");
    let message = queue.receive("uploads", LEASE_MS, clock.now()).await.unwrap().unwrap();
    assert_eq!((message.key.as_str(), &message.body, message.receive_count), ("a", &json!({"n": 1}), 1));
    assert_eq!(queue.receive("uploads", LEASE_MS, clock.now()).await.unwrap(), None);
    assert!(queue.complete(&message).await.unwrap());
    assert!(!queue.complete(&message).await.unwrap());
    assert_eq!(queue.depth("uploads").await.unwrap(), 0);
}

#[tokio::test]
async fn a_worker_whose_lease_ran_out_is_fenced_out() {
    let (queue, clock) = queue().await;
    queue.send("uploads", "a", &json!({})).await.unwrap();
    let slow = queue.receive("uploads", LEASE_MS, clock.now()).await.unwrap().unwrap();
    clock.advance(LEASE_MS - 1);
    assert!(queue.extend(&slow, LEASE_MS).await.unwrap());
    clock.advance(LEASE_MS);
    let quick = queue.receive("uploads", LEASE_MS, clock.now()).await.unwrap().unwrap();
    assert!(quick.fence > slow.fence);
    assert!(!queue.extend(&slow, LEASE_MS).await.unwrap());
    assert!(!queue.complete(&slow).await.unwrap());
    assert!(queue.complete(&quick).await.unwrap());
}

#[tokio::test]
async fn work_that_never_succeeds_ends_as_a_dead_letter_with_a_reason() {
    let database = testing::postgres().await;
    let clock = Clock::fixed(UnixMs(1_795_556_280_000));
    let queue = Queue::with_clock(database.pool("ingest"), clock.clone());
    for key in ["dies", "cannot"] {
        queue.send("uploads", key, &json!({})).await.unwrap();
    }
    let mut receipts = 0;
    while let Some(message) = queue.receive("uploads", LEASE_MS, clock.now()).await.unwrap() {
        receipts += 1;
        if message.key == "cannot" {
            assert!(queue.bury(&message, "not audio").await.unwrap());
        } else {
            assert!(queue.retry_later(&message, 10).await.unwrap());
        }
        clock.advance(10);
    }
    assert_eq!(receipts, platform::queue::RECEIVES_MAX + 1);
    let dead: Vec<(String, String)> =
        sqlx::query_as("SELECT key, reason FROM queue.dead_letters ORDER BY key").fetch_all(&database.owner()).await.unwrap();
    let expected = [("cannot", "not audio"), ("dies", "received too often")];
    assert_eq!(dead, expected.map(|(key, reason)| (key.to_owned(), reason.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workers_share_the_work_without_meeting() {
    let (queue, clock) = queue().await;
    for n in 0..60 {
        queue.send("uploads", &n.to_string(), &json!({})).await.unwrap();
    }
    let workers: Vec<_> = (0..6)
        .map(|_| {
            let (queue, now) = (queue.clone(), clock.now());
            tokio::spawn(async move {
                let mut done = 0;
                while let Some(message) = queue.receive("uploads", LEASE_MS, now).await.unwrap() {
                    assert!(queue.complete(&message).await.unwrap());
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for worker in workers {
        done += worker.await.unwrap();
    }
    assert_eq!(done, 60);
}

#[tokio::test]
async fn a_role_cannot_touch_what_is_not_its_own() {
    let database = testing::postgres().await;
    let error = sqlx::query("SELECT * FROM queue.messages").execute(&database.pool("catalog")).await.unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");
}
