//! A gateway on a free port, with small real services behind it: an object store that counts its reads, a catalogue, a royalty service,
//! a search service and an identity service that has nothing but a feed of revocations. Everything speaks HTTP over loopback.

use std::{
    collections::HashMap,
    net::TcpListener,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path as UrlPath, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{any, get, post},
};
use platform::{Config, Keys};
use protocol::{
    AccountId, MediaVersion, Plan, PlayId, Role, Rung, RungSet, TrackId, UnixMs, edge_auth,
    revocation::{Entry, FeedPage, Kind, LIFE_MS, Subject},
    session::Session,
    sheet::{Card, CardState, Loudness, Sheet, SheetRung},
    token::{self, Claims, Purpose},
};
use tokio::sync::oneshot;

pub const VERSION: MediaVersion = MediaVersion([0xab; 16]);
pub const INIT_BYTES: u32 = 700;
pub const SEGMENT_BYTES: [u32; 3] = [16_000, 96_000, 5_001];

/// What the services behind the gateway do and have seen.
#[derive(Default)]
pub struct Behind {
    pub objects: HashMap<String, Vec<u8>>,
    pub store_reads: AtomicU64,
    pub store_down: AtomicBool,
    pub store_delay_ms: AtomicU64,
    pub catalog_down: AtomicBool,
    pub royalty_down: AtomicBool,
    pub identity_down: AtomicBool,
    pub revocations: Mutex<Vec<Entry>>,
    pub batches: Mutex<Vec<Vec<u8>>>,
    pub card_headers: Mutex<Option<HeaderMap>>,
    pub card: Option<Card>,
}

pub struct System {
    pub url: String,
    pub admin: String,
    pub keys: Keys,
    pub behind: Arc<Behind>,
    pub http: reqwest::Client,
    pub address: String,
    stop: Option<oneshot::Sender<()>>,
    gateway: Option<JoinHandle<anyhow::Result<()>>>,
}

impl System {
    /// Starts everything; `yaml` is the gateway's own configuration file.
    pub async fn start(dir: &Path, yaml: &str) -> Self {
        let behind = Arc::new(Behind { objects: media_objects(), card: Some(card()), ..Behind::default() });
        Self::start_over(dir, yaml, behind).await
    }

    pub async fn start_over(dir: &Path, yaml: &str, behind: Arc<Behind>) -> Self {
        let store = serve(Router::new().route("/{bucket}/{*key}", get(read_object)), &behind).await;
        let catalog = serve(Router::new().route("/internal/cards/{track}", get(read_card)).fallback(any(echo)), &behind).await;
        let royalty = serve(Router::new().route("/internal/batches", post(merge)).fallback(any(echo)), &behind).await;
        let search = serve(Router::new().fallback(any(echo)), &behind).await;
        let identity = serve(Router::new().route("/internal/revocations", get(read_revocations)).fallback(any(echo)), &behind).await;
        let (address, admin, nobody) = (free_address(), free_address(), free_address());
        let sets = [
            ("keys.dir", dir.join("keys").display().to_string()),
            ("state.dir", dir.display().to_string()),
            ("objects.endpoint", format!("http://{store}")),
            ("listen.gateway", address.clone()),
            ("listen.gateway_admin", admin.clone()),
            ("listen.catalog", catalog),
            ("listen.royalty", royalty),
            ("listen.search", search),
            ("listen.identity", identity),
            // No one listens there.
            ("listen.recommend", nobody.clone()),
            ("listen.ingest", nobody),
        ];
        let sets: Vec<_> = sets.map(|(key, value)| format!("{key}={value}")).into();
        let config = Config::load(None, [], &sets).unwrap();
        let keys = config.keys().unwrap();
        let conf_file = dir.join("pingora.yaml");
        std::fs::write(&conf_file, yaml).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            let _ = stopped.await;
        };
        let openapi = axum::body::Bytes::from_static(b"{\"openapi\":\"3.1.0\"}");
        let gateway = std::thread::spawn(move || gateway::run_until(config, openapi, Some(conf_file), stopped));
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        let system = Self {
            url: format!("http://{address}"),
            admin: format!("http://{admin}"),
            keys,
            behind,
            http,
            address,
            stop: Some(stop),
            gateway: Some(gateway),
        };
        system.wait_until_ready().await;
        system
    }

    async fn wait_until_ready(&self) {
        for _ in 0..500 {
            if self.http.get(format!("{}/readyz", self.url)).send().await.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the gateway does not become ready");
    }

    /// Asks the gateway to stop; it goes on in its own thread.
    pub fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Stops the gateway and waits for its end.
    pub async fn stop(mut self) {
        self.begin_stop();
        let gateway = self.gateway.take().unwrap();
        tokio::task::spawn_blocking(move || gateway.join().unwrap().unwrap()).await.unwrap();
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    /// A GET that the edge signed.
    pub async fn edge_get(&self, path: &str) -> reqwest::Response {
        let signature = edge_auth::sign(&self.keys.edge_secret, "GET", path, b"", now());
        self.http.get(format!("{}{path}", self.url)).header(edge_auth::HEADER, signature).send().await.unwrap()
    }

    /// A token for the test's media version.
    pub fn token(&self, purpose: Purpose, expires_at: UnixMs) -> String {
        self.token_of(PlayId::v7(now(), [1; 10]), purpose, expires_at)
    }

    /// [`Self::token`] of a play that the test knows.
    pub fn token_of(&self, play: PlayId, purpose: Purpose, expires_at: UnixMs) -> String {
        let claims = Claims {
            purpose,
            plan: Plan::Free,
            rungs: RungSet::of(&[Rung::Aac64, Rung::Aac128]),
            territory: "DE".parse().unwrap(),
            buffer: 1,
            expires_at,
            duration_ms: 8_000,
            play,
            track: track(),
            version: VERSION,
            pseudonym: self.keys.token.pseudonym(account()),
        };
        token::mint(&self.keys.token, &claims, now()).unwrap()
    }

    /// The prefix of addresses a listener may fetch for an hour.
    pub fn media(&self) -> String {
        format!("/v1/media/{}", self.token(Purpose::Media, now().plus_ms(3_600_000)))
    }

    /// An access token of a listener in Germany.
    pub fn session(&self) -> String {
        self.keys.session_signer.sign(&Session {
            account: account(),
            role: Role::Listener,
            plan: Plan::Free,
            country: "DE".parse().unwrap(),
            family: uuid::Uuid::from_u128(1),
            name: "Ada".to_owned(),
            issued_at: now(),
            expires_at: now().plus_ms(900_000),
            play_until: now().plus_ms(3_600_000),
        })
    }

    /// Adds to identity's feed.
    pub fn revoke(&self, kind: Kind, subject: impl Into<Subject>) {
        let mut revocations = self.behind.revocations.lock().unwrap();
        let (seq, at_ms) = (revocations.len() as i64 + 1, now());
        let until_ms = at_ms.plus_ms(LIFE_MS);
        revocations.push(Entry { seq, kind, subject: subject.into(), at_ms, lifted_at_ms: None, until_ms });
    }

    pub fn store_reads(&self) -> u64 {
        self.behind.store_reads.load(Ordering::SeqCst)
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.begin_stop();
    }
}

/// The `code` of a problem document, whose other promised fields must be there too.
pub async fn code(answer: reqwest::Response) -> String {
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!((body["status"].as_u64(), body["request_id"].as_str()), (Some(u64::from(status)), Some(id.as_str())));
    assert!(body["type"].is_string() && body["title"].is_string() && body["detail"].is_string());
    body["code"].as_str().unwrap().to_owned()
}

pub fn now() -> UnixMs {
    platform::Clock::system().now()
}

pub fn track() -> TrackId {
    TrackId::v7(UnixMs(1_795_556_280_000), [2; 10])
}

pub fn account() -> AccountId {
    AccountId::v7(UnixMs(1_795_556_280_000), [3; 10])
}

/// The bytes of a rendition's file from `offset`.
pub fn media_bytes(offset: u64, length: u32) -> Vec<u8> {
    (offset..offset + u64::from(length)).map(|at| (at % 251) as u8).collect()
}

pub fn sheet() -> Sheet {
    let rung = |rung: Rung| SheetRung {
        rung,
        codec: "mp4a.40.2".to_owned(),
        init_bytes: INIT_BYTES,
        segment_bytes: SEGMENT_BYTES.to_vec(),
        peak_bps: rung.nominal_bps(),
        average_bps: rung.nominal_bps(),
        sha256: String::new(),
    };
    Sheet {
        version: VERSION,
        source_sha256: String::new(),
        packager: "test".to_owned(),
        timescale: 44_100,
        boundaries: vec![0, 87 * 1024, 345 * 1024, 388 * 1024],
        priming: 1024,
        samples: 387 * 1024 - 100,
        padding: 100,
        rungs: Rung::LOSSY.into_iter().map(rung).collect(),
        loudness: Loudness { integrated_clufs: -980, true_peak_cdbtp: -30 },
    }
}

fn card() -> Card {
    Card {
        track: track(),
        state: CardState::Published,
        version: VERSION,
        title: "Song".to_owned(),
        territories: None,
        release_at_ms: None,
        album_gain_cdb: None,
    }
}

fn media_objects() -> HashMap<String, Vec<u8>> {
    let length = INIT_BYTES + SEGMENT_BYTES.iter().sum::<u32>();
    let files = Rung::LOSSY.into_iter().map(|rung| (format!("media/{VERSION}/{rung}.mp4"), media_bytes(0, length)));
    let sheet = (format!("media/{VERSION}/sheet.json"), serde_json::to_vec(&sheet()).unwrap());
    files.chain([sheet]).collect()
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

async fn serve(router: Router<Arc<Behind>>, behind: &Arc<Behind>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = router.with_state(behind.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn read_object(State(behind): State<Arc<Behind>>, UrlPath((_, key)): UrlPath<(String, String)>, headers: HeaderMap) -> Response {
    behind.store_reads.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(behind.store_delay_ms.load(Ordering::SeqCst))).await;
    if behind.store_down.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let Some(object) = behind.objects.get(&key) else { return StatusCode::NOT_FOUND.into_response() };
    let Some(range) = headers.get(header::RANGE).and_then(|range| range.to_str().ok()) else { return object.clone().into_response() };
    let (from, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (from, to) = (from.parse::<usize>().unwrap(), (last.parse::<usize>().unwrap() + 1).min(object.len()));
    if from >= to {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let content_range = format!("bytes {from}-{}/{}", to - 1, object.len());
    (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, content_range)], object[from..to].to_vec()).into_response()
}

async fn read_card(State(behind): State<Arc<Behind>>, UrlPath(asked): UrlPath<String>, headers: HeaderMap) -> Response {
    if behind.catalog_down.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    *behind.card_headers.lock().unwrap() = Some(headers);
    match &behind.card {
        Some(card) if card.track.to_string() == asked => axum::Json(card).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn merge(State(behind): State<Arc<Behind>>, body: Bytes) -> Response {
    if behind.royalty_down.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    behind.batches.lock().unwrap().push(body.to_vec());
    axum::Json(serde_json::json!({"outcome": "merged", "counted": 1, "duplicate": 0, "quarantined": 0})).into_response()
}

/// Answers what it was asked, after `?sleep_ms=`.
async fn echo(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    if let Some(ms) = query.strip_prefix("sleep_ms=").and_then(|ms| ms.parse().ok()) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let headers: HashMap<_, _> =
        parts.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned())).collect();
    axum::Json(serde_json::json!({
        "method": parts.method.as_str(), "path": parts.uri.path(), "query": query, "headers": headers, "body_bytes": body.len(),
    }))
    .into_response()
}

async fn read_revocations(State(behind): State<Arc<Behind>>, Query(from): Query<HashMap<String, i64>>) -> Response {
    let (after, wait_ms) = (from["after"], from["wait_ms"]);
    for _ in 0..=wait_ms / 5 {
        if behind.identity_down.load(Ordering::SeqCst) {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let page = {
            let revocations = behind.revocations.lock().unwrap();
            let entries: Vec<_> = revocations.iter().filter(|entry| entry.seq > after).copied().collect();
            FeedPage { head: revocations.len() as i64, entries }
        };
        if !page.entries.is_empty() {
            return axum::Json(page).into_response();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    axum::Json(FeedPage { head: after, entries: Vec::new() }).into_response()
}
