//! `hls::check` against presentations served over HTTP: a good one by the real packager and the real playlists, and that one with a defect
//! at a time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod defects;
mod fetching;
mod foreign;
mod sample;
mod shelf;

use std::collections::BTreeSet;

use conformance::hls::{self, Options, Report, Verdict};

use shelf::Shelf;

/// Rules that are not kept, with what was found.
fn off(report: &Report) -> BTreeSet<&'static str> {
    report
        .findings
        .iter()
        .filter(|finding| matches!(finding.verdict, Verdict::Broken | Verdict::Advised | Verdict::Noted))
        .map(|finding| finding.rule)
        .collect()
}

async fn check(shelf: Shelf) -> Report {
    let base = shelf.serve().await;
    hls::check(&format!("{base}/index.m3u8"), &Options::default()).await.unwrap()
}
