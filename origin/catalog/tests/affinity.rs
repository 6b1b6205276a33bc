//! Likes and follows: idempotent wishes, counters that catch up, lists in pieces.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use protocol::AccountId;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{World, account, publication, track};

async fn like(world: &World, who: AccountId, n: u8) -> StatusCode {
    world.call(Method::PUT, &format!("/v1/me/likes/{}", track(n)), Some(who), None).await.status
}

async fn unlike(world: &World, who: AccountId, n: u8) -> StatusCode {
    world.call(Method::DELETE, &format!("/v1/me/likes/{}", track(n)), Some(who), None).await.status
}

/// Waits until `look` gives `wanted`, for ten seconds at most.
async fn eventually<F: Future<Output = Value>>(look: impl Fn() -> F, wanted: Value) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let got = look().await;
        if got == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{got} did not become {wanted}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_counter_follows_the_likes_however_often_they_are_sent() {
    let world = World::new().await;
    world.publish(publication(track(1), 1, 1)).await;
    let catalog = world.catalog.clone();
    tokio::spawn(async move { catalog.count().await });

    for who in [1, 2, 3, 3, 2] {
        assert_eq!(like(&world, account(who), 1).await, StatusCode::NO_CONTENT);
    }
    assert_eq!(unlike(&world, account(1), 1).await, StatusCode::NO_CONTENT);
    assert_eq!(unlike(&world, account(1), 1).await, StatusCode::NO_CONTENT);
    let path = format!("/v1/tracks/{}", track(1));
    eventually(|| async { world.get(&path).await.body["likes"].clone() }, json!(2)).await;
}

#[tokio::test]
async fn what_is_not_there_cannot_be_liked_or_followed() {
    let world = World::new().await;
    assert_eq!(like(&world, account(1), 1).await, StatusCode::NOT_FOUND);
    assert_eq!(unlike(&world, account(1), 1).await, StatusCode::NO_CONTENT, "it is not liked");
    let follow = world.call(Method::PUT, &format!("/v1/me/follows/{}", track(1)), Some(account(1)), None).await;
    assert_eq!((follow.status, &follow.body["code"]), (StatusCode::NOT_FOUND, &json!("no_such_artist")));
    let anonymous = world.call(Method::PUT, &format!("/v1/me/likes/{}", track(1)), None, None).await;
    assert_eq!((anonymous.status, &anonymous.body["code"]), (StatusCode::UNAUTHORIZED, &json!("session_missing")));
}

#[tokio::test]
async fn a_follow_counts_once() {
    let world = World::new().await;
    world.publish(publication(track(1), 1, 1)).await;
    let artist = world.get(&format!("/v1/tracks/{}", track(1))).await.body["artist"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/me/follows/{artist}");
    for method in [Method::PUT, Method::PUT, Method::DELETE, Method::DELETE, Method::PUT] {
        assert_eq!(world.call(method, &path, Some(account(5)), None).await.status, StatusCode::NO_CONTENT);
    }
    let catalog = world.catalog.clone();
    tokio::spawn(async move { catalog.count().await });
    let count = || async {
        let value: Option<i64> = sqlx::query_scalar("SELECT value FROM catalog.counters WHERE kind = 'artist_follows'")
            .fetch_optional(&world.owner_pool)
            .await
            .unwrap();
        json!(value)
    };
    eventually(count, json!(1)).await;
}

#[tokio::test]
async fn likes_are_listed_newest_first_in_pieces() {
    let world = World::new().await;
    for n in 1..=5 {
        world.publish(publication(track(n), n, i64::from(n))).await;
        like(&world, account(7), n).await;
        world.clock.advance(if n == 3 { 0 } else { 1000 });
    }
    world.call(Method::DELETE, &format!("/v1/tracks/{}", track(2)), Some(account(1)), None).await;
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.call(Method::GET, &format!("/v1/me/likes?limit=2&cursor={cursor}"), Some(account(7)), None).await.body;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        listed.extend(items.iter().map(|item| item["track"]["id"].as_str().unwrap().to_owned()));
        assert!(items.iter().all(|item| item["liked_at"].as_str().unwrap().ends_with('Z')));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = next.to_owned();
    }
    let expected: Vec<_> = [5, 4, 3, 1].map(|n| track(n).to_string()).to_vec();
    assert_eq!(listed, expected, "the one taken down is left out");
    assert_eq!(world.call(Method::GET, "/v1/me/likes", Some(account(8)), None).await.body, json!({ "items": [], "next_cursor": null }));
    assert_eq!(world.call(Method::GET, "/v1/me/likes?cursor=zz", Some(account(8)), None).await.body["code"], "invalid_cursor");
}
