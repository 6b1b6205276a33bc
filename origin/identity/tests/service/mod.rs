//! Identity over HTTP, on a real PostgreSQL, with a clock that the test moves.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use identity::{Identity, ensure_account};
use platform::{Clock, Keys, testing};
use protocol::{Plan, Role, UnixMs};
use serde_json::{Value, json};

pub const NOW: UnixMs = UnixMs(1_795_556_280_000);

/// Identity on a free port, and an HTTP client.
pub struct Service {
    pub base: String,
    pub clock: Clock,
    pub keys: Keys,
    pub database: testing::TestDatabase,
    pub http: reqwest::Client,
}

impl Service {
    pub async fn start() -> Self {
        let database = testing::postgres().await;
        let (clock, keys) = (Clock::fixed(NOW), database.config().keys().unwrap());
        let identity = Identity::new(database.pool("identity"), &keys, clock.clone()).unwrap();
        let base = testing::serve_here("identity", identity::router(identity)).await;
        Self { base, clock, keys, database, http: reqwest::Client::new() }
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = self.http.post(format!("{}{path}", self.base)).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub async fn sign_up(&self, email: &str, role: &str) -> Value {
        let body = json!({"email": email, "password": "correct horse", "name": "Ada", "role": role, "country": "DE"});
        let (status, account) = self.post("/v1/accounts", body).await;
        assert_eq!(status, 201, "{account}");
        account
    }

    pub async fn log_in(&self, email: &str, password: &str) -> (u16, Value) {
        self.post("/v1/sessions", json!({"email": email, "password": password})).await
    }

    pub async fn refresh(&self, token: &Value) -> (u16, Value) {
        self.post("/v1/sessions/refresh", json!({"refresh_token": token})).await
    }

    /// The access token of a new administrator.
    pub async fn administrator(&self) -> String {
        let (pool, country) = (self.database.pool("identity"), "DE".parse().unwrap());
        ensure_account(&pool, "admin@example.org", "correct horse", "Admin", Role::Admin, country, Plan::Free, NOW).await.unwrap();
        let (_, session) = self.log_in("admin@example.org", "correct horse").await;
        session["access_token"].as_str().unwrap().to_owned()
    }

    /// A call with an access token; an empty body reads as null.
    pub async fn call(&self, method: reqwest::Method, path: &str, token: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }
}
