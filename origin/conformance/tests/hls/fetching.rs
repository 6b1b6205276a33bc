//! What is asked for, with what, and what becomes of a check that cannot begin.
use std::collections::BTreeSet;

use conformance::hls::{self, Options, Unreachable, Verdict};

use super::{check, off, sample::good, shelf::Object};

#[tokio::test]
async fn a_manifest_is_asked_for_with_the_session_and_nothing_else_is() {
    let mut shelf = good();
    shelf.rotating = true;
    let base = shelf.serve().await;
    let options = Options { bearer: Some("session".to_owned()) };
    let report = hls::check(&format!("{base}/manifest"), &options).await.unwrap();
    assert!(report.passes(), "{report:#?}");
    let rotating = report.findings.iter().find(|finding| finding.rule == "Apple 12.4").unwrap();
    assert_eq!(rotating.verdict, Verdict::Kept, "{rotating:?}");

    let refused = hls::check(&format!("{base}/manifest"), &Options::default()).await;
    assert!(matches!(refused, Err(Unreachable::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn urls_that_stay_the_same_from_play_to_play_are_told() {
    let base = good().serve().await;
    let options = Options { bearer: Some("session".to_owned()) };
    let report = hls::check(&format!("{base}/manifest"), &options).await.unwrap();
    assert!(off(&report).contains("Apple 12.4"), "{report:#?}");
}

#[tokio::test]
async fn what_is_no_playlist_says_nothing_about_the_rules() {
    let mut shelf = good();
    shelf.put("/page", Object::json("<html>"));
    shelf.put("/text", Object::playlist("Dear sir or madam"));
    shelf.put("/empty", Object::playlist("#EXTM3U\n"));
    let base = shelf.serve().await;
    for (path, expected) in [("/page", "playlist"), ("/text", "#EXTM3U"), ("/empty", "neither"), ("/nothing", "404")] {
        let error = hls::check(&format!("{base}{path}"), &Options::default()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{path}: {error}");
    }
    for url in ["file:///etc/passwd", "index.m3u8"] {
        let error = hls::check(url, &Options::default()).await.unwrap_err();
        assert!(matches!(error, Unreachable::NotHttp(_)), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_media_playlist_alone_is_measured_too() {
    let base = good().serve().await;
    let report = hls::check(&format!("{base}/aac-128.m3u8"), &Options::default()).await.unwrap();
    assert_eq!(off(&report), BTreeSet::from(["Apple 7.6"]), "{report:#?}");
}

#[tokio::test]
async fn no_token_of_a_path_is_in_what_a_report_says_of_places() {
    let mut shelf = good();
    shelf.at("/aac-64/1.m4s").status = 404;
    let base = shelf.serve().await;
    let report = hls::check(&format!("{base}/4711/index.m3u8"), &Options::default()).await.unwrap();
    assert!(!report.passes());
    assert!(!serde_json::to_string(&report.findings).unwrap().contains("4711"), "{report:#?}");
}

#[tokio::test]
async fn damaged_media_is_reported_and_never_ends_the_check() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for _ in 0..24 {
        let mut shelf = good();
        for path in ["/aac-64/init.mp4", "/aac-128/init.mp4", "/aac-64/0.m4s", "/aac-128/2.m4s", "/aac-64.m3u8", "/index.m3u8"] {
            let body = &mut shelf.at(path).body;
            // Box headers and tables are at the front.
            for _ in 0..=random(8) {
                let at = random(body.len().min(1_500));
                body[at] = random(256) as u8;
            }
        }
        let base = shelf.serve().await;
        if let Ok(report) = hls::check(&format!("{base}/index.m3u8"), &Options::default()).await {
            assert!(!report.findings.is_empty());
        }
    }
    // And the sample it was made of is fine.
    assert!(check(good()).await.passes());
}
