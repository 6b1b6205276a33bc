//! Cards, which change: stale-while-revalidate and stale-if-error (RFC 5861) by hand, since the Cache API knows neither.
//!
//! ```text
//!  age    0 ──── 15 s ──────── 60 s ─────────────────────── 24 h
//!         as it is │ as it is, and │ the catalogue's, else   │ the catalogue's
//!                  │ asked for     │ the old one             │ or none
//!                  │ meanwhile     │                         │
//! ```
//!
//! A take-down does not wait for this: it comes with the feed of revocations.

use std::{cell::RefCell, rc::Rc};

use protocol::{Problem, TrackId, UnixMs, sheet::Card};

use crate::{
    Edge, answer,
    cache::{self, Content},
    log, origin,
    remembered::Remembered,
};

const FRESH_MS: i64 = 15_000;
const STALE_MS: i64 = 60_000;
/// How old a card may be when the origin cannot be asked.
const STALE_IF_ERROR_MS: i64 = 24 * 3_600_000;
/// How long an isolate repeats a refusal or a failure instead of asking again. No other error is ever remembered anywhere.
const ERROR_MS: i64 = 1_000;
/// A background refresh that has not ended by then died with the request that began it.
const REFRESH_MS_MAX: i64 = 5_000;
/// Cards that an isolate remembers; one is below a kilobyte.
const REMEMBERED_MAX: usize = 512;
/// When the card was fetched, in the entry of the colo's cache.
const FETCHED_AT: &str = "antiphon-fetched-at";

/// A card, by the host that was asked for it.
type Name = (Rc<str>, TrackId);

/// A card and when it was fetched.
type Known = (Rc<Card>, UnixMs);

struct Memory {
    cards: Remembered<Name, Known>,
    errors: Remembered<Name, (Problem, UnixMs)>,
    /// Before then no refresh begins: one is under way, or has just failed.
    refresh_from: Remembered<Name, UnixMs>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::new(Memory {
        cards: Remembered::of(REMEMBERED_MAX),
        errors: Remembered::of(REMEMBERED_MAX),
        refresh_from: Remembered::of(REMEMBERED_MAX),
    });
}

/// What a card of some age is good for.
#[derive(Debug, PartialEq, Eq)]
enum Age {
    Fresh,
    Stale,
    IfError,
    Gone,
}

impl Age {
    fn of(card: &Known, now: UnixMs) -> Self {
        match now.since(card.1) {
            age_ms if age_ms <= FRESH_MS => Self::Fresh,
            age_ms if age_ms <= STALE_MS => Self::Stale,
            age_ms if age_ms <= STALE_IF_ERROR_MS => Self::IfError,
            _ => Self::Gone,
        }
    }
}

/// The track's card.
pub(crate) async fn card(edge: &Rc<Edge>, track: TrackId) -> Result<Rc<Card>, Problem> {
    let name = (Rc::clone(&edge.host), track);
    let known = nearest(edge, &name).await.map(|known| (Age::of(&known, edge.now), known.0));
    let spare = match known {
        Some((Age::Fresh, card)) => return Ok(card),
        Some((Age::Stale, card)) => {
            if begins_refresh(&name, edge.now) {
                let behind = Rc::clone(edge);
                edge.later(async move { drop(fetch(&behind, &name).await) });
            }
            return Ok(card);
        }
        Some((Age::IfError, card)) => Some(card),
        Some((Age::Gone, _)) | None => None,
    };
    let fetched = match error_just_now(&name, edge.now) {
        Some(problem) => Err(problem),
        None => fetch(edge, &name).await,
    };
    match (fetched, spare) {
        (Err(problem), Some(card)) if problem.status >= 500 => {
            log::warn("stale_card", serde_json::json!({ "request_id": edge.request_id, "track": track, "code": problem.code }));
            Ok(card)
        }
        (fetched, _) => fetched,
    }
}

/// The newest copy at hand: this isolate's while it is fresh, else what another isolate of this colo may have asked for since.
async fn nearest(edge: &Edge, name: &Name) -> Option<Known> {
    let mine = MEMORY.with_borrow(|memory| memory.cards.get(name));
    if mine.as_ref().is_some_and(|(_, at)| edge.now.since(*at) <= FRESH_MS) {
        return mine;
    }
    let colos = cached(&cache::card_key(&edge.host, name.1)).await;
    let newest = [mine, colos].into_iter().flatten().max_by_key(|(_, at)| *at)?;
    remember(name, &newest);
    Some(newest)
}

async fn cached(key: &str) -> Option<Known> {
    let response = cache::get(key).await?;
    let fetched_at = response.headers().get(FETCHED_AT).ok()??.parse().ok().map(UnixMs)?;
    let card = serde_json::from_str(&origin::text_of(&response).await.ok()?).ok()?;
    Some((Rc::new(card), fetched_at))
}

/// Asks the catalogue. What it says is remembered, its errors for a second.
async fn fetch(edge: &Rc<Edge>, name: &Name) -> Result<Rc<Card>, Problem> {
    let fetched = fetch_card(edge, name).await;
    if let Err(problem) = &fetched {
        let now = crate::now();
        MEMORY.with_borrow_mut(|memory| {
            memory.errors.insert(name.clone(), (problem.clone(), now));
            memory.refresh_from.insert(name.clone(), now.plus_ms(ERROR_MS));
        });
    }
    fetched
}

async fn fetch_card(edge: &Rc<Edge>, name: &Name) -> Result<Rc<Card>, Problem> {
    let text = origin::card(edge, name.1).await?;
    let card: Rc<Card> = Rc::new(serde_json::from_str(&text).map_err(|error| answer::fault("reading a card", &error))?);
    if card.track != name.1 {
        return Err(answer::fault("reading a card", &"it belongs to another track"));
    }
    let (key, fetched_at) = (cache::card_key(&edge.host, name.1), edge.now);
    edge.later(async move {
        let headers = [
            ("content-type", "application/json"),
            ("cache-control", &format!("public, max-age={}", STALE_IF_ERROR_MS / 1000)),
            (FETCHED_AT, &fetched_at.0.to_string()),
        ];
        cache::put(key, &headers, Content::Text(text)).await;
    });
    remember(name, &(Rc::clone(&card), fetched_at));
    Ok(card)
}

fn remember(name: &Name, known: &Known) {
    MEMORY.with_borrow_mut(|memory| memory.cards.insert(name.clone(), known.clone()));
}

fn error_just_now(name: &Name, now: UnixMs) -> Option<Problem> {
    let (problem, at) = MEMORY.with_borrow(|memory| memory.errors.get(name))?;
    (now.since(at) < ERROR_MS).then_some(problem)
}

/// Whether a refresh may begin: one at a time, and a second after one that failed.
fn begins_refresh(name: &Name, now: UnixMs) -> bool {
    MEMORY.with_borrow_mut(|memory| {
        let may_begin = memory.refresh_from.get(name).is_none_or(|from| from <= now);
        if may_begin {
            memory.refresh_from.insert(name.clone(), now.plus_ms(REFRESH_MS_MAX));
        }
        may_begin
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use protocol::{MediaVersion, sheet::CardState};

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_556_280_000);

    fn card(age_ms: i64) -> Known {
        let card = Card {
            track: TrackId::v7(NOW, [9; 10]),
            state: CardState::Published,
            version: MediaVersion([1; 16]),
            title: String::new(),
            territories: None,
            release_at_ms: None,
            album_gain_cdb: None,
        };
        (Rc::new(card), NOW.plus_ms(-age_ms))
    }

    #[test]
    fn a_card_is_fresh_then_stale_then_a_spare_then_gone() {
        let table = [
            (0, Age::Fresh),
            (15_000, Age::Fresh),
            (15_001, Age::Stale),
            (60_000, Age::Stale),
            (60_001, Age::IfError),
            (24 * 3_600_000, Age::IfError),
            (24 * 3_600_000 + 1, Age::Gone),
        ];
        for (age_ms, expected) in table {
            assert_eq!(Age::of(&card(age_ms), NOW), expected, "{age_ms} ms");
        }
    }

    #[test]
    fn one_refresh_is_under_way_at_a_time_and_one_that_died_does_not_block_the_next_for_long() {
        let name: Name = ("a.example".into(), TrackId::v7(NOW, [1; 10]));
        assert!(begins_refresh(&name, NOW));
        assert!(!begins_refresh(&name, NOW.plus_ms(REFRESH_MS_MAX - 1)));
        assert!(begins_refresh(&name, NOW.plus_ms(REFRESH_MS_MAX)));
        assert!(begins_refresh(&("b.example".into(), name.1), NOW), "another host has its own");
    }
}
