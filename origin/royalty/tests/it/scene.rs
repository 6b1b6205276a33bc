//! A royalty service on a private database with a clock that stands still, and the people who call it.

use std::sync::atomic::{AtomicU64, Ordering};

use platform::{
    AuthState, Clock, Keys,
    feed::{ArtistDoc, OutboxEvent, OutboxKind, TrackDoc, TrackState},
    memberships::Memberships,
    testing::{self, TestDatabase},
};
use protocol::{
    AccountId, ArtistId, MediaVersion, Plan, PlayId, Role, RungSet, TrackId, UnixMs,
    heartbeat::{Batch, Event, EventKind, StoredPost},
    listen::Uncorroborated,
    session::Session,
    token::{self, Claims, Purpose},
};
use royalty::Royalty;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// 2026-11-24T21:38:00Z.
pub const NOW: UnixMs = UnixMs(1_795_556_280_000);

static BATCHES: AtomicU64 = AtomicU64::new(1);

pub struct Scene {
    pub db: TestDatabase,
    pub pool: PgPool,
    pub keys: Keys,
    pub clock: Clock,
    base: String,
    http: reqwest::Client,
}

/// A person with a session.
#[derive(Clone)]
pub struct Person {
    pub account: AccountId,
    pub token: String,
}

/// A play that somebody was permitted.
#[derive(Clone)]
pub struct Play {
    pub id: PlayId,
    pub ticket: String,
}

pub fn account(n: u8) -> AccountId {
    AccountId::v7(NOW, [n; 10])
}

pub fn track(n: u8) -> TrackId {
    TrackId::v7(NOW, [n; 10])
}

pub async fn scene() -> Scene {
    let scene = Scene::on(testing::postgres().await);
    let base = testing::serve_here("royalty", royalty::router(scene.royalty(scene.pool.clone()))).await;
    Scene { base, ..scene }
}

fn service(keys: &Keys, clock: &Clock, pool: PgPool) -> Royalty {
    let auth = AuthState { verifier: keys.session_verifier.clone(), clock: clock.clone() };
    // Tracks of these tests act for no artist, so nobody is asked.
    let memberships = Memberships::at("http://127.0.0.1:9").unwrap();
    Royalty::new(pool, keys.token.clone(), clock.clone(), auth, memberships, "EUR".parse().unwrap())
}

/// `(seq, kind, from_ms, to_ms, received after the mint)`
pub type Beat = (u32, EventKind, u32, u32, i64);

/// Half a minute, heard in time.
pub fn a_listen() -> Vec<Beat> {
    use EventKind::{Progress, Start, Stop};
    vec![(0, Start, 0, 0, 100), (1, Progress, 0, 15_000, 15_100), (2, Progress, 15_000, 30_000, 30_100), (3, Stop, 30_000, 32_000, 32_100)]
}

impl Scene {
    /// On a database, with nobody to answer yet.
    pub fn on(db: TestDatabase) -> Self {
        let keys = db.config().keys().unwrap();
        Self { pool: db.pool("royalty"), keys, clock: Clock::fixed(NOW), base: String::new(), http: reqwest::Client::new(), db }
    }

    /// As [`Self::royalty`], made elsewhere: a pool belongs to the runtime that makes it.
    pub fn royalty_over(&self, pool: impl FnOnce() -> PgPool + Send + 'static) -> impl FnOnce() -> Royalty + Send + 'static {
        let (keys, clock) = (self.keys.clone(), self.clock.clone());
        move || service(&keys, &clock, pool())
    }

    /// The service, over a pool of the scene's database.
    pub fn royalty(&self, pool: PgPool) -> Royalty {
        service(&self.keys, &self.clock, pool)
    }

    /// Asks the service at `base` from now on.
    pub fn ask_at(&mut self, base: String) {
        self.base = base;
    }

    pub fn person(&self, n: u8, role: Role) -> Person {
        let session = Session {
            account: account(n),
            role,
            plan: Plan::Premium,
            country: "DE".parse().unwrap(),
            family: Uuid::from_bytes([n; 16]),
            name: format!("person {n}"),
            issued_at: NOW,
            expires_at: NOW.plus_ms(90 * 86_400_000),
            play_until: NOW.plus_ms(90 * 86_400_000),
        };
        Person { account: session.account, token: self.keys.session_signer.sign(&session) }
    }

    pub fn admin(&self) -> Person {
        self.person(255, Role::Admin)
    }

    /// A play of `track` by account `listener`, minted at `at`.
    pub fn play(&self, listener: u8, track: TrackId, at: UnixMs, n: u8) -> Play {
        let id = PlayId::v7(at, [n, listener, n, 0, 0, 0, 0, 0, 0, 0]);
        let claims = Claims {
            purpose: Purpose::Event,
            plan: Plan::Premium,
            rungs: RungSet::of(&[]),
            territory: "DE".parse().unwrap(),
            buffer: 3,
            expires_at: at.plus_ms(56 * 3_600_000),
            duration_ms: 200_000,
            play: id,
            track,
            version: MediaVersion([9; 16]),
            pseudonym: self.keys.token.pseudonym(account(listener)),
        };
        Play { id, ticket: token::mint(&self.keys.token, &claims, at).unwrap() }
    }

    /// What a player would have posted, one post for each beat.
    pub fn posts(play: &Play, beats: &[Beat]) -> Vec<StoredPost> {
        let post = |&(seq, kind, from_ms, to_ms, after_ms): &Beat| StoredPost {
            ticket: play.ticket.clone(),
            sender: "player".to_owned(),
            received_at_ms: play.id.minted_at().plus_ms(after_ms),
            events: vec![Event { seq, kind, from_ms, to_ms, muted: false, background: false, clock: None }],
            receipts: Vec::new(),
        };
        beats.iter().map(post).collect()
    }

    pub fn batch(posts: Vec<StoredPost>) -> Batch {
        let number = BATCHES.fetch_add(1, Ordering::Relaxed);
        Batch { buffer: "buffer-3".to_owned(), epoch: "e1".to_owned(), number, frozen_at_ms: NOW, posts, report: None }
    }

    /// Hands posts over as a new batch.
    pub async fn merge(&self, posts: Vec<StoredPost>) -> Value {
        let (status, answer) = self.send_batch(&Self::batch(posts)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    pub async fn send_batch(&self, batch: &Batch) -> (u16, Value) {
        let body = serde_json::to_vec(batch).unwrap();
        let answer = self.http.post(format!("{}/internal/batches", self.base)).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Merges a play and folds it.
    pub async fn hear(&self, play: &Play, beats: &[Beat]) {
        self.merge(Self::posts(play, beats)).await;
        self.fold().await;
    }

    pub async fn fold(&self) {
        while royalty::jobs::fold::step(&self.pool, Uncorroborated::Count, self.clock.now()).await.unwrap() {}
    }

    /// Tells royalty of a track, as the catalogue would.
    pub async fn publish(&self, track: TrackId, owner: AccountId, title: &str, seq: i64) {
        let track = TrackDoc {
            id: track,
            title: title.to_owned(),
            artist: ArtistDoc { id: ArtistId(owner.uuid()), name: "The Artist".to_owned() },
            album: None,
            isrc: Some("DEA123456789".to_owned()),
            genre: None,
            duration_ms: 200_000,
            owner,
            acts_for: None,
            version: MediaVersion([9; 16]),
            state: TrackState::Published,
            territories: None,
            release_at_ms: None,
            published_at_ms: NOW,
        };
        let event = OutboxEvent { seq, kind: OutboxKind::TrackPublished, at_ms: NOW, track };
        royalty::store::catalog::take(&self.pool, &[event]).await.unwrap();
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method.parse().unwrap(), format!("{}{path}", self.base))
    }

    pub async fn send(&self, person: &Person, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.request(method, path).bearer_auth(&person.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    pub async fn get(&self, person: &Person, path: &str) -> Value {
        let (status, answer) = self.send(person, "GET", path, None).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub async fn text(&self, person: &Person, path: &str) -> String {
        self.request("GET", path).bearer_auth(&person.token).send().await.unwrap().text().await.unwrap()
    }

    /// The counts of a month, after checking that nothing is lost.
    pub async fn counts(&self, period: &str) -> Value {
        let counts = self.get(&self.admin(), &format!("/v1/royalties/counts?period={period}")).await;
        let of = |name: &str| counts[name].as_i64().unwrap();
        assert_eq!(of("acked"), of("counted") + of("quarantined") + of("duplicate") + of("pending"), "{counts}");
        counts
    }

    pub async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.db.owner()).await.unwrap()
    }
}
