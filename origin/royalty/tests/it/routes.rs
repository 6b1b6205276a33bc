//! Every public route refuses who may not call it, and every route is described.

use protocol::Role;
use serde_json::Value;

use crate::scene::scene;

#[tokio::test]
async fn no_public_route_answers_without_a_session_or_to_the_wrong_role() {
    let scene = scene().await;
    let listener = scene.person(1, Role::Listener);
    let document: Value = serde_json::from_str(&royalty::openapi().to_json().unwrap()).unwrap();
    let mut public = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["summary"].is_string() && operation["responses"].is_object(), "{method} {path} is not described");
            if path.starts_with("/internal/") {
                continue;
            }
            public += 1;
            let path = path.replace("{id}", "01890000-0000-7000-8000-000000000000");
            let answer = scene.request(&method.to_uppercase(), &path).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 401, "{method} {path}");
            let refusal = operation["responses"]["403"]["description"].as_str().unwrap_or_default();
            if refusal.contains("not_an_") {
                let (status, answer) = scene.send(&listener, &method.to_uppercase(), &path, None).await;
                assert_eq!((status, Some(answer["code"].as_str().unwrap())), (403, refusal.split('`').nth(1)), "{method} {path}");
            }
        }
    }
    assert_eq!(public, 13);
}
