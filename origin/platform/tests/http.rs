//! What every service does with every request, over HTTP.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "tests")]

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use axum::{
    Router,
    extract::FromRef,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use platform::{
    Admin, AuthState, Caller, Clock, Created, Json, NoContent, Problem,
    idempotency::{self, Idempotency},
    openapi, testing,
};
use protocol::{AccountId, Plan, Role, UnixMs, session::Session};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const NOW: UnixMs = UnixMs(1_795_556_280_000);

#[derive(Clone, FromRef)]
struct App {
    auth: AuthState,
    calls: Arc<AtomicU32>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Thing {
    name: String,
}

async fn create(axum::extract::State(app): axum::extract::State<App>, Json(thing): Json<Thing>) -> Result<Created<Value>, Problem> {
    let call = app.calls.fetch_add(1, Ordering::SeqCst);
    if thing.name == "broken" && call == 0 {
        return Err(Problem::unavailable(1));
    }
    Ok(Created(json!({ "name": thing.name, "call": call })))
}

async fn base() -> (String, AuthState, platform::Keys) {
    let database = testing::postgres().await;
    sqlx::raw_sql(
        "CREATE TABLE queue.idempotency (
             scope TEXT NOT NULL, key TEXT NOT NULL, request_sha256 BYTEA NOT NULL, started_at_ms BIGINT NOT NULL,
             status SMALLINT, content_type TEXT, body BYTEA, PRIMARY KEY (scope, key));
         GRANT SELECT, INSERT, UPDATE, DELETE ON queue.idempotency TO antiphon_ingest",
    )
    .execute(&database.owner())
    .await
    .unwrap();
    let keys = database.config().keys().unwrap();
    let auth = AuthState { verifier: keys.session_verifier.clone(), clock: Clock::fixed(NOW) };
    let idempotency = Idempotency::new(database.pool("ingest"), "queue", auth.clone());
    let router = Router::new()
        .route("/v1/things", post(create).route_layer(from_fn_with_state(idempotency, idempotency::remember)))
        .route("/v1/me", get(|caller: Caller| async move { caller.name.clone() }))
        .route("/v1/admin", get(|_: Admin| async { NoContent }))
        .route("/v1/panic", get(|| async { panic!("on purpose") as String }))
        .with_state(App { auth: auth.clone(), calls: Arc::default() });
    (testing::serve_here("test", (router, openapi::base("test", "test"))).await, auth, keys)
}

fn token(keys: &platform::Keys, role: Role) -> String {
    keys.session_signer.sign(&Session {
        account: AccountId::v7(NOW, [3; 10]),
        role,
        plan: Plan::Free,
        country: "DE".parse().unwrap(),
        family: uuid::Uuid::nil(),
        name: "Ada".to_owned(),
        issued_at: NOW,
        expires_at: NOW.plus_ms(900_000),
        play_until: NOW.plus_ms(900_000),
    })
}

#[tokio::test]
async fn the_same_post_under_one_key_happens_once() {
    let (base, ..) = base().await;
    let http = reqwest::Client::new();
    let post = async |key: &str, name: &str| {
        let sent =
            http.post(format!("{base}/v1/things")).header("idempotency-key", key).json(&json!({ "name": name })).send().await.unwrap();
        let replayed = sent.headers().contains_key("idempotency-replayed");
        (sent.status().as_u16(), replayed, sent.json::<Value>().await.unwrap())
    };
    let (status, replayed, first) = post("k", "a").await;
    assert_eq!((status, replayed), (201, false));
    assert_eq!(post("k", "a").await, (201, true, first));
    let (status, _, problem) = post("k", "b").await;
    assert_eq!((status, &problem["code"]), (422, &json!("idempotency_key_reused")));
}

#[tokio::test]
async fn a_post_that_failed_for_now_can_be_made_again_under_its_key() {
    let (base, ..) = base().await;
    let request = || {
        let request = reqwest::Client::new().post(format!("{base}/v1/things")).header("idempotency-key", "k");
        request.json(&json!({ "name": "broken" })).send()
    };
    assert_eq!(request().await.unwrap().status(), 503);
    assert_eq!(request().await.unwrap().status(), 201);
}

#[tokio::test]
async fn a_refusal_says_what_the_caller_can_do() {
    let (base, auth, keys) = base().await;
    let http = reqwest::Client::new();
    let listener = format!("Bearer {}", token(&keys, Role::Listener));
    let table = [
        ("/v1/me", None, 401, "session_missing"),
        ("/v1/me", Some("Bearer x"), 401, "session_invalid"),
        ("/v1/admin", Some(listener.as_str()), 403, "not_an_admin"),
        ("/v1/nowhere", None, 404, "not_found"),
        ("/v1/panic", None, 500, "internal"),
        ("/v1/things", None, 405, "method_not_allowed"),
    ];
    for (path, authorization, status, code) in table {
        let mut request = http.get(format!("{base}{path}")).header("x-request-id", "abc-1");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        assert_eq!(answer.headers().contains_key("www-authenticate"), status == 401, "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!((&problem["code"], &problem["request_id"]), (&json!(code), &json!("abc-1")), "{path}");
    }
    let me = http.get(format!("{base}/v1/me")).header("authorization", &listener).send().await.unwrap();
    assert_eq!(me.text().await.unwrap(), "Ada");
    auth.clock.advance(1_000_000);
    let expired = http.get(format!("{base}/v1/me")).header("authorization", &listener).send().await.unwrap();
    assert_eq!(expired.json::<Value>().await.unwrap()["code"], "session_expired");
}

#[tokio::test]
async fn a_service_tells_its_state_and_its_numbers() {
    let (base, ..) = base().await;
    let get = async |path: &str| reqwest::get(format!("{base}{path}")).await.unwrap();
    assert_eq!(get("/healthz").await.status(), 200);
    assert_eq!(get("/readyz").await.json::<Value>().await.unwrap(), json!({"ready": true, "missing": []}));
    get("/v1/nowhere").await;
    assert!(get("/metrics").await.text().await.unwrap().contains(r#"route="unmatched""#));
    assert!(get("/openapi.json").await.json::<Value>().await.unwrap()["components"]["schemas"]["Problem"].is_object());
}
