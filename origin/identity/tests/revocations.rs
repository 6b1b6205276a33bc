//! Revocations over HTTP, on a real PostgreSQL: what administrators see, what gateways are fed, and what a suspended account meets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "tests")]

mod service;

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use identity::Identity;
use platform::{
    Clock, Shutdown,
    feed::{ArtistDoc, Outbox, OutboxEvent, OutboxKind, OutboxPage, TrackDoc, TrackState},
};
use protocol::{
    AccountId, ArtistId, MediaVersion, TrackId, UnixMs,
    revocation::{FeedPage, Kind, LIFE_MS, Revocations},
};
use reqwest::Method;
use serde_json::{Value, json};
use service::{NOW, Service};
use tokio::sync::Mutex;

const PLAY: &str = "019aab00-0000-7000-8000-000000000001";

impl Service {
    async fn revoke(&self, admin: &str, kind: &str, id: &str) -> (u16, Value) {
        self.call(Method::POST, "/v1/revocations", admin, Some(json!({"kind": kind, "id": id, "reason": "a test"}))).await
    }

    async fn lift(&self, admin: &str, kind: &str, id: &str) -> (u16, Value) {
        self.call(Method::DELETE, &format!("/v1/revocations/{kind}/{id}"), admin, None).await
    }

    async fn feed(&self, after: i64, wait_ms: u64) -> FeedPage {
        let url = format!("{}/internal/revocations?after={after}&wait_ms={wait_ms}", self.base);
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }
}

#[tokio::test]
async fn only_an_administrator_revokes_and_a_second_time_changes_nothing() {
    let service = Service::start().await;
    let admin = service.administrator().await;
    service.sign_up("ada@example.org", "listener").await;
    let listener = service.log_in("ada@example.org", "correct horse").await.1["access_token"].as_str().unwrap().to_owned();
    for (token, expected) in [("", (401, "session_invalid")), (listener.as_str(), (403, "not_an_admin"))] {
        let answers = [
            service.revoke(token, "play", PLAY).await,
            service.lift(token, "play", PLAY).await,
            service.call(Method::GET, "/v1/revocations", token, None).await,
        ];
        for (status, problem) in answers {
            assert_eq!((status, problem["code"].as_str().unwrap()), expected);
        }
    }
    assert!(service.feed(0, 0).await.entries.is_empty(), "a refused call revokes nothing");

    let (status, revocation) = service.revoke(&admin, "play", PLAY).await;
    assert_eq!(status, 201, "{revocation}");
    assert_eq!((&revocation["kind"], &revocation["id"], &revocation["reason"]), (&json!("play"), &json!(PLAY), &json!("a test")));
    assert_eq!((&revocation["revoked_at"], &revocation["lifted_at"]), (&json!(NOW.rfc3339()), &Value::Null));
    assert_eq!(revocation["until"], NOW.plus_ms(LIFE_MS).rfc3339());
    service.clock.advance(1000);
    assert_eq!(service.revoke(&admin, "play", PLAY).await, (200, revocation));
    assert_eq!(service.feed(0, 0).await.entries.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_revoked_is_refused_by_place() {
    let service = Service::start().await;
    let admin = service.administrator().await;
    let refused = async |body: Value| {
        let (status, problem) = service.call(Method::POST, "/v1/revocations", &admin, Some(body)).await;
        (status, problem["code"].as_str().unwrap().to_owned(), problem["errors"][0]["pointer"].as_str().unwrap().to_owned())
    };
    let is = |status: u16, code: &str, place: &str| (status, code.to_owned(), place.to_owned());
    let own = service.log_in("admin@example.org", "correct horse").await.1["account"]["id"].clone();
    assert_eq!(refused(json!({"kind": "song", "id": PLAY, "reason": "x"})).await, is(400, "invalid_body", "/kind"));
    assert_eq!(refused(json!({"kind": "play", "id": "1", "reason": "x"})).await, is(400, "invalid_body", "/id"));
    assert_eq!(refused(json!({"kind": "play", "id": PLAY, "reason": " "})).await, is(400, "invalid_body", "/reason"));
    assert_eq!(refused(json!({"kind": "play", "id": PLAY, "reason": "x", "for_ms": 1})).await, is(400, "invalid_body", "/for_ms"));
    assert_eq!(refused(json!({"kind": "account", "id": PLAY, "reason": "x"})).await, is(422, "no_such_account", "/id"));
    assert_eq!(refused(json!({"kind": "account", "id": own, "reason": "x"})).await, is(422, "own_account", "/id"));
    assert_eq!(service.lift(&admin, "play", PLAY).await.1["code"], "no_such_revocation");
    assert_eq!(service.lift(&admin, "song", PLAY).await.0, 404);
}

#[tokio::test]
async fn the_list_is_given_in_pages_and_the_latest_change_comes_first() {
    let service = Service::start().await;
    let admin = service.administrator().await;
    let id = |n: u8| format!("019aab00-0000-7000-8000-0000000000{n:02}");
    for n in 1..=5 {
        assert_eq!(service.revoke(&admin, "track", &id(n)).await.0, 201);
    }
    assert_eq!(service.lift(&admin, "track", &id(1)).await.0, 204);
    let (mut seen, mut path) = (Vec::new(), "/v1/revocations?limit=2".to_owned());
    loop {
        let (_, page) = service.call(Method::GET, &path, &admin, None).await;
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| (item["id"].clone(), item["lifted_at"].is_string())));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/revocations?limit=2&cursor={cursor}");
    }
    let expected: Vec<_> = [1, 5, 4, 3, 2].map(|n| (json!(id(n)), n == 1)).into();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_suspended_account_is_out_until_it_is_lifted_and_only_its_owner_is_told() {
    let service = Service::start().await;
    let admin = service.administrator().await;
    let account = service.sign_up("ada@example.org", "listener").await["id"].as_str().unwrap().to_owned();
    let (_, session) = service.log_in("ada@example.org", "correct horse").await;
    assert_eq!(service.revoke(&admin, "account", &account).await.0, 201);

    let (status, problem) = service.log_in("ada@example.org", "correct horse").await;
    assert_eq!((status, &problem["code"]), (403, &json!("account_suspended")));
    let (status, problem) = service.refresh(&session["refresh_token"]).await;
    assert_eq!((status, &problem["code"]), (403, &json!("account_suspended")));
    let (status, problem) = service.log_in("ada@example.org", "a wrong one").await;
    assert_eq!((status, &problem["code"]), (401, &json!("bad_credentials")), "who guesses is not told");

    // Long after the last token has died the account is still suspended, though no edge needs to know.
    service.clock.advance(LIFE_MS + 1);
    assert_eq!(service.log_in("ada@example.org", "correct horse").await.1["code"], "account_suspended");
    assert!(service.feed(0, 0).await.entries.is_empty());

    let admin = service.log_in("admin@example.org", "correct horse").await.1["access_token"].as_str().unwrap().to_owned();
    assert_eq!(service.lift(&admin, "account", &account).await.0, 204);
    assert_eq!(service.lift(&admin, "account", &account).await.0, 404);
    assert_eq!(service.log_in("ada@example.org", "correct horse").await.0, 201);
    assert_eq!(service.refresh(&session["refresh_token"]).await.1["code"], "refresh_invalid", "the old log-in stays ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_in_slips_past_a_revocation_made_at_the_same_moment() {
    let service = Arc::new(Service::start().await);
    let admin = service.administrator().await;
    let account = service.sign_up("ada@example.org", "listener").await["id"].as_str().unwrap().to_owned();
    let log_ins: Vec<_> = (0..6)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move { service.log_in("ada@example.org", "correct horse").await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(service.revoke(&admin, "account", &account).await.0, 201);
    for log_in in log_ins {
        match log_in.await.unwrap() {
            (201, session) => assert_eq!(service.refresh(&session["refresh_token"]).await.0, 403),
            (status, problem) => assert_eq!((status, &problem["code"]), (403, &json!("account_suspended"))),
        }
    }
}

#[tokio::test]
async fn the_feed_tells_changes_in_order_and_wakes_who_waits() {
    let service = Service::start().await;
    let admin = service.administrator().await;
    let account = service.sign_up("ada@example.org", "listener").await["id"].as_str().unwrap().to_owned();
    service.revoke(&admin, "account", &account).await;
    let page = service.feed(0, 0).await;
    let pseudonym = service.keys.token.pseudonym(AccountId(account.parse().unwrap()));
    assert_eq!((page.entries[0].kind, page.entries[0].subject), (Kind::Account, pseudonym.into()));
    assert_eq!((page.head, page.entries[0].at_ms, page.entries[0].lifted_at_ms), (page.entries[0].seq, NOW, None));
    assert!(page.head >= NOW.0 * 1000, "places grow with the clock");

    let mut copy = Revocations::default();
    assert!(copy.take(&page, NOW));
    assert_eq!(service.feed(copy.cursor(), 0).await, FeedPage { head: page.head, entries: Vec::new() });
    // Nothing but the revocation ends this wait before its second is over; both are answered, whichever comes first.
    let (woken, revoked) = tokio::join!(service.feed(copy.cursor(), 1000), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        service.revoke(&admin, "play", PLAY).await
    });
    assert_eq!(woken.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [revoked.1["seq"].as_i64().unwrap()]);
    copy.take(&woken, NOW);

    service.clock.advance(2000);
    service.lift(&admin, "account", &account).await;
    let lifted = service.feed(copy.cursor(), 0).await;
    assert_eq!(lifted.entries.len(), 1, "a change comes again under a later place");
    copy.take(&lifted, NOW);
    let refuses = |begun| copy.refuses(Kind::Account, pseudonym.into(), begun, NOW.plus_ms(2000));
    assert!(refuses(NOW), "what began before the lifting stays refused");
    assert!(!refuses(NOW.plus_ms(2000)), "what begins now is not");
}

/// A catalogue that has nothing but an outbox.
#[derive(Clone, Default)]
struct Catalogue(Arc<Mutex<Vec<OutboxEvent>>>);

impl Catalogue {
    async fn serve(&self) -> Outbox {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let pull = async |State(events): State<Self>, query: axum::extract::RawQuery| {
            let query = query.0.unwrap_or_default();
            let after: i64 = query.split('&').find_map(|pair| pair.strip_prefix("after=")).unwrap().parse().unwrap();
            let events: Vec<_> = events.0.lock().await.iter().filter(|event| event.seq > after).cloned().collect();
            if events.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            axum::Json(OutboxPage { head: events.last().map_or(after, |event| event.seq), events })
        };
        let router = Router::new().route("/internal/outbox", get(pull)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Outbox::at(&url).unwrap()
    }

    async fn tell(&self, kind: OutboxKind, track: TrackId, at_ms: UnixMs) {
        let mut events = self.0.lock().await;
        let seq = i64::try_from(events.len()).unwrap() + 1;
        let artist = ArtistDoc { id: ArtistId::v7(NOW, [5; 10]), name: "Ada".to_owned() };
        let track = TrackDoc {
            id: track,
            title: "Song".to_owned(),
            artist,
            album: None,
            isrc: None,
            genre: None,
            duration_ms: 1000,
            owner: AccountId::v7(NOW, [6; 10]),
            acts_for: None,
            version: MediaVersion([7; 16]),
            state: if kind == OutboxKind::TrackPublished { TrackState::Published } else { TrackState::TakenDown },
            territories: None,
            release_at_ms: None,
            published_at_ms: NOW,
        };
        events.push(OutboxEvent { seq, kind, at_ms, track });
    }
}

impl Service {
    /// The feed's entries after `after`, once there are `count`.
    async fn fed(&self, after: i64, count: usize) -> FeedPage {
        for _ in 0..300 {
            let page = self.feed(after, 0).await;
            if page.entries.len() >= count {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{count} entries never come: {:?}", self.feed(after, 0).await);
    }
}

#[tokio::test]
async fn a_take_down_is_a_revocation_until_the_track_is_published_again() {
    let service = Service::start().await;
    let admin = service.administrator().await;
    let (song, old, other) = (TrackId::v7(NOW, [1; 10]), TrackId::v7(NOW, [2; 10]), TrackId::v7(NOW, [3; 10]));
    let catalogue = Catalogue::default();
    catalogue.tell(OutboxKind::TrackPublished, song, NOW).await;
    catalogue.tell(OutboxKind::TrackTakenDown, old, NOW.plus_ms(-LIFE_MS)).await;
    catalogue.tell(OutboxKind::TrackTakenDown, song, NOW).await;
    catalogue.tell(OutboxKind::TrackTakenDown, other, NOW).await;
    let identity = |clock: &Clock| Identity::new(service.database.pool("identity"), &service.keys, clock.clone()).unwrap();
    let (outbox, stop) = (catalogue.serve().await, Shutdown::new());
    let follower = tokio::spawn(identity(&service.clock).follow_catalog(outbox.clone(), stop.clone()));

    let page = service.fed(0, 2).await;
    let subjects: Vec<_> = page.entries.iter().map(|entry| entry.subject).collect();
    assert_eq!(subjects, [song.into(), other.into()], "what was taken down too long ago to matter is not among them");
    let (_, listed) = service.call(Method::GET, "/v1/revocations", &admin, None).await;
    assert_eq!((&listed["items"][1]["revoked_by"], &listed["items"][1]["reason"]), (&Value::Null, &json!("taken down")));
    // An administrator's word outlives what an owner does.
    assert_eq!(service.revoke(&admin, "track", &other.to_string()).await.0, 201);
    let after = service.fed(page.head, 1).await.head;

    service.clock.advance(5000);
    catalogue.tell(OutboxKind::TrackPublished, other, NOW.plus_ms(4000)).await;
    catalogue.tell(OutboxKind::TrackPublished, song, NOW.plus_ms(4000)).await;
    let lifted = service.fed(after, 1).await;
    assert_eq!(lifted.entries.iter().map(|entry| entry.subject).collect::<Vec<_>>(), [song.into()]);
    assert!(lifted.entries[0].lifted_at_ms.is_some_and(|at| at > NOW && at <= NOW.plus_ms(4000)));

    // Another process that starts over finds its place: nothing is taken twice.
    stop.request();
    follower.await.unwrap();
    let (stop, third) = (Shutdown::new(), TrackId::v7(NOW, [4; 10]));
    tokio::spawn(identity(&service.clock).follow_catalog(outbox, stop.clone()));
    catalogue.tell(OutboxKind::TrackTakenDown, third, NOW.plus_ms(5000)).await;
    let page = service.fed(lifted.head, 1).await;
    assert_eq!(page.entries.iter().map(|entry| entry.subject).collect::<Vec<_>>(), [third.into()]);
    stop.request();
}
