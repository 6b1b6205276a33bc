//! A catalogue on a free port over a database of its own, and the people and songs that the tests need.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "shared by several test files")]

use catalog::Catalog;
use platform::{AuthState, Clock, Shutdown, memberships::Memberships, testing};
use protocol::{AccountId, Plan, Role, TrackId, UnixMs, session::Session};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

pub const NOW: UnixMs = UnixMs(1_790_000_000_000);

pub struct World {
    pub url: String,
    pub clock: Clock,
    pub owner_pool: PgPool,
    pub catalog: Catalog,
    signer: std::sync::Arc<protocol::session::SessionSigner>,
    http: Client,
}

pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl World {
    pub async fn new() -> Self {
        let database = testing::postgres().await;
        let keys = database.config().keys().unwrap();
        let clock = Clock::fixed(NOW);
        let identity = identity::Identity::new(database.pool("identity"), &keys, clock.clone()).unwrap();
        let identity_url = testing::serve_here("identity", identity::router(identity)).await;
        let auth = AuthState { verifier: keys.session_verifier.clone(), clock: clock.clone() };
        let catalog = Catalog::new(database.pool("catalog"), clock.clone(), auth, Memberships::at(&identity_url).unwrap(), Shutdown::new());
        let url = testing::serve_here("catalog", catalog::router(catalog.clone())).await;
        Self { url, clock, owner_pool: database.owner(), catalog, signer: keys.session_signer, http: Client::new() }
    }

    pub async fn call(&self, method: Method, path: &str, account: Option<AccountId>, body: Option<Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(account) = account {
            request = request.bearer_auth(self.session(account));
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        Answer { status, body: response.json().await.unwrap_or(Value::Null) }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None, None).await
    }

    pub async fn publish(&self, publication: Value) -> Answer {
        self.call(Method::POST, "/internal/publications", None, Some(publication)).await
    }

    pub async fn events(&self) -> Vec<Value> {
        self.get("/internal/outbox?after=0&limit=500&wait_ms=0").await.body["events"].as_array().unwrap().clone()
    }

    fn session(&self, account: AccountId) -> String {
        let now = self.clock.now();
        self.signer.sign(&Session {
            account,
            role: Role::Listener,
            plan: Plan::Free,
            country: "DE".parse().unwrap(),
            family: uuid::Uuid::from_bytes([1; 16]),
            name: "Ada".to_owned(),
            issued_at: now,
            expires_at: now.plus_ms(600_000),
            play_until: now.plus_ms(3_600_000),
        })
    }
}

pub fn account(n: u8) -> AccountId {
    AccountId::v7(NOW, [n; 10])
}

pub fn track(n: u8) -> TrackId {
    TrackId::v7(NOW, [n; 10])
}

/// A publication of `track` by account 1, version `version`, under `fence`.
pub fn publication(track: TrackId, version: u8, fence: i64) -> Value {
    json!({
        "track": track, "owner": account(1), "fence": fence,
        "title": "Blue Monday", "artist": "New Order", "album": "Power, Corruption & Lies",
        "isrc": "gb-aaa-83-00001", "genre": "synth-pop", "territories": ["DE", "FR"], "release_at_ms": null,
        "sheet": {
            "version": format!("{version:02x}").repeat(16), "source_sha256": "ab".repeat(32), "packager": "test",
            "timescale": 48_000, "boundaries": [0, 96_256, 144_384], "priming": 1024, "samples": 143_000, "padding": 360,
            "rungs": [{
                "rung": "aac-128", "codec": "mp4a.40.2", "init_bytes": 700, "segment_bytes": [32_000, 16_000],
                "peak_bps": 131_000, "average_bps": 128_000, "sha256": "cd".repeat(32),
            }],
            "loudness": { "integrated_clufs": -980, "true_peak_cdbtp": -30 },
        },
    })
}
