//! What survives: an acknowledged object, and the news of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod support;

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use platform::{queue::Queue, testing};
use reqwest::{StatusCode, Url};
use support::{Running, Upload, events, read, unreachable_queue, wait_for_events};

const SONG: &[u8] = b"a song";

fn journal(root: &Path) -> usize {
    std::fs::read_dir(root.join(".journal")).unwrap().count()
}

#[tokio::test]
async fn an_upload_taken_while_the_queue_is_away_is_told_when_it_is_back() {
    let database = testing::postgres().await;
    let root = database.dir().join("store");
    let store = Running::start(&root, unreachable_queue()).await;
    assert_eq!(Upload::new(&store.url, "raw/1", SONG).put(SONG).await.status(), StatusCode::OK);
    assert_eq!(journal(&root), 1);
    store.stop().await;

    let store = Running::start(&root, Queue::new(database.pool("store"))).await;
    let told = wait_for_events(&database, 1).await;
    assert_eq!(told[0]["Records"][0]["s3"]["object"]["key"], "raw/1");
    assert_eq!(journal(&root), 0);
    store.stop().await;
}

/// The store runs as a process of its own and is killed as soon as it has answered.
#[tokio::test]
async fn kill_minus_nine_loses_nothing_that_was_acknowledged() {
    let database = testing::postgres().await;
    let root = database.dir().join("store");
    for round in 0..3_u8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serve_until_killed", "--ignored", "--nocapture"])
            .env("STORE_ROOT", &root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.find_map(|line| Some(line.unwrap().split_once("STORE AT ")?.1.to_owned())).unwrap();
        let url = Url::parse(&url).unwrap();
        let answers = (0..8_u8).map(|n| {
            let url = url.clone();
            async move { Upload::new(&url, &format!("raw/{round}-{n}"), &[n; 70_000]).put(vec![n; 70_000]).await.status() }
        });
        assert!(futures::future::join_all(answers).await.iter().all(StatusCode::is_success));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    let store = Running::start(&root, Queue::new(database.pool("store"))).await;
    assert_eq!(wait_for_events(&database, 24).await.len(), 24);
    for round in 0..3_u8 {
        for n in 0..8_u8 {
            assert_eq!(read(&store.url, "raw", &format!("raw/{round}-{n}")).await.unwrap(), vec![n; 70_000]);
        }
    }
    store.stop().await;
}

#[tokio::test]
#[ignore = "the other process of the test above"]
async fn serve_until_killed() {
    let Ok(root) = std::env::var("STORE_ROOT") else { return };
    let store = Running::start(Path::new(&root), unreachable_queue()).await;
    println!("STORE AT {}", store.url);
    // Should the test fail before it kills us, its end of the pipe closes.
    tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await.unwrap();
}

/// The moments of a crash, as they look on disk: before the object has its name, and after, but before its ETag is written.
#[tokio::test]
async fn a_crash_half_way_is_told_when_the_object_is_there_and_forgotten_when_not() {
    let database = testing::postgres().await;
    let root = database.dir().join("store");
    let store = Running::start(&root, unreachable_queue()).await;
    for key in ["raw/named", "raw/unnamed"] {
        assert_eq!(Upload::new(&store.url, key, SONG).put(SONG).await.status(), StatusCode::OK);
    }
    store.stop().await;
    std::fs::remove_file(root.join("raw/raw/unnamed")).unwrap();
    std::fs::write(root.join(".staging/7"), b"half").unwrap();
    for sidecar in std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()) {
        if sidecar.to_str().unwrap().ends_with(".internal.json") {
            std::fs::remove_file(sidecar).unwrap();
        }
    }

    let store = Running::start(&root, Queue::new(database.pool("store"))).await;
    let told = events(&database).await;
    assert_eq!(told.len(), 1, "before the store serves");
    assert_eq!(told[0]["Records"][0]["s3"]["object"]["key"], "raw/named");
    assert_eq!((journal(&root), std::fs::read_dir(root.join(".staging")).unwrap().count()), (0, 0));
    assert_eq!(Upload::new(&store.url, "raw/unnamed", SONG).put(SONG).await.status(), StatusCode::OK, "its URL still works");
    store.stop().await;
}

#[tokio::test]
async fn a_sent_event_is_not_sent_again() {
    let database = testing::postgres().await;
    let root = database.dir().join("store");
    let store = Running::start(&root, Queue::new(database.pool("store"))).await;
    assert_eq!(Upload::new(&store.url, "raw/1", SONG).put(SONG).await.status(), StatusCode::OK);
    store.stop().await;
    sqlx::query("DELETE FROM queue.messages").execute(&database.owner()).await.unwrap();
    let store = Running::start(&root, Queue::new(database.pool("store"))).await;
    assert!(events(&database).await.is_empty());
    store.stop().await;
}
