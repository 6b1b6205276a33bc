//! The real object store, queue, catalogue and identity around an ingest of its own, and the people who use it.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use catalog::Catalog;
use ingest::Ingest;
use platform::{
    AuthState, Clock, Config, Shutdown, memberships::Memberships, objects::Objects, queue::Queue, testing, testing::TestDatabase,
};
use protocol::{
    AccountId, ArtistId, Plan, Role, UnixMs,
    session::{Session, SessionSigner},
    sheet::Sheet,
};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use store::{Settings, Store};
use tokio::{net::TcpListener, task::JoinHandle};

pub struct World {
    pub url: String,
    pub catalog_url: String,
    pub config: Config,
    pub clock: Clock,
    pub ingest: Ingest,
    pub objects: Objects,
    pub queue: Queue,
    pub database: TestDatabase,
    pub signer: Arc<SessionSigner>,
    pub http: Client,
}

pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

pub fn ffmpeg() -> PathBuf {
    std::env::var_os("FFMPEG_BIN").map_or_else(|| "ffmpeg".into(), PathBuf::from)
}

/// 1, 2 and 3 own an artist each.
pub fn account(n: u8) -> AccountId {
    AccountId::v7(UnixMs(1_790_000_000_000), [n; 10])
}

/// The artist that account `n` owns.
pub fn artist(n: u8) -> ArtistId {
    ArtistId::v7(UnixMs(1_790_000_000_000), [n; 10])
}

/// Makes an account, which is what a membership stands on.
async fn sign_up(owner: &PgPool, account: AccountId) {
    sqlx::query(
        "INSERT INTO identity.accounts (id, email, email_key, name, role, plan, country, created_at_ms)
         VALUES ($1, $1::TEXT, $1::TEXT, 'Ada', 'listener', 'free', 'DE', 0)
             ON CONFLICT (id) DO NOTHING",
    )
    .bind(account.uuid())
    .execute(owner)
    .await
    .unwrap();
}

/// A few seconds of music that differ by `pitch`.
pub fn song(pitch: u32, seconds: u32) -> Vec<u8> {
    let signal = format!("sine={pitch}:r=44100:d={seconds}");
    let folder = tempfile::tempdir().unwrap();
    // To a file, since only there can ffmpeg go back and write into the header how long it became.
    let path = folder.path().join("song.flac");
    let status =
        Command::new(ffmpeg()).args(["-v", "error", "-f", "lavfi", "-i", &signal, "-ac", "2"]).arg(&path).stdin(Stdio::null()).status();
    assert!(status.unwrap().success());
    std::fs::read(path).unwrap()
}

pub fn declaration(bytes: &[u8]) -> Value {
    json!({
        "title": "Nocturne", "album": "Evenings", "file_name": "n.flac", "content_type": "audio/flac",
        "size_bytes": bytes.len(), "sha256": hex::encode(Sha256::digest(bytes)), "isrc": "DE-A71-26-00001", "territories": ["DE", "AT"],
    })
}

impl World {
    pub async fn new() -> Self {
        let database = testing::postgres().await;
        let mut config = database.config();
        let keys = config.keys().unwrap();
        // Near the machine's time, since the object store checks signatures by that; fixed, so that leases end when a test says.
        let clock = Clock::fixed(Clock::system().now());

        let identity = identity::Identity::new(database.pool("identity"), &keys, clock.clone()).unwrap();
        let identity_url = testing::serve_here("identity", identity::router(identity)).await;
        config.listen.identity = identity_url.trim_start_matches("http://").to_owned();
        for n in 1..=3 {
            sign_up(&database.owner(), account(n)).await;
            sqlx::query("INSERT INTO identity.artists (id, name, created_at_ms) VALUES ($1, 'Ada', 0)")
                .bind(artist(n).uuid())
                .execute(&database.owner())
                .await
                .unwrap();
            join(&database.owner(), account(n), artist(n), "owner").await;
        }

        let auth = AuthState { verifier: keys.session_verifier.clone(), clock: clock.clone() };
        let catalog = Catalog::new(database.pool("catalog"), clock.clone(), auth, Memberships::at(&identity_url).unwrap(), Shutdown::new());
        let catalog_url = testing::serve_here("catalog", catalog::router(catalog)).await;
        config.listen.catalog = catalog_url.trim_start_matches("http://").to_owned();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        config.objects.endpoint = format!("http://{}", listener.local_addr().unwrap());
        config.public.object_store = config.objects.endpoint.clone();
        let settings = Settings {
            root: database.dir().join("store"),
            raw_bucket: config.objects.raw_bucket.clone(),
            media_bucket: config.objects.media_bucket.clone(),
            region: config.objects.region.clone(),
            access_key: keys.objects.access_key.clone(),
            secret_key: keys.objects.secret_key.clone(),
            object_bytes_max: 1 << 30,
        };
        let store_queue = Queue::new(database.pool("store"));
        let store = Store::open(settings, store_queue, Clock::system(), Shutdown::new()).await.unwrap();
        tokio::spawn(store.serve(listener));

        config.ingest.ffmpeg = ffmpeg().display().to_string();
        let objects = Objects::new(&config, &keys).unwrap();
        let queue = Queue::with_clock(database.pool("ingest"), clock.clone());
        let ingest = Ingest::new(&config, database.pool("ingest"), clock.clone()).unwrap();
        let url = testing::serve_here("ingest", ingest::router(ingest.clone())).await;
        Self { url, catalog_url, config, clock, ingest, objects, queue, database, signer: keys.session_signer, http: Client::new() }
    }

    /// Makes an account a member of an artist, or gives it another role.
    pub async fn join(&self, account: AccountId, artist: ArtistId, role: &str) {
        join(&self.owner(), account, artist, role).await;
    }

    /// Ends a membership.
    pub async fn remove(&self, account: AccountId, artist: ArtistId) {
        sqlx::query("DELETE FROM identity.memberships WHERE account_id = $1 AND artist_id = $2")
            .bind(account.uuid())
            .bind(artist.uuid())
            .execute(&self.owner())
            .await
            .unwrap();
    }

    /// Starts a worker; dropping the handle's task is what a kill does to it.
    pub fn worker(&self) -> JoinHandle<()> {
        tokio::spawn(self.ingest.workers(&self.config, Shutdown::new()).unwrap().run(1))
    }

    pub fn session(&self, account: AccountId, role: Role) -> String {
        let now = self.clock.now();
        self.signer.sign(&Session {
            account,
            role,
            plan: Plan::Free,
            country: "DE".parse().unwrap(),
            family: uuid::Uuid::from_bytes([1; 16]),
            name: "Ada".to_owned(),
            issued_at: now,
            expires_at: now.plus_ms(600_000),
            play_until: now.plus_ms(3_600_000),
        })
    }

    pub async fn call(&self, method: Method, path: &str, who: AccountId, body: Option<Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(self.session(who, Role::Artist));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        Answer { status: response.status(), body: response.json().await.unwrap_or(Value::Null) }
    }

    pub async fn declare(&self, body: Value) -> Value {
        let answer = self.call(Method::POST, "/v1/ingest/upload", account(1), Some(body)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.body
    }

    /// Sends bytes exactly as the answer says.
    pub async fn put(&self, begun: &Value, bytes: Vec<u8>) -> StatusCode {
        let mut request = self.http.put(begun["upload"]["url"].as_str().unwrap());
        for (name, value) in begun["upload"]["headers"].as_object().unwrap() {
            request = request.header(name, value.as_str().unwrap());
        }
        request.body(bytes).send().await.unwrap().status()
    }

    pub async fn upload(&self, bytes: Vec<u8>) -> String {
        let begun = self.declare(declaration(&bytes)).await;
        assert_eq!(self.put(&begun, bytes).await, StatusCode::OK);
        begun["track"]["id"].as_str().unwrap().to_owned()
    }

    pub async fn status(&self, track: &str) -> Value {
        self.call(Method::GET, &format!("/v1/ingest/tracks/{track}"), account(1), None).await.body
    }

    /// Waits until the track is in `state`, for a minute at most.
    pub async fn until(&self, track: &str, state: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.status(track).await;
            if status["state"] == state {
                return status;
            }
            assert!(Instant::now() < deadline, "{status} did not become {state}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    pub async fn sheet(&self, track: &str) -> Sheet {
        let card: Value = self.http.get(format!("{}/internal/cards/{track}", self.catalog_url)).send().await.unwrap().json().await.unwrap();
        let key = format!("media/{}/sheet.json", card["version"].as_str().unwrap());
        serde_json::from_slice(&self.objects.get("media", &key).await.unwrap()).unwrap()
    }

    pub async fn published_events(&self) -> usize {
        let url = format!("{}/internal/outbox?after=0&limit=500&wait_ms=0", self.catalog_url);
        let page: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        page["events"].as_array().unwrap().len()
    }

    /// Whether the file that an artist sent for a track is in the store.
    pub async fn has_raw(&self, track: &str) -> bool {
        let upload: uuid::Uuid = sqlx::query_scalar("SELECT id FROM ingest.uploads WHERE track_id = $1::UUID")
            .bind(track)
            .fetch_one(&self.owner())
            .await
            .unwrap();
        self.objects.head("raw", &format!("raw/{upload}")).await.unwrap().is_some()
    }

    pub fn owner(&self) -> PgPool {
        self.database.owner()
    }
}

async fn join(owner: &PgPool, account: AccountId, artist: ArtistId, role: &str) {
    sign_up(owner, account).await;
    sqlx::query(
        "INSERT INTO identity.memberships (account_id, artist_id, role, created_at_ms, accepted_at_ms)
         VALUES ($1, $2, $3, 0, 0)
             ON CONFLICT (account_id, artist_id) DO UPDATE SET role = EXCLUDED.role",
    )
    .bind(account.uuid())
    .bind(artist.uuid())
    .bind(role)
    .execute(owner)
    .await
    .unwrap();
}

/// Waits for a condition in the database, for twenty seconds at most.
pub async fn wait_for(pool: &PgPool, condition: &'static str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !sqlx::query_scalar::<_, bool>(condition).fetch_one(pool).await.unwrap() {
        assert!(Instant::now() < deadline, "{condition}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
