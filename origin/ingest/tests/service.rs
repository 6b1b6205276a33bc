//! From an artist's file to a track in the catalogue: the real object store, queue and catalogue, over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use catalog::Catalog;
use ingest::{Ingest, OBJECT_CREATED, media::Studio};
use platform::{AuthState, Clock, Config, Shutdown, objects::Objects, queue::Queue, testing, testing::TestDatabase};
use protocol::{
    AccountId, Plan, Role, UnixMs,
    session::{Session, SessionSigner},
    sheet::Sheet,
};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use store::{Settings, Store};
use tokio::{net::TcpListener, task::JoinHandle};

struct World {
    url: String,
    catalog_url: String,
    config: Config,
    clock: Clock,
    ingest: Ingest,
    objects: Objects,
    queue: Queue,
    database: TestDatabase,
    signer: Arc<SessionSigner>,
    http: Client,
}

struct Answer {
    status: StatusCode,
    body: Value,
}

fn ffmpeg() -> PathBuf {
    std::env::var_os("FFMPEG_BIN").map_or_else(|| "ffmpeg".into(), PathBuf::from)
}

fn account(n: u8) -> AccountId {
    AccountId::v7(UnixMs(1_790_000_000_000), [n; 10])
}

/// A few seconds of music that differ by `pitch`.
fn song(pitch: u32, seconds: u32) -> Vec<u8> {
    let signal = format!("sine={pitch}:r=44100:d={seconds}");
    let folder = tempfile::tempdir().unwrap();
    // To a file, since only there can ffmpeg go back and write into the header how long it became.
    let path = folder.path().join("song.flac");
    let status =
        Command::new(ffmpeg()).args(["-v", "error", "-f", "lavfi", "-i", &signal, "-ac", "2"]).arg(&path).stdin(Stdio::null()).status();
    assert!(status.unwrap().success());
    std::fs::read(path).unwrap()
}

fn declaration(bytes: &[u8]) -> Value {
    json!({
        "title": "Nocturne", "album": "Evenings", "file_name": "n.flac", "content_type": "audio/flac",
        "size_bytes": bytes.len(), "sha256": hex::encode(Sha256::digest(bytes)), "isrc": "DE-A71-26-00001", "territories": ["DE", "AT"],
    })
}

impl World {
    async fn new() -> Self {
        let database = testing::postgres().await;
        let mut config = database.config();
        let keys = config.keys().unwrap();
        // Near the machine's time, since the object store checks signatures by that; fixed, so that leases end when a test says.
        let clock = Clock::fixed(Clock::system().now());

        let auth = AuthState { verifier: keys.session_verifier.clone(), clock: clock.clone() };
        let catalog = Catalog::new(database.pool("catalog"), clock.clone(), auth, Shutdown::new());
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

    /// Starts a worker; dropping the handle's task is what a kill does to it.
    fn worker(&self) -> JoinHandle<()> {
        tokio::spawn(self.ingest.workers(&self.config, Shutdown::new()).unwrap().run(1))
    }

    fn session(&self, account: AccountId, role: Role) -> String {
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

    async fn call(&self, method: Method, path: &str, who: AccountId, body: Option<Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(self.session(who, Role::Artist));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        Answer { status: response.status(), body: response.json().await.unwrap_or(Value::Null) }
    }

    async fn declare(&self, body: Value) -> Value {
        let answer = self.call(Method::POST, "/v1/ingest/upload", account(1), Some(body)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.body
    }

    /// Sends bytes exactly as the answer says.
    async fn put(&self, begun: &Value, bytes: Vec<u8>) -> StatusCode {
        let mut request = self.http.put(begun["upload"]["url"].as_str().unwrap());
        for (name, value) in begun["upload"]["headers"].as_object().unwrap() {
            request = request.header(name, value.as_str().unwrap());
        }
        request.body(bytes).send().await.unwrap().status()
    }

    async fn upload(&self, bytes: Vec<u8>) -> String {
        let begun = self.declare(declaration(&bytes)).await;
        assert_eq!(self.put(&begun, bytes).await, StatusCode::OK);
        begun["track"]["id"].as_str().unwrap().to_owned()
    }

    async fn status(&self, track: &str) -> Value {
        self.call(Method::GET, &format!("/v1/ingest/tracks/{track}"), account(1), None).await.body
    }

    /// Waits until the track is in `state`, for a minute at most.
    async fn until(&self, track: &str, state: &str) -> Value {
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

    async fn sheet(&self, track: &str) -> Sheet {
        let card: Value = self.http.get(format!("{}/internal/cards/{track}", self.catalog_url)).send().await.unwrap().json().await.unwrap();
        let key = format!("media/{}/sheet.json", card["version"].as_str().unwrap());
        serde_json::from_slice(&self.objects.get("media", &key).await.unwrap()).unwrap()
    }

    async fn published_events(&self) -> usize {
        let url = format!("{}/internal/outbox?after=0&limit=500&wait_ms=0", self.catalog_url);
        let page: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        page["events"].as_array().unwrap().len()
    }

    fn owner(&self) -> PgPool {
        self.database.owner()
    }
}

/// Waits for a condition in the database, for twenty seconds at most.
async fn wait_for(pool: &PgPool, condition: &'static str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !sqlx::query_scalar::<_, bool>(condition).fetch_one(pool).await.unwrap() {
        assert!(Instant::now() < deadline, "{condition}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

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
    let listener = post().bearer_auth(world.session(account(1), Role::Listener)).send().await.unwrap();
    assert_eq!(listener.status(), StatusCode::FORBIDDEN);
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
