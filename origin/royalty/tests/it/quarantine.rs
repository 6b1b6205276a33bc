//! Quarantined records are told, explained, and merged again after a fix: once, and at their own receipts.

use protocol::{Role, heartbeat::StoredPost, keys::TokenKeys};
use serde_json::{Value, json};

use crate::scene::{NOW, Play, Scene, a_listen, scene, track};

impl Scene {
    async fn quarantine(&self, query: &str) -> Vec<Value> {
        let page = self.get(&self.admin(), &format!("/v1/royalties/quarantine?{query}")).await;
        page["items"].as_array().unwrap().clone()
    }

    async fn replay(&self, order: Value) -> Value {
        let (status, answer) = self.send(&self.admin(), "POST", "/v1/royalties/quarantine/replays", Some(order)).await;
        assert_eq!(status, 201, "{answer}");
        answer
    }

    /// From now on tickets are signed by a key that the service does not have.
    fn sign_with_another_key(&mut self) {
        let mut document: Value = serde_json::from_str(&self.keys.token_json).unwrap();
        document["keys"]["9"] = json!("9".repeat(64));
        document["current"] = json!(9);
        self.keys.token = TokenKeys::parse(&document.to_string()).unwrap();
    }

    /// A service that has all keys takes over, as after a restart.
    async fn restart_with_all_keys(&mut self) {
        let routes = royalty::router(self.royalty(self.pool.clone()));
        let base = platform::testing::serve_here("royalty", routes).await;
        self.ask_at(base);
    }
}

/// A listen whose key the service lacks, in quarantine.
async fn a_listen_without_its_key() -> (Scene, Play) {
    let mut scene = scene().await;
    scene.sign_with_another_key();
    let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
    let answer = scene.merge(Scene::posts(&play, &a_listen())).await;
    assert_eq!((answer["quarantined"].as_i64(), answer["counted"].as_i64()), (Some(4), Some(0)), "{answer}");
    (scene, play)
}

#[tokio::test]
async fn records_whose_key_was_missing_are_one_listen_after_the_key_returned() {
    let (mut scene, play) = a_listen_without_its_key().await;
    let before = json!({"acked": 4, "counted": 0, "quarantined": 4, "duplicate": 0, "pending": 0});
    assert_eq!(scene.counts("2026-11").await, before);
    let too_early = scene.replay(json!({"reason": "ticket_invalid"})).await;
    assert_eq!((too_early["counted"].as_i64(), too_early["refused"].as_array().unwrap().len()), (Some(0), 4));
    assert_eq!(too_early["refused"][0]["reason"], "ticket_invalid");
    assert_eq!(scene.counts("2026-11").await, before);

    scene.restart_with_all_keys().await;
    // The clock has gone on: what counts is when the records were received.
    scene.clock.advance(10 * 86_400_000);
    let rehearsal = scene.replay(json!({"reason": "ticket_invalid", "dry_run": true})).await;
    assert_eq!((rehearsal["counted"].as_i64(), rehearsal["dry_run"].as_bool()), (Some(4), Some(true)));
    assert_eq!(scene.counts("2026-11").await, before, "a rehearsal wrote something");

    let (one, two) = tokio::join!(scene.replay(json!({"period": "2026-11"})), scene.replay(json!({"period": "2026-11"})));
    assert_eq!(one["counted"].as_i64().unwrap() + two["counted"].as_i64().unwrap(), 4, "{one} {two}");
    assert_eq!(scene.replay(json!({})).await["examined"], 0);
    assert_eq!(scene.counts("2026-11").await, json!({"acked": 4, "counted": 0, "quarantined": 0, "duplicate": 0, "pending": 4}));
    scene.fold().await;
    assert_eq!(scene.counts("2026-11").await, json!({"acked": 4, "counted": 4, "quarantined": 0, "duplicate": 0, "pending": 0}));
    let item = &scene.get(&scene.person(1, Role::Listener), "/v1/me/history").await["items"][0];
    assert_eq!((item["state"].as_str(), item["played_ms"].as_i64()), (Some("provisional"), Some(32_000)), "{item}");
    assert_eq!(item["play_id"].as_str(), Some(play.id.to_string().as_str()));
    let reconciled = scene.get(&scene.admin(), "/v1/royalties/reconciliation?period=2026-11").await;
    assert_eq!(reconciled["identity"], json!({"acked": 4, "counted": 4, "quarantined": 0, "duplicate": 0, "pending": 0}));
    assert_eq!(scene.number("SELECT count(*) FROM royalty.quarantine").await, 4, "the records stay as evidence");
}

#[tokio::test]
async fn a_record_that_came_another_way_meanwhile_is_a_duplicate() {
    let (mut scene, play) = a_listen_without_its_key().await;
    scene.restart_with_all_keys().await;
    scene.merge(Scene::posts(&play, &a_listen()[..3])).await;
    scene.fold().await;
    let replayed = scene.replay(json!({})).await;
    assert_eq!((replayed["counted"].as_i64(), replayed["duplicate"].as_i64()), (Some(1), Some(3)), "{replayed}");
    scene.fold().await;
    assert_eq!(scene.counts("2026-11").await, json!({"acked": 7, "counted": 4, "quarantined": 0, "duplicate": 3, "pending": 0}));
}

#[tokio::test]
async fn what_cannot_be_fixed_stays_and_says_why() {
    let scene = scene().await;
    let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
    let posts = Scene::posts(&play, &a_listen());
    let forged = StoredPost { ticket: "A".repeat(130), received_at_ms: NOW, ..posts[0].clone() };
    let hostile = StoredPost { sender: "\u{0}'; DROP".to_owned(), ..posts[1].clone() };
    let mut other = posts[2].clone();
    other.events[0].to_ms += 1;
    other.received_at_ms = other.received_at_ms.plus_ms(1);
    scene.merge([posts, vec![forged, hostile, other]].concat()).await;
    scene.fold().await;
    let before = scene.counts("2026-11").await;
    let replayed = scene.replay(json!({})).await;
    let reasons: Vec<_> = replayed["refused"].as_array().unwrap().iter().map(|still| still["reason"].as_str().unwrap()).collect();
    assert_eq!((replayed["examined"].as_i64(), replayed["counted"].as_i64(), replayed["duplicate"].as_i64()), (Some(3), Some(0), Some(0)));
    assert_eq!(reasons, ["ticket_invalid", "bad_sender", "other_content_under_this_name"]);
    scene.fold().await;
    assert_eq!(scene.counts("2026-11").await, before);
}

#[tokio::test]
async fn a_record_is_found_page_by_page_and_explained() {
    let (mut scene, _) = a_listen_without_its_key().await;
    let first = scene.get(&scene.admin(), "/v1/royalties/quarantine?period=2026-11&reason=ticket_invalid&limit=3").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = scene.quarantine(&format!("period=2026-11&reason=ticket_invalid&limit=3&cursor={cursor}")).await;
    assert_eq!((first["items"].as_array().unwrap().len(), second.len()), (3, 1));
    assert_eq!(scene.quarantine("period=2026-10").await.len(), 0);
    assert_eq!(scene.quarantine("reason=bad_sender").await.len(), 0);

    let id = first["items"][0]["id"].as_i64().unwrap();
    let path = format!("/v1/royalties/quarantine/{id}");
    let explained = scene.get(&scene.admin(), &path).await;
    assert_eq!((explained["state"].as_str(), explained["period"].as_str()), (Some("quarantined"), Some("2026-11")));
    assert!(explained["fix"].as_str().unwrap().contains("key"), "{explained}");
    assert_eq!(explained["record"]["event"]["kind"], "start");
    let (status, refused) = scene.send(&scene.admin(), "GET", "/v1/royalties/quarantine/999", None).await;
    assert_eq!((status, refused["code"].as_str()), (404, Some("no_such_record")));

    scene.restart_with_all_keys().await;
    let replayed = scene.replay(json!({"ids": [id]})).await;
    assert_eq!((replayed["examined"].as_i64(), replayed["counted"].as_i64()), (Some(1), Some(1)));
    assert_eq!(scene.get(&scene.admin(), &path).await["state"], "counted");
    assert_eq!(scene.quarantine("").await.len(), 3);
    let many: Vec<i64> = (0..501).collect();
    let (status, refused) = scene.send(&scene.admin(), "POST", "/v1/royalties/quarantine/replays", Some(json!({"ids": many}))).await;
    assert_eq!((status, refused["code"].as_str()), (422, Some("bad_item")));
}
