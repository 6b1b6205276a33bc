//! A store on a free port over a database of its own, and a client that signs as ingest does.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "shared by several test files"
)]

use std::{path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use platform::{Clock, Shutdown, queue::Queue, testing::TestDatabase};
use reqwest::{Client, Method, Response, StatusCode, Url};
use rusty_s3::{Bucket, Credentials, S3Action as _, UrlStyle};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use store::{OBJECT_CREATED, Settings, Store};
use tokio::{net::TcpListener, task::JoinHandle};

pub const ACCESS_KEY: &str = "antiphon-test";
pub const SECRET_KEY: &str = "a secret of the tests";
pub const OBJECT_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A running store.
pub struct Running {
    pub url: Url,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

impl Running {
    pub async fn start(root: &Path, queue: Queue) -> Self {
        let shutdown = Shutdown::new();
        let store = Store::open(settings(root), queue, Clock::system(), shutdown.clone()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        Self { url, shutdown, serving: tokio::spawn(store.serve(listener)) }
    }

    pub async fn stop(self) {
        self.shutdown.request();
        self.serving.await.unwrap();
    }
}

pub fn settings(root: &Path) -> Settings {
    Settings {
        root: root.to_owned(),
        raw_bucket: "raw".to_owned(),
        media_bucket: "media".to_owned(),
        region: "us-east-1".to_owned(),
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        object_bytes_max: OBJECT_BYTES_MAX,
    }
}

/// A queue whose database cannot be reached.
pub fn unreachable_queue() -> Queue {
    Queue::new(platform::pg::pool("postgres://nobody@127.0.0.1:1/nothing", 1).unwrap())
}

/// The messages that wait in the queue, oldest first.
pub async fn events(database: &TestDatabase) -> Vec<Value> {
    sqlx::query_scalar("SELECT body FROM queue.messages WHERE queue = $1 ORDER BY id")
        .bind(OBJECT_CREATED)
        .fetch_all(&database.owner())
        .await
        .unwrap()
}

/// Waits for `count` messages, for ten seconds at most.
pub async fn wait_for_events(database: &TestDatabase, count: usize) -> Vec<Value> {
    for _ in 0..200 {
        let events = events(database).await;
        if events.len() >= count {
            return events;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{count} events did not come");
}

/// An upload as ingest presigns it: length, SHA-256 and exclusiveness are signed.
pub struct Upload {
    pub url: Url,
    pub headers: Vec<(&'static str, String)>,
}

impl Upload {
    pub fn new(store: &Url, key: &str, declared: &[u8]) -> Self {
        Self::at(store, key, declared, jiff::Timestamp::now())
    }

    pub fn at(store: &Url, key: &str, declared: &[u8], signed_at: jiff::Timestamp) -> Self {
        let headers = vec![
            ("content-length", declared.len().to_string()),
            ("if-none-match", "*".to_owned()),
            ("x-amz-checksum-sha256", STANDARD.encode(Sha256::digest(declared))),
        ];
        let (bucket, credentials) = (bucket(store, "raw"), credentials());
        let mut action = bucket.put_object(Some(&credentials), key);
        for (name, value) in &headers {
            action.headers_mut().insert(*name, value.clone());
        }
        Self { url: action.sign_with_time(Duration::from_secs(900), &signed_at), headers }
    }

    pub async fn put(&self, body: impl Into<reqwest::Body>) -> Response {
        self.try_put(body).await.unwrap()
    }

    pub async fn try_put(&self, body: impl Into<reqwest::Body>) -> reqwest::Result<Response> {
        let mut request = Client::new().put(self.url.clone()).body(body);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.send().await
    }

    pub fn set(&mut self, name: &str, value: &str) {
        for header in &mut self.headers {
            if header.0 == name {
                header.1 = value.to_owned();
            }
        }
    }
}

pub fn bucket(store: &Url, name: &str) -> Bucket {
    Bucket::new(store.clone(), UrlStyle::Path, name.to_owned(), "us-east-1").unwrap()
}

pub fn credentials() -> Credentials {
    Credentials::new(ACCESS_KEY, SECRET_KEY)
}

pub fn signed_get(store: &Url, name: &str, key: &str) -> Url {
    bucket(store, name).get_object(Some(&credentials()), key).sign(Duration::from_secs(60))
}

/// The object's bytes, or the status when there are none.
pub async fn read(store: &Url, name: &str, key: &str) -> Result<Vec<u8>, StatusCode> {
    let response = Client::new().get(signed_get(store, name, key)).send().await.unwrap();
    match response.status() {
        StatusCode::OK => Ok(response.bytes().await.unwrap().to_vec()),
        status => Err(status),
    }
}

pub async fn put(store: &Url, name: &str, key: &str, body: &'static [u8]) -> StatusCode {
    let url = bucket(store, name).put_object(Some(&credentials()), key).sign(Duration::from_secs(60));
    Client::new().put(url).header("content-type", "audio/mp4").body(body).send().await.unwrap().status()
}

pub async fn send(method: Method, url: Url, headers: &[(&'static str, &'static str)]) -> Response {
    let mut request = Client::new().request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}
