//! Bodies that no player of ours or of others sends: a million of them in every test run, posted as JSON and as CMCD. None brings the reader down, and
//! whatever it accepts of them keeps the promises that buffers, collector and listen rule stand on.
//!
//! Genuine bodies are the material: what hls.js 1.7.4 posted while it played, paused, sought and ended (`hls.js-1.7.4.txt`, kept by
//! `web/e2e/reports.mjs`; bodies apart by a line `--`), and posts of our own player. Each attempt alters one in ways drawn from [`WAYS`] with a seeded
//! generator, so that a failure names the attempt and can be repeated. `ANTIPHON_BODIES=20000000` tries as many.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod promises;
mod ways;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use common::Dice;
use promises::Seen;
use ways::WAYS;

const ATTEMPTS: u64 = 1_000_000;
const WORKERS: u64 = 2;
const OF_HLS_JS: &str = include_str!("hls.js-1.7.4.txt");
/// What our own player posts.
const OURS: [&str; 4] = [
    r#"{"ticket":"TICKET","sender":"4e7c","events":[{"seq":0,"kind":"start","from_ms":0,"to_ms":0}]}"#,
    r#"{"ticket":"TICKET","sender":"4e7c","events":[{"seq":1,"kind":"progress","from_ms":0,"to_ms":15000},{"seq":2,"kind":"progress","from_ms":15000,"to_ms":30000,"muted":true}]}"#,
    r#"{"ticket":"TICKET","sender":"4e7c","events":[{"seq":3,"kind":"seek","from_ms":30000,"to_ms":31000,"background":false}],"receipts":["1.1.0.0.1996.c3VwcG9zZWRseQ","1.1.1.1996.7987.c3VwcG9zZWRseQ"]}"#,
    r#"{"ticket":"TICKET","sender":"4e7c","events":[{"seq":4,"kind":"pause","from_ms":31000,"to_ms":40000},{"seq":5,"kind":"resume","from_ms":40000,"to_ms":40000},{"seq":6,"kind":"stop","from_ms":40000,"to_ms":41234},{"seq":7,"kind":"end","from_ms":41234,"to_ms":42000}]}"#,
];

/// The media type under which a body is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Cmcd,
}

fn material() -> Vec<(Kind, Vec<u8>)> {
    let of_hls_js = OF_HLS_JS.split("--\n").map(|body| (Kind::Cmcd, body.as_bytes().to_vec()));
    let ours = OURS.iter().map(|body| (Kind::Json, body.as_bytes().to_vec()));
    // As many of the one as of the other, nearly.
    of_hls_js.chain(ours.cycle().take(OURS.len() * 3)).collect()
}

/// Tries `attempts` with a generator of its own.
fn try_all(seed: u64, attempts: u64) -> Seen {
    let (material, mut dice, mut seen) = (material(), Dice(seed), Seen::default());
    for attempt in 0..attempts {
        let (mut kind, mut body) = material[dice.below(material.len())].clone();
        let mut names = Vec::with_capacity(4);
        let times = if dice.below(2) == 0 { 1 } else { 1 + dice.below(4) };
        for _ in 0..times {
            let (name, way) = WAYS[dice.below(WAYS.len())];
            names.push(name);
            way(&material, &mut body, &mut dice);
        }
        if dice.below(50) == 0 {
            kind = if kind == Kind::Json { Kind::Cmcd } else { Kind::Json };
        }
        let kept = catch_unwind(AssertUnwindSafe(|| promises::hold(kind, &body, &mut dice, &mut seen)));
        assert!(
            kept.is_ok(),
            "{kind:?}, {names:?}, seed {seed}, attempt {attempt}, {} bytes: {:?}",
            body.len(),
            String::from_utf8_lossy(&body).chars().take(2_000).collect::<String>()
        );
    }
    seen
}

#[test]
fn a_million_altered_bodies_bring_nothing_down_and_break_no_promise() {
    let attempts = std::env::var("ANTIPHON_BODIES").map_or(ATTEMPTS, |count| count.parse().expect("ANTIPHON_BODIES is a number"));
    let share = attempts.div_ceil(WORKERS);
    let workers: Vec<_> = (0..WORKERS).map(|worker| thread::spawn(move || try_all(0xB0D1_E500 + worker, share))).collect();
    let seen = workers.into_iter().map(|worker| worker.join().expect("a promise was broken")).reduce(Seen::and).unwrap();
    println!("{seen:#?}");
    assert!(seen.bodies >= attempts);
    // Alterations that always or never hurt would prove little.
    for (what, count) in [
        ("JSON whole refused", seen.json_refused),
        ("JSON with kept events", seen.json_kept),
        ("JSON with refused events", seen.json_rejected),
        ("CMCD with kept events", seen.cmcd_kept),
        ("CMCD with refused records", seen.cmcd_rejected),
        ("credit", seen.credited),
    ] {
        assert!(count > attempts / 100, "{what}: {count}");
    }
}

#[test]
fn what_hls_js_posted_is_read_whole() {
    for (kind, body) in material() {
        let post = promises::read(kind, &body).unwrap();
        let lines =
            if kind == Kind::Cmcd { body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() } else { post.events.len() };
        let (kept, rejected) = post.receive(promises::DURATION_MS, promises::NOW);
        assert_eq!((kept.events.len(), rejected.len()), (lines, 0), "{}", String::from_utf8_lossy(&body));
    }
}
