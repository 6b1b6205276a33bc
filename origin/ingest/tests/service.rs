//! From an artist's file to a track in the catalogue: the real object store, queue, catalogue and identity, over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod members;
mod world;

use std::{sync::Arc, time::Duration};

use ingest::{OBJECT_CREATED, media::Studio};
use protocol::{AccountId, Role};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use world::{World, account, declaration, ffmpeg, song, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_becomes_a_track_that_can_be_played() {
    let world = World::new().await;
    let _worker = world.worker();
    let bytes = song(440, 20);
    let begun = world.declare(declaration(&bytes)).await;
    let track = begun["track"]["id"].as_str().unwrap().to_owned();
    assert_eq!(begun["track"]["state"], "pending");
    assert_eq!(begun["upload"]["expires_at"], world.clock.now().plus_ms(3_600_000).rfc3339());
    assert_eq!(world.status(&track).await["state"], "pending");
    assert_eq!(world.put(&begun, bytes).await, StatusCode::OK);

    let status = world.until(&track, "published").await;
    assert_eq!(status["reason"], Value::Null);
    assert_eq!(
        status["progress"],
        json!([{"rung": "aac-64", "percent": 100}, {"rung": "aac-128", "percent": 100}, {"rung": "aac-256", "percent": 100}])
    );
    assert_eq!(status["published_at"], world.clock.now().rfc3339());

    let page: Value = world.http.get(format!("{}/v1/tracks/{track}", world.catalog_url)).send().await.unwrap().json().await.unwrap();
    assert_eq!((&page["title"], &page["artist"]["name"], &page["duration_ms"]), (&json!("Nocturne"), &json!("Ada"), &json!(20_000)));
    let sheet = world.sheet(&track).await;
    assert_eq!(sheet.samples, 20 * 44_100);
    for rendition in &sheet.rungs {
        let key = format!("media/{}/{}.mp4", sheet.version, rendition.rung);
        let stored = world.objects.get("media", &key).await.unwrap();
        assert_eq!(hex::encode(Sha256::digest(&stored)), rendition.sha256);
    }

    let stranger = world.call(Method::GET, &format!("/v1/ingest/tracks/{track}"), account(2), None).await;
    assert_eq!((stranger.status, &stranger.body["code"]), (StatusCode::NOT_FOUND, &json!("no_such_track")));
    let down = world.http.delete(format!("{}/v1/tracks/{track}", world.catalog_url)).bearer_auth(world.session(account(1), Role::Artist));
    assert_eq!(down.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(world.status(&track).await["state"], "taken_down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_takes_only_the_bytes_it_was_made_for_and_only_once() {
    let world = World::new().await;
    let bytes = song(440, 2);
    let begun = world.declare(declaration(&bytes)).await;
    let mut other = bytes.clone();
    other[100] ^= 1;
    assert!(world.put(&begun, other.clone()).await.is_client_error());
    let mut shorter = begun.clone();
    shorter["upload"]["headers"]["content-length"] = json!((bytes.len() - 1).to_string());
    assert!(world.put(&shorter, bytes[1..].to_vec()).await.is_client_error());
    assert_eq!(world.put(&begun, bytes.clone()).await, StatusCode::OK);
    assert_eq!(world.put(&begun, bytes).await, StatusCode::PRECONDITION_FAILED);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_track_is_rejected_with_a_reason() {
    let world = World::new().await;
    let _worker = world.worker();
    let whole = song(500, 3);
    let table = [
        (b"a shopping list, of some length, with nothing to hear".to_vec(), "not_audio"),
        (b"#EXTM3U\n#EXTINF:3,\nhttp://127.0.0.1:1/x\n".to_vec(), "playlist_not_audio"),
        (whole[..whole.len() / 2].to_vec(), "truncated"),
    ];
    for (bytes, code) in table {
        let track = world.upload(bytes).await;
        let status = world.until(&track, "rejected").await;
        assert_eq!(status["reason"]["code"], code);
        assert!(status["reason"]["detail"].as_str().unwrap().len() > 20);
        assert_eq!(status["published_at"], Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_those_declared_are_rejected_even_when_the_store_let_them_in() {
    let world = World::new().await;
    let _worker = world.worker();
    let bytes = song(440, 2);
    for (stored, code) in [(song(441, 2), None), (bytes[..1000].to_vec(), Some("size_mismatch"))] {
        let begun = world.declare(declaration(&bytes)).await;
        let key = format!("raw/{}", begun["upload"]["id"].as_str().unwrap());
        let same_size = stored.len() == bytes.len();
        world.objects.put("raw", &key, stored.into(), "audio/flac").await.unwrap();
        let status = world.until(begun["track"]["id"].as_str().unwrap(), "rejected").await;
        let expected = code.unwrap_or(if same_size { "digest_mismatch" } else { "size_mismatch" });
        assert_eq!(status["reason"]["code"], expected);
    }
    let begun = world.declare(declaration(&bytes)).await;
    let key = format!("raw/{}", begun["upload"]["id"].as_str().unwrap());
    let mut altered = bytes.clone();
    altered[500] ^= 1;
    world.objects.put("raw", &key, altered.into(), "audio/flac").await.unwrap();
    let status = world.until(begun["track"]["id"].as_str().unwrap(), "rejected").await;
    assert_eq!(status["reason"]["code"], "digest_mismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_leaves_a_job_that_another_finishes_with_the_same_bytes() {
    let world = World::new().await;
    let bytes = song(300, 120);
    let first = world.worker();
    let track = world.upload(bytes.clone()).await;
    wait_for(&world.owner(), "SELECT count(*) = 1 FROM ingest.jobs").await;
    // In the middle of the encoding.
    tokio::time::sleep(Duration::from_millis(300)).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(world.status(&track).await["state"], "processing");

    let second = world.worker();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(world.status(&track).await["state"], "processing", "the first one's lease still holds");
    world.clock.advance(31_000);
    world.until(&track, "published").await;
    second.abort();

    let sheet = world.sheet(&track).await;
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::write(&source, &bytes).unwrap();
    let sha256: [u8; 32] = Sha256::digest(&bytes).into();
    let take = ingest::media::Take { source: &source, size: bytes.len() as u64, sha256: &sha256, folder: folder.path() };
    let master = Studio::new(ffmpeg(), 60).unwrap().make(take, &|_| {}, &Arc::default()).unwrap();
    assert_eq!(sheet, master.sheet);
    assert_eq!(world.published_events().await, 1);
    let attempts: i32 = sqlx::query_scalar("SELECT attempts FROM ingest.jobs").fetch_one(&world.owner()).await.unwrap();
    assert_eq!(attempts, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_late_and_foreign_events_are_harmless() {
    let world = World::new().await;
    let pool = world.owner();
    let worker = world.worker();
    let track = world.upload(song(440, 2)).await;
    world.until(&track, "published").await;
    let upload: uuid::Uuid = sqlx::query_scalar("SELECT id FROM ingest.uploads").fetch_one(&pool).await.unwrap();
    let event = |key: &str, sequencer: &str| {
        json!({ "Records": [{ "eventVersion": "2.1", "eventName": "ObjectCreated:Put", "s3": { "bucket": { "name": "raw" },
            "object": { "key": key, "size": 1, "eTag": "x", "sequencer": sequencer } } }] })
    };
    let key = format!("raw/{upload}");
    let messages = [
        ("again", event(&key, "ffffffffffffffff")),
        ("late", event(&key, "0000000000000001")),
        ("test", json!({ "Service": "Amazon S3", "Event": "s3:TestEvent" })),
        ("unknown", event("raw/01936f2e-8c00-7000-8000-00000000ffff", "01")),
        ("foreign", event("raw/..%2F..%2Fetc%2Fpasswd", "01")),
        ("nonsense", json!({ "hello": "world" })),
    ];
    for (name, body) in &messages {
        assert!(world.queue.send(OBJECT_CREATED, name, body).await.unwrap());
    }
    wait_for(&pool, "SELECT count(*) = 0 FROM queue.messages").await;
    assert_eq!(world.status(&track).await["state"], "published");
    assert_eq!(world.published_events().await, 1);
    let dead: Vec<(String, String)> =
        sqlx::query_as("SELECT key, reason FROM queue.dead_letters ORDER BY key").fetch_all(&pool).await.unwrap();
    assert_eq!(dead.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["foreign", "nonsense", "unknown"]);
    assert!(dead.iter().all(|(_, reason)| reason.len() > 10), "{dead:?}");
    worker.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_twice_is_encoded_once() {
    let world = World::new().await;
    let _worker = world.worker();
    let bytes = song(440, 2);
    let first = world.upload(bytes.clone()).await;
    world.until(&first, "published").await;
    world.clock.advance(1);
    let second = world.upload(bytes).await;
    world.until(&second, "published").await;
    assert_eq!(world.sheet(&first).await, world.sheet(&second).await);

    let list = world.call(Method::GET, "/v1/me/tracks?limit=1", account(1), None).await.body;
    assert_eq!((&list["items"][0]["id"], &list["items"][0]["state"]), (&json!(second), &json!("published")));
    let rest = format!("/v1/me/tracks?cursor={}", list["next_cursor"].as_str().unwrap());
    let list = world.call(Method::GET, &rest, account(1), None).await.body;
    assert_eq!((&list["items"][0]["id"], &list["next_cursor"]), (&json!(first), &Value::Null));
    assert_eq!(world.call(Method::GET, "/v1/me/tracks", account(2), None).await.body["items"], json!([]));
}

#[tokio::test]
async fn a_declaration_is_checked_by_name_and_kept_by_its_idempotency_key() {
    let world = World::new().await;
    let good = declaration(b"0123456789");
    let mut bad = good.clone();
    bad["colour"] = json!("blue");
    let answer = world.call(Method::POST, "/v1/ingest/upload", account(1), Some(bad)).await;
    assert_eq!(
        (answer.status, &answer.body["code"], &answer.body["errors"][0]["pointer"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_body"), &json!("/colour"))
    );
    let mut bad = good.clone();
    (bad["size_bytes"], bad["territories"]) = (json!(0), json!(["XX"]));
    let answer = world.call(Method::POST, "/v1/ingest/upload", account(1), Some(bad)).await;
    let pointers: Vec<_> = answer.body["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/size_bytes", "/territories/0"]);

    let post = || world.http.post(format!("{}/v1/ingest/upload", world.url)).json(&good).header("idempotency-key", "k1");
    let stranger = post().bearer_auth(world.session(account(9), Role::Artist)).send().await.unwrap();
    assert_eq!(stranger.status(), StatusCode::FORBIDDEN);
    assert_eq!(post().send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let artist = || async {
        let sent = post().header("idempotency-key", "k2").bearer_auth(world.session(account(3), Role::Artist)).send().await.unwrap();
        sent.json::<Value>().await.unwrap()
    };
    let (first, second) = (artist().await, artist().await);
    assert_eq!(first, second);
    assert_eq!(world.call(Method::GET, "/v1/me/tracks", account(3), None).await.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artist_cancels_what_is_not_published_yet_and_nothing_comes_of_it() {
    let world = World::new().await;
    let cancel = async |track: &str, who: AccountId| world.call(Method::DELETE, &format!("/v1/ingest/tracks/{track}"), who, None).await;
    // Before the bytes are there.
    let (bytes, long) = (song(220, 5), song(330, 120));
    let begun = world.declare(declaration(&bytes)).await;
    let early = begun["track"]["id"].as_str().unwrap().to_owned();
    assert_eq!(cancel(&early, account(2)).await.body["code"], "no_such_track");
    assert_eq!(cancel(&early, account(1)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(cancel(&early, account(1)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.put(&begun, bytes).await, StatusCode::OK, "the place was promised for an hour");
    // While they are encoded.
    let late = world.upload(long).await;
    let worker = world.worker();
    wait_for(&world.owner(), "SELECT count(*) = 1 FROM ingest.jobs").await;
    assert_eq!(cancel(&late, account(1)).await.status, StatusCode::NO_CONTENT);

    wait_for(&world.owner(), "SELECT count(*) = 0 FROM queue.messages").await;
    for track in [&early, &late] {
        assert_eq!(world.status(track).await["state"], "taken_down");
    }
    assert_eq!(world.published_events().await, 0);
    // The worker is free for the next one, which cannot be cancelled once it is published.
    let next = world.upload(song(440, 5)).await;
    world.until(&next, "published").await;
    let refused = cancel(&next, account(1)).await;
    assert_eq!((refused.status, &refused.body["code"]), (StatusCode::CONFLICT, &json!("not_under_way")));
    worker.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_ended_uploads_are_removed_when_nobody_needs_them_any_more() {
    let world = World::new().await;
    let first = world.worker();
    let published = world.upload(song(440, 2)).await;
    world.until(&published, "published").await;
    first.abort();
    let cancel = async |begun: &Value| {
        let track = begun["track"]["id"].as_str().unwrap().to_owned();
        world.call(Method::DELETE, &format!("/v1/ingest/tracks/{track}"), account(1), None).await;
        track
    };
    // Declared a little earlier, so that the janitor takes it alone: the sign that it has looked.
    cancel(&world.declare(declaration(b"0123456789")).await).await;
    world.clock.advance(10);
    let bytes = song(220, 2);
    let begun = world.declare(declaration(&bytes)).await;
    assert_eq!(world.put(&begun, bytes).await, StatusCode::OK);
    let cancelled = cancel(&begun).await;
    let pending = world.declare(declaration(b"0123456789")).await["track"]["id"].as_str().unwrap().to_owned();

    let cleared = async |after_ms: i64, until: &'static str| {
        world.clock.advance(after_ms);
        let janitor = world.worker();
        wait_for(&world.owner(), until).await;
        janitor.abort();
        (world.has_raw(&published).await, world.has_raw(&cancelled).await)
    };
    let day_ms = 24 * 3_600_000;
    let removed = cleared(day_ms - 5, "SELECT count(*) >= 1 FROM ingest.uploads WHERE raw_removed_at_ms IS NOT NULL").await;
    assert_eq!(removed, (true, true), "a day has not passed for the second");
    let removed = cleared(10, "SELECT count(*) >= 2 FROM ingest.uploads WHERE raw_removed_at_ms IS NOT NULL").await;
    assert_eq!(removed, (true, false), "a day is for what was cancelled");
    let removed = cleared(90 * day_ms, "SELECT count(*) >= 3 FROM ingest.uploads WHERE raw_removed_at_ms IS NOT NULL").await;
    assert_eq!(removed, (false, false));
    let state: String = sqlx::query_scalar("SELECT state FROM ingest.uploads WHERE track_id = $1::UUID AND raw_removed_at_ms IS NULL")
        .bind(&pending)
        .fetch_one(&world.owner())
        .await
        .unwrap();
    assert_eq!(state, "pending", "what has not ended is not touched");
    assert_eq!(world.sheet(&published).await.samples, 2 * 44_100, "what listeners hear stays");
}
