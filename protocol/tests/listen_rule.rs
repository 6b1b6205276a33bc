//! The examples of docs/listen-rule.md, run: the page is the table of this test.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use protocol::{
    PlayId, UnixMs,
    heartbeat::{Clock, EventKind},
    listen::{Heard, ListenState, PlayEvidence, Uncorroborated, VoidReason, fold},
    receipt::Proven,
};

const PAGE: &str = include_str!("../../docs/listen-rule.md");
const FIRST_MINT_MS: i64 = 1_795_556_280_000;

/// Seconds with up to three decimals, as ms.
fn ms(seconds: &str) -> i64 {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    assert!(fraction.len() <= 3, "{seconds}");
    whole.parse::<i64>().unwrap() * 1000 + format!("{fraction:0<3}").parse::<i64>().unwrap()
}

fn media(seconds: &str) -> u32 {
    ms(seconds).try_into().unwrap()
}

fn event(text: &str, place: u32) -> Heard {
    let (seq, text) = match text.strip_prefix('#').and_then(|rest| rest.split_once(' ')) {
        Some((seq, rest)) => (seq.parse().unwrap(), rest),
        None => (place, text),
    };
    let (sender, text) = text.split_once(':').unwrap_or(("a", text));
    let [kind, interval, received] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("not an event: {text}") };
    let received_at = UnixMs(FIRST_MINT_MS + ms(received.strip_prefix('@').unwrap()));
    let (sender, kind) = (sender.to_owned(), EventKind::parse(kind).unwrap_or_else(|| panic!("no kind of event: {kind}")));
    // A stock player's report: `plays` or `silent`, the instant by its clock, and perhaps where it is.
    if let Some(report) = interval.strip_prefix("silent=").map(|at| (false, at)).or(interval.strip_prefix("plays=").map(|at| (true, at))) {
        let (playing, (at, position)) =
            (report.0, report.1.split_once('^').map_or((report.1, None), |(at, position)| (at, Some(position))));
        let clock = Clock { at_ms: ms(at), playing, position_ms: position.map(media) };
        return Heard { sender, seq, kind, from_ms: 0, to_ms: 0, clock: Some(clock), received_at };
    }
    let (from, to) = interval.split_once('-').unwrap();
    Heard { sender, seq, kind, from_ms: media(from), to_ms: media(to), clock: None, received_at }
}

fn play(text: &str, place: u8) -> PlayEvidence {
    let (head, events) = text.trim().split_once(':').unwrap();
    let (mint, length) = head.strip_prefix('+').unwrap().split_once(" of ").unwrap();
    let parts: Vec<&str> = events.split(',').map(str::trim).filter(|event| !event.is_empty()).collect();
    let (receipts, events): (Vec<&str>, Vec<&str>) = parts.into_iter().partition(|part| part.starts_with("fetched "));
    let proven: Proven = receipts
        .iter()
        .map(|text| text.trim_start_matches("fetched ").split_once('-').unwrap())
        .map(|(from, to)| (media(from), media(to)))
        .collect();
    PlayEvidence {
        play: PlayId::v7(UnixMs(FIRST_MINT_MS + ms(mint)), [place; 10]),
        duration_ms: media(length),
        events: events.into_iter().zip(0..).map(|(text, place)| event(text, place)).collect(),
        proven,
    }
}

const REASONS: [VoidReason; 5] =
    [VoidReason::TooShort, VoidReason::FasterThanTime, VoidReason::Overlapping, VoidReason::TooFewReceipts, VoidReason::Uncorroborated];

/// `(played, state, corroborated)`
fn expected(text: &str) -> (u32, ListenState, bool) {
    let mut words: Vec<&str> = text.trim().split(' ').collect();
    let corroborated = words.pop_if(|word| *word == "corroborated").is_some();
    let state = match words[1..] {
        ["open"] => ListenState::Open,
        ["provisional"] => ListenState::Provisional,
        ["void", code] => ListenState::Void(REASONS.into_iter().find(|reason| reason.code() == code).unwrap()),
        _ => panic!("no verdict: {text}"),
    };
    (media(words[0]), state, corroborated)
}

#[test]
fn every_example_of_the_page_is_what_the_rule_says() {
    let table = PAGE.split("## Examples").nth(1).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut examples = 0;
    for row in rows {
        let [_, name, plays, listens, _] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else { panic!("not a row: {row}") };
        let (policy, plays) = match plays.strip_prefix("strict: ") {
            Some(plays) => (Uncorroborated::Void, plays),
            None => (Uncorroborated::Count, plays),
        };
        let evidence: Vec<PlayEvidence> = plays.split(" / ").zip(1..).map(|(text, place)| play(text, place)).collect();
        let judged: Vec<(u32, ListenState, bool)> =
            fold(&evidence, policy).iter().map(|listen| (listen.played_ms, listen.state, listen.corroborated)).collect();
        assert_eq!(judged, listens.split(" / ").map(expected).collect::<Vec<_>>(), "{name}");
        examples += 1;
    }
    assert!(examples > 20, "the page has {examples} examples");
}

#[test]
fn every_reason_has_an_example() {
    for reason in REASONS {
        assert!(PAGE.contains(&format!("void {}", reason.code())), "{}", reason.code());
    }
}
