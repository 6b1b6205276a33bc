//! Clients as they are outside: an artist's tool that uploads, a player that listens and beats, an administrator.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{System, eventually, system::Credentials};

/// An HTTP client with a session.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    /// The address it talks to.
    pub base: String,
    /// Its access token.
    pub token: Option<String>,
}

/// A problem document or a body, with its status.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body.
    pub body: bytes_body::Body,
}

/// The body of an answer.
pub mod bytes_body {
    /// Bytes that may be text or JSON.
    #[derive(Debug)]
    pub struct Body(pub Vec<u8>);

    impl Body {
        /// As JSON; null when it is not.
        #[must_use]
        pub fn json(&self) -> serde_json::Value {
            serde_json::from_slice(&self.0).unwrap_or_default()
        }

        /// As text.
        #[must_use]
        pub fn text(&self) -> String {
            String::from_utf8_lossy(&self.0).into_owned()
        }
    }
}

impl Answer {
    /// The `code` of a problem document; empty when there is none.
    #[must_use]
    pub fn code(&self) -> String {
        self.body.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The code of the object store's error document; empty when there is none.
    #[must_use]
    pub fn s3_code(&self) -> String {
        let text = self.body.text();
        let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
        code.unwrap_or_default().to_owned()
    }

    /// The body as JSON when the status is `expected`.
    ///
    /// # Errors
    /// When the status is another.
    pub fn expect(self, expected: u16) -> Result<Value> {
        ensure!(self.status.as_u16() == expected, "expected {expected}, got {}: {}", self.status, self.body.text());
        Ok(self.body.json())
    }

    /// Holds the answer to a status and a problem code.
    ///
    /// # Errors
    /// When either is another.
    pub fn refused(self, status: u16, code: &str) -> Result<()> {
        ensure!(
            self.status.as_u16() == status && self.code() == code,
            "expected {status} {code}, got {}: {}",
            self.status,
            self.body.text()
        );
        Ok(())
    }

    /// Holds the object store's answer to a status and an S3 error code.
    ///
    /// # Errors
    /// When either is another.
    pub fn refused_by_store(self, status: u16, code: &str) -> Result<()> {
        ensure!(
            self.status.as_u16() == status && self.s3_code() == code,
            "expected {status} {code}, got {}: {}",
            self.status,
            self.body.text()
        );
        Ok(())
    }
}

impl Client {
    /// A client without a session.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(base: &str) -> Result<Self> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(8)
            .build()?;
        Ok(Self { http, base: base.to_owned(), token: None })
    }

    /// A client that has logged in.
    ///
    /// # Errors
    /// When the log-in fails.
    pub async fn logged_in(base: &str, credentials: &Credentials) -> Result<Self> {
        let mut client = Self::new(base)?;
        let body = json!({"email": credentials.email, "password": credentials.password});
        let session = client.send(Method::POST, "/v1/sessions", Some(&body)).await?.expect(201)?;
        client.token = session["access_token"].as_str().map(str::to_owned);
        Ok(client)
    }

    /// A new account, logged in.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn signed_up(base: &str, role: &str) -> Result<Self> {
        let name = format!("{role} {}", &uuid::Uuid::from_u128(rand::random()).simple().to_string()[..12]);
        let credentials = Credentials { email: format!("{}@example.org", name.replace(' ', ".")), password: "correct horse".to_owned() };
        let client = Self::new(base)?;
        let body = json!({"email": credentials.email, "password": credentials.password, "name": name, "role": role, "country": "DE"});
        client.send(Method::POST, "/v1/accounts", Some(&body)).await?.expect(201)?;
        Self::logged_in(base, &credentials).await
    }

    /// The same client with another access token, or none.
    #[must_use]
    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    /// The same session at another address.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// A request by path or full URL.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// One call with an optional JSON body.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        answer(request).await
    }

    /// A GET that must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, None).await?.expect(200).with_context(|| format!("GET {path}"))
    }
}

/// Sends a prepared request.
///
/// # Errors
/// When no answer comes.
pub async fn answer(request: reqwest::RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    Ok(Answer { status, headers, body: bytes_body::Body(response.bytes().await?.to_vec()) })
}

/// A track on its way up.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The track.
    pub track: String,
    /// Where its bytes go.
    pub url: String,
    /// With exactly these headers.
    pub headers: Vec<(String, String)>,
}

impl Upload {
    /// Asks for a place to put `bytes`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn begin(artist: &Client, title: &str, file_name: &str, bytes: &[u8]) -> Result<Self> {
        let body = json!({
            "title": title, "file_name": file_name, "content_type": "application/octet-stream",
            "size_bytes": bytes.len(), "sha256": hex::encode(Sha256::digest(bytes)), "album": "Signals", "genre": "test"
        });
        let made = artist.send(Method::POST, "/v1/ingest/upload", Some(&body)).await?.expect(201)?;
        let upload = &made["upload"];
        let headers = upload["headers"].as_object().context("upload.headers")?;
        Ok(Self {
            track: made["track"]["id"].as_str().context("track.id")?.to_owned(),
            url: upload["url"].as_str().context("upload.url")?.to_owned(),
            headers: headers.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect(),
        })
    }

    /// Puts bytes to the presigned URL, as an HTTP client outside would.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn put(&self, bytes: &[u8]) -> Result<Answer> {
        self.put_body(bytes.to_vec()).await
    }

    /// Puts bytes without telling how many, in chunks (RFC 9112 section 7.1).
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn put_chunked(&self, bytes: &[u8]) -> Result<Answer> {
        let chunks: Vec<_> = bytes.chunks(64 * 1024).map(|chunk| Ok::<_, std::convert::Infallible>(chunk.to_vec())).collect();
        self.put_body(reqwest::Body::wrap_stream(futures::stream::iter(chunks))).await
    }

    async fn put_body(&self, body: impl Into<reqwest::Body>) -> Result<Answer> {
        let mut request = reqwest::Client::new().put(&self.url).body(body);
        for (name, value) in self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-length")) {
            request = request.header(name, value);
        }
        answer(request).await
    }

    /// Waits for one of `states`; answers the track's status document.
    ///
    /// # Errors
    /// When it ends in another state or not in time.
    pub async fn reaches(&self, artist: &Client, state: &str) -> Result<Value> {
        eventually(&format!("track {} is {state}", self.track), Duration::from_secs(120), async || {
            let status = artist.get(&format!("/v1/ingest/tracks/{}", self.track)).await?;
            ensure!(status["state"] == state, "{status}");
            Ok(status)
        })
        .await
    }

    /// The whole way: begin, put, published.
    ///
    /// # Errors
    /// When any step fails.
    pub async fn publish(artist: &Client, title: &str, file_name: &str, bytes: &[u8]) -> Result<Self> {
        let upload = Self::begin(artist, title, file_name, bytes).await?;
        let put = upload.put(bytes).await?;
        ensure!(put.status.is_success(), "PUT: {} {}", put.status, put.body.text());
        upload.reaches(artist, "published").await?;
        Ok(upload)
    }
}

/// A player in the middle of a play.
pub struct Listener {
    /// Its session.
    pub client: Client,
    /// The JSON manifest.
    pub manifest: Value,
    /// Its name.
    pub sender: String,
}

impl Listener {
    /// Asks for a manifest; waits until the track is known at the edge.
    ///
    /// # Errors
    /// When it stays refused.
    pub async fn begin(client: &Client, track: &str) -> Result<Self> {
        let path = format!("/v1/tracks/{track}/manifest");
        let manifest = eventually("a manifest", Duration::from_secs(15), async || {
            answer(client.request(Method::GET, &path).header("accept", "application/json")).await?.expect(200)
        })
        .await?;
        Ok(Self { client: client.clone(), manifest, sender: uuid::Uuid::from_u128(rand::random()).to_string() })
    }

    /// The play's id.
    #[must_use]
    pub fn play(&self) -> &str {
        self.manifest["play"]["id"].as_str().unwrap_or_default()
    }

    /// The body of a post of `(seq, kind, from_ms, to_ms)`.
    #[must_use]
    pub fn post(&self, events: &[(u32, &str, u32, u32)]) -> Value {
        let events: Vec<_> =
            events.iter().map(|(seq, kind, from, to)| json!({"seq": seq, "kind": kind, "from_ms": from, "to_ms": to})).collect();
        json!({"ticket": self.manifest["play"]["ticket"], "sender": self.sender, "events": events})
    }

    /// Posts until it is acknowledged, by the edge and then the gateway, as our player does.
    ///
    /// # Errors
    /// When neither acknowledges within two minutes.
    pub async fn beat(&self, system: &System, events: &[(u32, &str, u32, u32)]) -> Result<Value> {
        let body = self.post(events);
        let mut bases = [&system.run.edge, &system.run.gateway].into_iter().cycle();
        eventually("a heartbeat is acknowledged", Duration::from_secs(120), || {
            let base = bases.next().cloned().unwrap_or_default();
            let (client, body) = (self.client.at(&base).with_token(None), body.clone());
            async move { client.send(Method::POST, "/v1/me/play-event", Some(&body)).await?.expect(202) }
        })
        .await
    }

    /// The play as the listener's history shows it.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn in_history(&self) -> Result<Value> {
        let history = self.client.get("/v1/me/history").await?;
        let plays = history["items"].as_array().cloned().unwrap_or_default();
        plays.into_iter().find(|item| item["play_id"] == self.play()).with_context(|| format!("{} is not in {history}", self.play()))
    }
}
