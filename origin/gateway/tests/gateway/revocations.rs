//! What was revoked is refused wherever playback passes the gateway, and nothing else waits for identity.

use std::{sync::atomic::Ordering, time::Duration};

use protocol::{
    PlayId,
    revocation::{FeedPage, Kind},
    token::Purpose,
};
use serde_json::json;

use crate::system::{System, account, code, now, track};

/// A play under way.
struct Play {
    id: PlayId,
    segment: String,
    ticket: String,
}

impl Play {
    fn begin(system: &System, n: u8) -> Self {
        let (id, until) = (PlayId::v7(now(), [n; 10]), now().plus_ms(3_600_000));
        let media = system.token_of(id, Purpose::Media, until);
        Self { id, segment: format!("/v1/media/{media}/aac-128/1.m4s"), ticket: system.token_of(id, Purpose::Event, until) }
    }

    async fn media(&self, system: &System) -> (u16, String) {
        told(system.get(&self.segment).await).await
    }

    async fn heartbeat(&self, system: &System) -> (u16, String) {
        let body = json!({"ticket": self.ticket, "sender": "s", "events": [{"seq": 0, "kind": "start", "from_ms": 0, "to_ms": 0}]});
        told(system.http.post(format!("{}/v1/me/play-event", system.url)).json(&body).send().await.unwrap()).await
    }

    async fn renewal(&self, system: &System) -> (u16, String) {
        manifest(system, &[("play", self.ticket.as_str())]).await
    }

    /// Until the copy has heard: what is refused stays refused.
    async fn is_refused(&self, system: &System) {
        for _ in 0..300 {
            if self.media(system).await == refused(403, "token_revoked") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the play goes on: {:?}", self.media(system).await);
    }
}

async fn manifest(system: &System, query: &[(&str, &str)]) -> (u16, String) {
    let url = format!("{}/v1/tracks/{}/manifest", system.url, track());
    told(system.http.get(url).query(query).bearer_auth(system.session()).send().await.unwrap()).await
}

/// The status, and the code of a refusal.
async fn told(answer: reqwest::Response) -> (u16, String) {
    let status = answer.status().as_u16();
    (status, if status < 400 { String::new() } else { code(answer).await })
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn served(status: u16) -> (u16, String) {
    (status, String::new())
}

#[tokio::test]
async fn a_revoked_play_ends_and_its_neighbours_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let (play, neighbour) = (Play::begin(&system, 1), Play::begin(&system, 2));
    assert_eq!((play.media(&system).await, play.heartbeat(&system).await), (served(200), served(202)));
    system.revoke(Kind::Play, play.id);
    play.is_refused(&system).await;
    assert_eq!(play.heartbeat(&system).await, refused(410, "play_ended"));
    assert_eq!(play.renewal(&system).await, refused(403, "token_revoked"));
    assert_eq!(neighbour.media(&system).await, served(200));
    assert_eq!(manifest(&system, &[]).await, served(200), "the listener may begin another");
    system.stop().await;
}

#[tokio::test]
async fn a_revoked_account_plays_nothing_and_begins_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let play = Play::begin(&system, 1);
    system.revoke(Kind::Account, system.keys.token.pseudonym(account()));
    play.is_refused(&system).await;
    assert_eq!(play.heartbeat(&system).await, refused(410, "play_ended"));
    assert_eq!(manifest(&system, &[]).await, refused(401, "session_revoked"));
    assert_eq!(Play::begin(&system, 2).media(&system).await, refused(403, "token_revoked"), "minted by an edge that had not heard");
    system.stop().await;
}

#[tokio::test]
async fn a_revoked_track_is_silent_whatever_its_card_says_and_what_was_heard_counts() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let play = Play::begin(&system, 1);
    assert_eq!(manifest(&system, &[]).await, served(200));
    system.revoke(Kind::Track, track());
    play.is_refused(&system).await;
    assert_eq!(manifest(&system, &[]).await, refused(410, "taken_down"));
    assert_eq!(play.renewal(&system).await, refused(403, "token_revoked"));
    assert_eq!(play.heartbeat(&system).await, served(202));
    system.stop().await;
}

#[tokio::test]
async fn the_feed_is_for_the_edge_and_outlives_identity() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let (play, other) = (Play::begin(&system, 1), Play::begin(&system, 2));
    system.revoke(Kind::Play, play.id);
    play.is_refused(&system).await;
    system.behind.identity_down.store(true, Ordering::SeqCst);

    assert_eq!(told(system.get("/internal/revocations?after=0").await).await, refused(403, "edge_signature_invalid"));
    let answer = system.edge_get("/internal/revocations?after=0").await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["cache-control"]), (200, &"no-store".parse().unwrap()));
    let page: FeedPage = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!((page.head, page.entries[0].kind, page.entries[0].subject), (1, Kind::Play, play.id.into()));
    let nothing_new = system.edge_get("/internal/revocations?after=1").await.bytes().await.unwrap();
    assert_eq!(serde_json::from_slice::<FeedPage>(&nothing_new).unwrap(), FeedPage { head: 1, entries: Vec::new() });
    assert_eq!(told(system.edge_get("/internal/revocations?after=x").await).await, refused(400, "invalid_query"));

    assert_eq!((other.media(&system).await, manifest(&system, &[]).await), (served(200), served(200)), "playback goes on");
    assert_eq!(play.media(&system).await, refused(403, "token_revoked"), "and what is revoked stays so");
    let metrics = system.http.get(format!("{}/metrics", system.admin)).send().await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains("antiphon_gateway_revocations 1\n") && metrics.contains("antiphon_gateway_revocations_age_seconds "),
        "{metrics}"
    );
    system.stop().await;
}

#[tokio::test]
async fn a_gateway_that_begins_without_identity_plays_and_tells_edges_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let play = Play::begin(&system, 1);
    system.revoke(Kind::Play, play.id);
    play.is_refused(&system).await;
    system.behind.identity_down.store(true, Ordering::SeqCst);
    let behind = system.behind.clone();
    system.stop().await;

    let system = System::start_over(dir.path(), "", behind).await;
    let answer = system.edge_get("/internal/revocations?after=0").await;
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(told(answer).await, refused(503, "revocations_not_synced"));
    assert_eq!(play.media(&system).await, served(200), "open until the token's own expiry");

    system.behind.identity_down.store(false, Ordering::SeqCst);
    play.is_refused(&system).await;
    assert_eq!(system.edge_get("/internal/revocations?after=0").await.status(), 200);
    system.stop().await;
}
