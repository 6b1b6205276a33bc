//! Who may upload, look, cancel and take down: the members of the artist, by their role at the moment of the call.

use protocol::{AccountId, Role};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::world::{Answer, World, account, artist, declaration, song};

/// No artist's account, but let in by one.
const GRACE: u8 = 7;

impl World {
    async fn declares(&self, who: AccountId, body: Value) -> Answer {
        self.call(Method::POST, "/v1/ingest/upload", who, Some(body)).await
    }

    async fn lists(&self, who: AccountId, query: &str) -> Vec<Value> {
        let page = self.call(Method::GET, &format!("/v1/me/tracks{query}"), who, None).await.body;
        page["items"].as_array().cloned().unwrap_or_default()
    }

    async fn take_down(&self, who: AccountId, track: &str) -> (u16, Value) {
        let url = format!("{}/v1/tracks/{track}", self.catalog_url);
        let answer = self.http.delete(url).bearer_auth(self.session(who, Role::Listener)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_editor_uploads_for_the_artist_whose_owner_is_paid_and_loses_it_when_removed() {
    let (world, grace) = (World::new().await, account(GRACE));
    let _worker = world.worker();
    world.join(grace, artist(1), "editor").await;
    let bytes = song(440, 2);
    let begun = world.declares(grace, declaration(&bytes)).await.body;
    assert_eq!(world.put(&begun, bytes.clone()).await, StatusCode::OK);
    let track = begun["track"]["id"].as_str().unwrap();
    let status = world.until(track, "published").await;
    assert_eq!((&status["artist"], &status["artist_id"]), (&json!("Ada"), &json!(artist(1))));

    let url = format!("{}/internal/outbox?after=0&limit=500&wait_ms=0", world.catalog_url);
    let outbox: Value = world.http.get(url).send().await.unwrap().json().await.unwrap();
    let told = &outbox["events"][0]["track"];
    assert_eq!((&told["owner"], &told["acts_for"]), (&json!(account(1)), &json!(artist(1))));
    let by: uuid::Uuid = sqlx::query_scalar("SELECT uploaded_by FROM ingest.uploads").fetch_one(&world.owner()).await.unwrap();
    assert_eq!(by, grace.uuid());

    let pending = world.declares(grace, declaration(&bytes)).await.body["track"]["id"].as_str().unwrap().to_owned();
    world.remove(grace, artist(1)).await;
    let refused = world.declares(grace, declaration(&bytes)).await;
    assert_eq!((refused.status, &refused.body["code"]), (StatusCode::FORBIDDEN, &json!("not_an_artist")));
    let cancel = world.call(Method::DELETE, &format!("/v1/ingest/tracks/{pending}"), grace, None).await;
    assert_eq!((cancel.status, &cancel.body["code"]), (StatusCode::NOT_FOUND, &json!("no_such_track")));
    assert_eq!(world.lists(grace, "").await, Vec::<Value>::new());
    assert_eq!(world.take_down(grace, track).await.1["code"], "not_yours");
    assert_eq!(world.lists(account(1), "").await.len(), 2, "what was uploaded is the artist's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_and_changes_nothing() {
    let (world, grace) = (World::new().await, account(GRACE));
    let _worker = world.worker();
    world.join(grace, artist(1), "viewer").await;
    let bytes = song(440, 2);
    for body in [declaration(&bytes), with(declaration(&bytes), "artist_id", json!(artist(1)))] {
        let refused = world.declares(grace, body).await;
        assert_eq!((refused.status, &refused.body["code"]), (StatusCode::FORBIDDEN, &json!("needs_editor")));
    }
    let track = world.upload(bytes).await;
    let path = format!("/v1/ingest/tracks/{track}");
    assert_eq!(world.call(Method::GET, &path, grace, None).await.status, StatusCode::OK);
    let cancel = world.call(Method::DELETE, &path, grace, None).await;
    assert_eq!((cancel.status, &cancel.body["code"]), (StatusCode::FORBIDDEN, &json!("needs_editor")));
    world.until(&track, "published").await;
    assert_eq!(world.lists(grace, "").await.len(), 1);
    let (status, problem) = world.take_down(grace, &track).await;
    assert_eq!((status, &problem["code"]), (403, &json!("needs_editor")));

    world.join(grace, artist(1), "editor").await;
    assert_eq!(world.take_down(grace, &track).await.0, 204, "an editor may, from the next call on");
}

#[tokio::test]
async fn who_acts_for_several_says_for_whom() {
    let world = World::new().await;
    world.join(account(1), artist(2), "editor").await;
    world.join(account(1), artist(3), "viewer").await;
    let body = declaration(b"0123456789");
    let refused = world.declares(account(1), body.clone()).await;
    assert_eq!((refused.status, &refused.body["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("artist_not_named")));
    assert_eq!(refused.body["errors"][0]["pointer"], "/artist_id");
    for n in [1, 2] {
        assert_eq!(world.declares(account(1), with(body.clone(), "artist_id", json!(artist(n)))).await.status, StatusCode::CREATED);
    }
    let foreign = world.declares(account(2), with(body, "artist_id", json!(artist(1)))).await;
    assert_eq!((foreign.status, &foreign.body["code"]), (StatusCode::FORBIDDEN, &json!("not_a_member")));

    assert_eq!(world.lists(account(1), "").await.len(), 2);
    let of_second = world.lists(account(1), &format!("?artist_id={}", artist(2))).await;
    assert_eq!(of_second.iter().map(|track| &track["artist_id"]).collect::<Vec<_>>(), [&json!(artist(2))]);
    let peeked = world.call(Method::GET, &format!("/v1/me/tracks?artist_id={}", artist(1)), account(2), None).await;
    assert_eq!((peeked.status, &peeked.body["code"]), (StatusCode::FORBIDDEN, &json!("not_a_member")));
}

#[tokio::test]
async fn while_identity_is_away_nothing_is_decided() {
    let mut world = World::new().await;
    world.config.listen.identity = "127.0.0.1:9".to_owned();
    let ingest = ingest::Ingest::new(&world.config, world.database.pool("ingest"), world.clock.clone()).unwrap();
    world.url = platform::testing::serve_here("ingest", ingest::router(ingest)).await;
    let answer = world.declares(account(1), declaration(b"0123456789")).await;
    assert_eq!((answer.status, &answer.body["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("unavailable")));
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM ingest.uploads").fetch_one(&world.owner()).await.unwrap();
    assert_eq!(kept, 0);
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}
