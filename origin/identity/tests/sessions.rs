//! Accounts and sessions over HTTP, on a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "tests")]

mod service;

use identity::ensure_account;
use protocol::{Plan, Role};
use serde_json::{Value, json};
use service::{NOW, Service};

#[tokio::test]
async fn a_listener_signs_up_logs_in_and_is_known_by_the_public_keys() {
    let service = Service::start().await;
    let account = service.sign_up("ada@example.org", "listener").await;
    assert_eq!(account, json!({"id": account["id"], "name": "Ada", "role": "listener", "plan": "free"}));

    let (status, session) = service.log_in("ADA@example.org", "correct horse").await;
    assert_eq!((status, &session["token_type"], &session["expires_in_s"]), (201, &json!("Bearer"), &json!(900)));
    assert_eq!(session["account"], account);

    let jwks = reqwest::get(format!("{}/.well-known/jwks.json", service.base)).await.unwrap().text().await.unwrap();
    let verifier = protocol::session::SessionVerifier::from_jwks(&jwks).unwrap();
    let known = verifier.verify(session["access_token"].as_str().unwrap(), NOW).unwrap();
    assert_eq!((known.account.to_string().as_str(), known.plan), (account["id"].as_str().unwrap(), Plan::Free));
    assert_eq!((known.expires_at, known.play_until), (NOW.plus_ms(900_000), NOW.plus_ms(43_200_000)));
}

#[tokio::test]
async fn an_address_has_one_account() {
    let service = Service::start().await;
    service.sign_up("ada@example.org", "listener").await;
    let again = json!({"email": "Ada@Example.org", "password": "another one", "name": "A", "role": "artist", "country": "FR"});
    let (status, problem) = service.post("/v1/accounts", again).await;
    assert_eq!((status, &problem["code"]), (409, &json!("email_taken")));
}

#[tokio::test]
async fn nobody_signs_up_as_an_administrator_or_with_unknown_fields() {
    let service = Service::start().await;
    let body = json!({"email": "eve@example.org", "password": "correct horse", "name": "Eve", "role": "admin", "country": "DE"});
    let (status, problem) = service.post("/v1/accounts", body.clone()).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!("/role")));
    let mut body = body;
    body["plan"] = json!("premium");
    let (status, problem) = service.post("/v1/accounts", body).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!("/plan")));
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_look_the_same() {
    let service = Service::start().await;
    service.sign_up("ada@example.org", "listener").await;
    let (unknown, wrong) =
        (service.log_in("bob@example.org", "correct horse").await, service.log_in("ada@example.org", "incorrect horse").await);
    let without_id = |(status, mut problem): (u16, Value)| {
        problem["request_id"] = Value::Null;
        (status, problem)
    };
    assert_eq!((unknown.0, &unknown.1["code"]), (401, &json!("bad_credentials")));
    assert_eq!(without_id(unknown), without_id(wrong));
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_its_reuse_ends_the_session() {
    let service = Service::start().await;
    service.sign_up("ada@example.org", "listener").await;
    let (_, first) = service.log_in("ada@example.org", "correct horse").await;
    let (status, second) = service.refresh(&first["refresh_token"]).await;
    assert_eq!(status, 201);
    assert_ne!(first["refresh_token"], second["refresh_token"]);

    let (status, problem) = service.refresh(&first["refresh_token"]).await;
    assert_eq!((status, &problem["code"]), (401, &json!("refresh_reused")));
    let (status, problem) = service.refresh(&second["refresh_token"]).await;
    assert_eq!((status, &problem["code"]), (401, &json!("refresh_reused")), "the thief's newer token is dead too");
    assert_eq!(service.log_in("ada@example.org", "correct horse").await.0, 201, "the account itself is not");
    assert_eq!(service.refresh(&json!("ab".repeat(32))).await.1["code"], "refresh_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_uses_of_one_refresh_token_at_most_one_succeeds() {
    let service = std::sync::Arc::new(Service::start().await);
    service.sign_up("ada@example.org", "listener").await;
    let (_, session) = service.log_in("ada@example.org", "correct horse").await;
    let uses: Vec<_> = (0..8)
        .map(|_| {
            let (service, token) = (service.clone(), session["refresh_token"].clone());
            tokio::spawn(async move { service.refresh(&token).await.0 })
        })
        .collect();
    let mut statuses = Vec::new();
    for used in uses {
        statuses.push(used.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 401, 401, 401, 401, 401, 401, 401]);
}

#[tokio::test]
async fn a_session_ends_when_it_is_logged_out_or_too_old() {
    let service = Service::start().await;
    service.sign_up("ada@example.org", "listener").await;
    let (_, session) = service.log_in("ada@example.org", "correct horse").await;
    let (_, other) = service.log_in("ada@example.org", "correct horse").await;
    let log_out = service.http.delete(format!("{}/v1/sessions", service.base)).bearer_auth(session["access_token"].as_str().unwrap());
    assert_eq!(log_out.send().await.unwrap().status(), 204);
    assert_eq!(service.refresh(&session["refresh_token"]).await.1["code"], "refresh_invalid");
    let (status, other) = service.refresh(&other["refresh_token"]).await;
    assert_eq!(status, 201, "another log-in of the account lives on");
    service.clock.advance(91 * 24 * 3_600_000);
    assert_eq!(service.refresh(&other["refresh_token"]).await.1["code"], "refresh_expired");
}

#[tokio::test]
async fn guessing_is_braked_and_the_brake_says_for_how_long() {
    let service = Service::start().await;
    service.sign_up("ada@example.org", "listener").await;
    for _ in 0..10 {
        assert_eq!(service.log_in("ada@example.org", "guess").await.0, 401);
    }
    let body = json!({"email": "ada@example.org", "password": "correct horse"});
    let answer = service.http.post(format!("{}/v1/sessions", service.base)).json(&body).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"60".parse().unwrap()));
    service.clock.advance(60_000);
    assert_eq!(service.log_in("ada@example.org", "correct horse").await.0, 201);
}

#[tokio::test]
async fn an_artist_acts_for_an_artist_of_its_name() {
    let service = Service::start().await;
    let account = service.sign_up("ada@example.org", "artist").await;
    let url = format!("{}/internal/accounts/{}/memberships", service.base, account["id"].as_str().unwrap());
    let memberships: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!((&memberships["items"][0]["artist_name"], &memberships["items"][0]["role"]), (&json!("Ada"), &json!("owner")));
}

#[tokio::test]
async fn a_deployment_makes_its_first_administrator_and_can_run_again() {
    let service = Service::start().await;
    let pool = service.database.pool("identity");
    let ensure = async |password: &str, plan: Plan| {
        let country = "DE".parse().unwrap();
        ensure_account(&pool, "admin@example.org", password, "Admin", Role::Admin, country, plan, NOW).await.unwrap()
    };
    let id = ensure("first password", Plan::Free).await;
    assert_eq!(ensure("first password", Plan::Premium).await, id);
    let (status, session) = service.log_in("admin@example.org", "first password").await;
    assert_eq!((status, &session["account"]["role"], &session["account"]["plan"]), (201, &json!("admin"), &json!("premium")));
    let token = session["access_token"].as_str().unwrap();
    assert_eq!(service.keys.session_verifier.verify(token, NOW).unwrap().role, Role::Admin);
    assert_eq!(ensure("second password", Plan::Premium).await, id);
    assert_eq!(service.log_in("admin@example.org", "first password").await.0, 401);
}
