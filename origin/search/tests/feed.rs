//! The whole service: from a change in the outbox to an answer, over HTTP at both ends. The outbox here is a list behind the contract's address.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "tests")]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::Query, routing::get};
use platform::{
    Config, Shutdown,
    feed::{ArtistDoc, OutboxEvent, OutboxKind, OutboxPage, TrackDoc, TrackState},
    openapi, testing,
};
use protocol::{AccountId, ArtistId, MediaVersion, TrackId, UnixMs};
use serde::Deserialize;
use serde_json::Value;

const NOW: UnixMs = UnixMs(1_795_556_280_000);

#[derive(Clone, Default)]
struct Catalog(Arc<Mutex<Vec<OutboxEvent>>>);

#[derive(Deserialize)]
struct After {
    after: i64,
}

impl Catalog {
    fn say(&self, track: u8, title: &str, there: bool) {
        let mut events = self.0.lock().unwrap();
        let seq = i64::try_from(events.len()).unwrap() + 1;
        let (kind, state) =
            if there { (OutboxKind::TrackPublished, TrackState::Published) } else { (OutboxKind::TrackTakenDown, TrackState::TakenDown) };
        let track = TrackDoc {
            id: TrackId::v7(NOW.plus_ms(i64::from(track)), [track; 10]),
            title: title.to_owned(),
            artist: ArtistDoc { id: ArtistId::v7(NOW, [99; 10]), name: "The Testers".to_owned() },
            album: Some("First".to_owned()),
            isrc: None,
            genre: None,
            duration_ms: 215_000,
            owner: AccountId::v7(NOW, [9; 10]),
            acts_for: None,
            version: MediaVersion([1; 16]),
            state,
            territories: None,
            release_at_ms: None,
            published_at_ms: NOW,
        };
        events.push(OutboxEvent { seq, kind, at_ms: NOW, track });
    }

    async fn serve(&self) -> String {
        let events = self.0.clone();
        let outbox = move |Query(After { after }): Query<After>| async move {
            for _ in 0..100 {
                let all = events.lock().unwrap().clone();
                let head = all.last().map_or(0, |event| event.seq);
                if head != after {
                    let events = all.into_iter().filter(|event| event.seq > after).collect();
                    return Json(OutboxPage { events, head });
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Json(OutboxPage { events: Vec::new(), head: after })
        };
        let router = Router::new().route("/internal/outbox", get(outbox));
        testing::serve_here("catalog", (router, openapi::base("catalog", ""))).await
    }
}

struct Service {
    base: String,
    shutdown: Shutdown,
    running: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Service {
    async fn start(catalog_url: &str, state: &std::path::Path) -> Self {
        let mut config = Config::default();
        // A port that was free a moment ago.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        config.listen.search = address.to_string();
        config.listen.catalog = catalog_url.trim_start_matches("http://").to_owned();
        config.listen.royalty = "127.0.0.1:1".to_owned();
        config.state.dir = state.to_owned();
        let shutdown = Shutdown::new();
        let running = tokio::spawn(search::run(config, shutdown.clone()));
        let service = Self { base: format!("http://{address}"), shutdown, running };
        service.until("/readyz", |answer| answer["ready"] == true).await;
        service
    }

    async fn get(&self, path: &str) -> Value {
        match reqwest::get(format!("{}{path}", self.base)).await {
            Ok(answer) => answer.json().await.unwrap(),
            Err(_) => Value::Null,
        }
    }

    /// Waits for a condition; gives how long it took.
    async fn until(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Duration {
        let started = Instant::now();
        loop {
            let answer = self.get(path).await;
            if holds(&answer) {
                return started.elapsed();
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{path}: {answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) {
        self.shutdown.request();
        self.running.await.unwrap().unwrap();
    }
}

fn titles(page: &Value) -> Vec<&str> {
    page["items"].as_array().map(|items| items.iter().filter_map(|item| item["title"].as_str()).collect()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_found_within_a_second_and_survives_a_restart() {
    let (catalog, state) = (Catalog::default(), tempfile::tempdir().unwrap());
    let url = catalog.serve().await;
    let service = Service::start(&url, state.path()).await;

    catalog.say(1, "Signal", true);
    let took = service.until("/v1/search?q=signal", |page| !titles(page).is_empty()).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    let page = service.get("/v1/search?q=sig&type=track").await;
    let item = &page["items"][0];
    assert_eq!((&item["type"], &item["artist"]["name"], &item["duration_ms"]), (&"track".into(), &"The Testers".into(), &215_000.into()));
    assert_eq!(item["highlights"], serde_json::json!({"title": [[0, 3]]}));
    for query in ["signl", "SIGN%C3%80L", "the%20testers%20sig"] {
        assert_eq!(titles(&service.get(&format!("/v1/search?q={query}&type=track")).await), ["Signal"], "{query}");
    }
    let suggested = service.get("/v1/search/suggest?q=tes").await;
    assert_eq!((&suggested["items"][0]["text"], &suggested["items"][0]["type"]), (&"The Testers".into(), &"artist".into()));
    service.stop().await;

    catalog.say(2, "Static", true);
    let service = Service::start(&url, state.path()).await;
    assert_eq!(titles(&service.get("/v1/search?q=").await), ["Static", "Signal"], "ready means caught up");
    catalog.say(1, "Signal", false);
    service.until("/v1/search?q=signal", |page| titles(page).is_empty()).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_answers_do_not_overlap_and_nonsense_is_refused() {
    let (catalog, state) = (Catalog::default(), tempfile::tempdir().unwrap());
    (1..=5).for_each(|n| catalog.say(n, &format!("Take {n}"), true));
    let service = Service::start(&catalog.serve().await, state.path()).await;
    for query in ["", "take"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = service.get(&format!("/v1/search?q={query}&type=track&limit=2&cursor={cursor}")).await;
            seen.extend(titles(&page).into_iter().map(str::to_owned));
            let Some(next) = page["next_cursor"].as_str() else { break };
            next.clone_into(&mut cursor);
        }
        assert_eq!(seen, ["Take 5", "Take 4", "Take 3", "Take 2", "Take 1"], "{query:?}");
    }
    let table =
        [("/v1/search?limit=0", "invalid_query"), ("/v1/search?type=song", "invalid_query"), ("/v1/search?query=x", "invalid_query")];
    for (path, code) in table {
        assert_eq!(service.get(path).await["code"], code, "{path}");
    }
    assert_eq!(service.get("/v1/search?q=take&cursor=zz").await["code"], "invalid_cursor");
    assert!(titles(&service.get("/v1/search?q=take&type=playlist").await).is_empty());
    service.stop().await;
}
