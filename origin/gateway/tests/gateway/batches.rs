//! A buffer's request is signed over method, target, body and time: what somebody who captured one can do with it.

use protocol::edge_auth;

use crate::system::{System, code, now};

const BATCHES: &str = "/internal/batches";
const BATCH: &[u8] = br#"{"buffer":"7","epoch":"e","number":1,"frozen_at_ms":1,"posts":[]}"#;

#[tokio::test]
async fn a_captured_batch_is_worth_nothing_after_a_minute_and_changes_nothing_before() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let secret = &system.keys.edge_secret;
    let send = async |method: &str, target: &str, signature: String, body: &'static [u8]| {
        let request = system.http.request(method.parse().unwrap(), format!("{}{target}", system.url));
        request.header(edge_auth::HEADER, signature).body(body).send().await.unwrap()
    };
    let captured = |age_ms: i64| edge_auth::sign(secret, "POST", BATCHES, BATCH, now().plus_ms(-age_ms));
    for age_ms in [61_000, 3_600_000, 40 * 86_400_000, -65_000] {
        let answer = send("POST", BATCHES, captured(age_ms), BATCH).await;
        assert_eq!((answer.status().as_u16(), code(answer).await.as_str()), (403, "edge_signature_invalid"), "{age_ms} ms old");
    }
    // The time in the header is signed: a younger one does not fit.
    let (_, tag) = captured(61_000).split_once(",s=").map(|(time, tag)| (time.to_owned(), tag.to_owned())).unwrap();
    let rejuvenated = format!("t={},s={tag}", now().0);
    for (method, target, signature, body) in [
        ("POST", BATCHES, rejuvenated, BATCH),
        ("PUT", BATCHES, captured(0), BATCH),
        ("POST", "/internal/batches?x=1", captured(0), BATCH),
        ("POST", "/internal/publications", captured(0), BATCH),
        ("POST", BATCHES, captured(0), br#"{"buffer":"7","epoch":"e","number":2,"frozen_at_ms":1,"posts":[]}"#.as_slice()),
    ] {
        let answer = send(method, target, signature, body).await;
        assert!([403, 404, 405].contains(&answer.status().as_u16()), "{method} {target}: {}", answer.status());
    }
    assert!(system.behind.batches.lock().unwrap().is_empty(), "nothing of it reached royalty");
    // Within the window the same bytes arrive again, byte for byte, where they are known as the same batch (royalty's `tests/it/intake`).
    let captured = captured(50_000);
    for _ in 0..2 {
        assert_eq!(send("POST", BATCHES, captured.clone(), BATCH).await.status(), 200);
    }
    assert_eq!(*system.behind.batches.lock().unwrap(), [BATCH.to_vec(), BATCH.to_vec()]);
    system.stop().await;
}
