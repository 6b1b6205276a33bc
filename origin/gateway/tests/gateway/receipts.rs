//! Segment receipts on the second path: which answers carry one, and that what a player echoes goes on to royalty as it came.

use protocol::{
    PlayId, UnixMs,
    heartbeat::Batch,
    receipt::{self, Segment},
    token::Purpose,
};
use serde_json::{Value, json};

use crate::system::{System, now};

fn of(answer: &reqwest::Response) -> Option<String> {
    answer.headers().get(receipt::HEADER).map(|value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_segment_asked_for_in_full_brings_a_receipt_for_its_play() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let [one, other] = [1, 2].map(|n| PlayId::v7(now(), [n; 10]));
    let media = |play| format!("/v1/media/{}", system.token_of(play, Purpose::Media, now().plus_ms(3_600_000)));
    let proves = |text: &str, play| receipt::examine(&system.keys.token, play, text, now()).ok();
    let segment = format!("{}/aac-128/1.m4s", media(one));

    // Once from the object store and once from memory; and from another rung, which has the same segments.
    let expected = Segment { n: 1, start_ms: 1_996, end_ms: 7_987 };
    let text = of(&system.get(&segment).await).unwrap();
    assert_eq!((proves(&text, one), proves(&text, other)), (Some(expected), None));
    assert_eq!(of(&system.get(&segment).await).as_ref(), Some(&text));
    assert_eq!(of(&system.get(&format!("{}/aac-64/1.m4s", media(one))).await).as_ref(), Some(&text));
    // Another listener's receipt for the same bytes in the shield is another one.
    let others = of(&system.get(&format!("{}/aac-128/1.m4s", media(other))).await).unwrap();
    assert_eq!((proves(&others, other), proves(&others, one)), (Some(expected), None));
    let first = of(&system.get(&format!("{}/aac-128/first.mp4", media(one))).await).unwrap();
    assert_eq!(proves(&first, one), Some(Segment { n: 0, start_ms: 0, end_ms: 1_996 }));

    let whole = system.get(&segment).await;
    let etag = whole.headers()["etag"].clone();
    let ask = || system.http.get(format!("{}{segment}", system.url));
    let none = [
        ("a part", 206, ask().header("range", "bytes=0-9").send().await.unwrap()),
        ("all of it, as a part", 206, ask().header("range", "bytes=0-").send().await.unwrap()),
        ("beyond the end", 416, ask().header("range", "bytes=96000-").send().await.unwrap()),
        ("not changed", 304, ask().header("if-none-match", etag).send().await.unwrap()),
        ("HEAD", 200, system.http.head(format!("{}{segment}", system.url)).send().await.unwrap()),
        ("the init section", 200, system.get(&format!("{}/aac-128/init.mp4", media(one))).await),
        ("a playlist", 200, system.get(&format!("{}/aac-128.m3u8", media(one))).await),
        ("no such segment", 404, system.get(&format!("{}/aac-128/3.m4s", media(one))).await),
    ];
    for (name, status, answer) in none {
        assert_eq!((answer.status().as_u16(), of(&answer)), (status, None), "{name}");
    }
    system.stop().await;
}

#[tokio::test]
async fn receipts_reach_royalty_with_their_post_and_a_bad_one_refuses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let play = PlayId::v7(UnixMs(now().0 - 1_000), [3; 10]);
    let ticket = system.token_of(play, Purpose::Event, now().plus_ms(60_000));
    let post = async |events: Value, receipts: Value| {
        let body = json!({"ticket": ticket, "sender": "s", "events": events, "receipts": receipts});
        let answer = system.http.post(format!("{}/v1/me/play-event", system.url)).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        serde_json::from_slice::<Value>(&answer.bytes().await.unwrap()).unwrap()
    };
    let event = json!([{"seq": 0, "kind": "progress", "from_ms": 0, "to_ms": 1_000}]);
    let said = post(event.clone(), json!(["1.1.0.0.1996.AAAAAAAAAAAAAAAA", 7, "x".repeat(97)])).await;
    assert_eq!((said["accepted"].as_u64(), said["receipts_dropped"].as_u64()), (Some(1), Some(2)), "{said}");
    let said = post(event, json!("nonsense")).await;
    assert_eq!((said["accepted"].as_u64(), said["receipts_dropped"].as_u64()), (Some(1), Some(1)), "{said}");
    // What comes without an event is kept as well.
    let said = post(json!([]), json!(["late"])).await;
    assert_eq!((said["accepted"].as_u64(), said.get("receipts_dropped")), (Some(0), None), "{said}");
    let batches = system.behind.batches.lock().unwrap().clone();
    let kept: Vec<Vec<String>> =
        batches.iter().map(|bytes| serde_json::from_slice::<Batch>(bytes).unwrap().posts[0].receipts.clone()).collect();
    assert_eq!(kept, [vec!["1.1.0.0.1996.AAAAAAAAAAAAAAAA".to_owned()], vec![], vec!["late".to_owned()]]);
    system.stop().await;
}
