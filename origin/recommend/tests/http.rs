//! What a page gets, over HTTP.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "tests")]

use platform::{AuthState, Clock, testing};
use protocol::{AccountId, Plan, Role, UnixMs, session::Session};
use recommend::Recommend;
use serde_json::{Value, json};

const NOW: UnixMs = UnixMs(1_795_556_280_000);

#[tokio::test]
async fn with_nothing_known_the_answer_is_empty_and_says_why() {
    let keys = testing::postgres().await.config().keys().unwrap();
    let auth = AuthState { verifier: keys.session_verifier.clone(), clock: Clock::fixed(NOW) };
    let base = testing::serve_here("recommend", recommend::router(Recommend::new(auth))).await;
    let http = reqwest::Client::new();
    let url = format!("{base}/v1/me/recommendations?limit=5");
    assert_eq!(http.get(&url).send().await.unwrap().status(), 401);

    let token = keys.session_signer.sign(&Session {
        account: AccountId::v7(NOW, [3; 10]),
        role: Role::Listener,
        plan: Plan::Free,
        country: "DE".parse().unwrap(),
        family: uuid::Uuid::nil(),
        name: "Ada".to_owned(),
        issued_at: NOW,
        expires_at: NOW.plus_ms(900_000),
        play_until: NOW.plus_ms(900_000),
    });
    let answer = http.get(&url).bearer_auth(&token).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["antiphon-model"]), (200, &recommend::MODEL.parse().unwrap()));
    let page: Value = answer.json().await.unwrap();
    assert_eq!((&page["items"], page["reason"].is_string()), (&json!([]), true));

    let unknown = http.get(format!("{base}/v1/tracks/{}/similar", uuid::Uuid::nil())).send().await.unwrap();
    assert_eq!((unknown.status().as_u16(), &unknown.json::<Value>().await.unwrap()["code"]), (404, &json!("track_not_found")));
}
