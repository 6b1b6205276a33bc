//! What publishing promises: once, fenced, in order, and an end that lasts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use platform::feed::OutboxPage;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{NOW, World, account, publication, track};

#[tokio::test]
async fn a_published_track_has_a_page_a_card_and_an_event() {
    let world = World::new().await;
    let published = world.publish(publication(track(1), 1, 10)).await;
    assert_eq!(published.status, StatusCode::OK, "{}", published.body);
    assert_eq!(published.body["outcome"], "published");

    let page = world.get(&format!("/v1/tracks/{}", track(1))).await.body;
    assert_eq!(page["title"], "Blue Monday");
    assert_eq!(page["artist"]["name"], "New Order");
    assert_eq!(page["isrc"], "GBAAA8300001");
    assert_eq!(page["duration_ms"], 2979);
    assert_eq!(page["explicit"], false);
    assert_eq!(page["art"], Value::Null);
    assert_eq!(page["loudness"], json!({ "integrated_lufs": -9.8, "true_peak_dbtp": -0.3 }));
    assert_eq!(page["rungs"], json!([{ "name": "aac-128", "codec": "mp4a.40.2", "average_bps": 128_000, "peak_bps": 131_000 }]));

    let card: protocol::sheet::Card = serde_json::from_value(world.get(&format!("/internal/cards/{}", track(1))).await.body).unwrap();
    assert_eq!(card.state, protocol::sheet::CardState::Published);
    assert_eq!(card.version.to_string(), "01".repeat(16));
    assert_eq!(card.territories.unwrap().len(), 2);

    let outbox: OutboxPage = serde_json::from_value(world.get("/internal/outbox?after=0").await.body).unwrap();
    let [event] = outbox.events.as_slice() else { panic!("{outbox:?}") };
    assert_eq!(event.seq, outbox.head);
    assert_eq!(event.at_ms, NOW);
    assert_eq!(event.track.owner, account(1));
    assert_eq!(event.track.album.as_deref(), Some("Power, Corruption & Lies"));
}

#[tokio::test]
async fn a_publication_sent_again_changes_nothing() {
    let world = World::new().await;
    world.publish(publication(track(1), 1, 10)).await;
    world.clock.advance(5000);
    let again = world.publish(publication(track(1), 1, 11)).await;
    assert_eq!(again.body["outcome"], "already_published");
    assert_eq!(again.body["published_at_ms"], NOW.0);
    assert_eq!(world.events().await.len(), 1);
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_is_fenced_out() {
    let world = World::new().await;
    world.publish(publication(track(1), 1, 10)).await;
    let newer = world.publish(publication(track(1), 2, 12)).await;
    assert_eq!(newer.body["outcome"], "published");
    assert_eq!(newer.body["published_at_ms"], NOW.0, "the first publication's instant stays");

    let stale = world.publish(publication(track(1), 3, 11)).await;
    assert_eq!((stale.status, &stale.body["code"]), (StatusCode::CONFLICT, &json!("fenced_out")));
    let card = world.get(&format!("/internal/cards/{}", track(1))).await.body;
    assert_eq!(card["version"], "02".repeat(16));
    assert_eq!(world.events().await.len(), 2);
}

#[tokio::test]
async fn nobody_publishes_over_another_account_s_track() {
    let world = World::new().await;
    world.publish(publication(track(1), 1, 10)).await;
    let mut theft = publication(track(1), 2, 11);
    theft["owner"] = json!(account(2));
    let refused = world.publish(theft).await;
    assert_eq!((refused.status, &refused.body["code"]), (StatusCode::CONFLICT, &json!("not_the_owner")));
}

#[tokio::test]
async fn a_bad_publication_is_refused_place_by_place() {
    let world = World::new().await;
    let mut bad = publication(track(1), 1, 10);
    bad["title"] = json!(" \u{0} ");
    bad["isrc"] = json!("nope");
    bad["territories"] = json!([]);
    let refused = world.publish(bad).await;
    assert_eq!((refused.status, &refused.body["code"]), (StatusCode::BAD_REQUEST, &json!("bad_publication")));
    let places: Vec<_> = refused.body["errors"].as_array().unwrap().iter().map(|error| error["pointer"].clone()).collect();
    assert_eq!(places, ["/title", "/isrc", "/territories"]);

    let mut unknown = publication(track(1), 1, 10);
    unknown["colour"] = json!("blue");
    assert_eq!(world.publish(unknown).await.body["code"], "invalid_body");
}

#[tokio::test]
async fn artists_and_releases_are_found_again_by_name() {
    let world = World::new().await;
    world.publish(publication(track(1), 1, 1)).await;
    let mut second = publication(track(2), 2, 2);
    second["artist"] = json!("  new   ORDER ");
    second["album"] = json!("POWER, Corruption & Lies");
    world.publish(second).await;
    let mut other_owner = publication(track(3), 3, 3);
    other_owner["owner"] = json!(account(2));
    world.publish(other_owner).await;

    let count = |table: &'static str| sqlx::query_scalar::<_, i64>(table).fetch_one(&world.owner_pool);
    assert_eq!(count("SELECT count(*) FROM catalog.artists").await.unwrap(), 2, "one for each owner");
    assert_eq!(count("SELECT count(*) FROM catalog.releases").await.unwrap(), 2);
}

#[tokio::test]
async fn only_its_owner_takes_a_track_down_and_down_it_stays() {
    let world = World::new().await;
    world.publish(publication(track(1), 1, 10)).await;
    let path = format!("/v1/tracks/{}", track(1));
    let delete = |who| world.call(Method::DELETE, &path, who, None);

    assert_eq!(delete(None).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(delete(Some(account(2))).await.body["code"], "not_yours");
    assert_eq!(world.get(&path).await.status, StatusCode::OK);

    assert_eq!(delete(Some(account(1))).await.status, StatusCode::NO_CONTENT);
    assert_eq!(delete(Some(account(1))).await.status, StatusCode::NO_CONTENT);
    let gone = world.get(&path).await;
    assert_eq!((gone.status, &gone.body["code"]), (StatusCode::GONE, &json!("taken_down")));
    assert_eq!(world.get(&format!("/internal/cards/{}", track(1))).await.body["state"], "taken_down");

    assert_eq!(world.publish(publication(track(1), 2, 11)).await.body["outcome"], "taken_down");
    let kinds: Vec<_> = world.events().await.iter().map(|event| (event["kind"].clone(), event["track"]["state"].clone())).collect();
    assert_eq!(kinds, [(json!("track_published"), json!("published")), (json!("track_taken_down"), json!("taken_down"))]);

    let unknown = world.call(Method::DELETE, &format!("/v1/tracks/{}", track(9)), Some(account(1)), None).await;
    assert_eq!((unknown.status, &unknown.body["code"]), (StatusCode::NOT_FOUND, &json!("no_such_track")));
    assert_eq!(world.get("/internal/cards/not-an-id").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_reader_of_the_outbox_is_woken_by_news() {
    let world = World::new().await;
    let started = Instant::now();
    let (page, _) = tokio::join!(world.get("/internal/outbox?after=0&wait_ms=20000"), async {
        // Long enough for the reader to be waiting; the promise below holds whichever comes first.
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.publish(publication(track(1), 1, 1)).await
    });
    assert_eq!(page.body["events"].as_array().unwrap().len(), 1);
    assert!(started.elapsed() < Duration::from_secs(10));

    let head = page.body["head"].as_i64().unwrap();
    let empty = world.get(&format!("/internal/outbox?after={head}&wait_ms=10")).await.body;
    assert_eq!(empty, json!({ "events": [], "head": head }));
}

/// Many publish at once while a reader follows: it sees every event, in order, none twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_follows_skips_nothing() {
    let world = World::new().await;
    let publish = async {
        let all = (1..=40).map(|n| world.publish(publication(track(n), n, i64::from(n))));
        for answer in futures_of(all).await {
            assert_eq!(answer.body["outcome"], "published", "{}", answer.body);
        }
    };
    let follow = async {
        let (mut cursor, mut seen) = (0, Vec::new());
        while seen.len() < 40 {
            let page = world.get(&format!("/internal/outbox?after={cursor}&limit=7&wait_ms=5000")).await.body;
            for event in page["events"].as_array().unwrap() {
                cursor = event["seq"].as_i64().unwrap();
                seen.push(event["track"]["id"].as_str().unwrap().to_owned());
            }
        }
        seen
    };
    let ((), seen) = tokio::join!(publish, follow);
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), 40);
}

/// Two workers with the same job: one version is written, one event is told.
#[tokio::test(flavor = "multi_thread")]
async fn two_workers_publish_a_track_once() {
    let world = World::new().await;
    let all = (0..8).map(|_| world.publish(publication(track(1), 1, 5)));
    let outcomes: Vec<_> = futures_of(all).await.into_iter().map(|answer| answer.body["outcome"].clone()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "published").count(), 1, "{outcomes:?}");
    assert_eq!(world.events().await.len(), 1);
}

async fn futures_of<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    futures::future::join_all(all).await
}

#[test]
fn every_route_is_described() {
    let document = serde_json::to_value(catalog::openapi()).unwrap();
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    for path in ["/v1/tracks/{id}", "/v1/me/likes", "/v1/me/likes/{track_id}", "/v1/me/follows/{artist_id}", "/internal/outbox"] {
        assert!(paths.iter().any(|known| known == path), "{path} in {paths:?}");
    }
}
