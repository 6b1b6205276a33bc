//! What has been revoked: this isolate's copy of the gateway's feed.
//!
//! ```text
//!  identity ──feed──► gateway (memory) ──/internal/revocations──► colo's cache (1 s) ──► copy ──► media, manifest, play-event
//! ```
//! The copy is read without waiting while it is young. Older, it is renewed behind an answer; older still, an answer waits a moment for it, so
//! that a revocation is heard of within five seconds. When the feed fails nobody waits until it is back, and a token's own expiry is the bound.

use std::{cell::RefCell, pin::pin, rc::Rc, time::Duration};

use futures::{channel::oneshot, future::select};
use protocol::{
    UnixMs,
    revocation::{FeedPage, Revocations},
};
use worker::Delay;

use crate::{
    Edge,
    cache::{self, Content},
    log, origin,
};

/// Up to this age nothing is done.
const YOUNG_MS: i64 = 3_000;
/// Beyond this age an answer waits for a younger copy.
const OLD_MS: i64 = 4_000;
/// So long, at most.
const WAIT_MS: u64 = 300;
/// How often one that waits for another request's attempt looks.
const LOOK_EVERY_MS: u64 = 25;
/// The feed is asked at most so often, whatever comes of it.
const ATTEMPT_EVERY_MS: i64 = 1_000;
/// Pages one attempt reads: more than a full copy has.
const PAGES_MAX: usize = 10;
/// Isolates of a colo share an answer for so long.
const SHARED: &str = "public, max-age=1";
const FETCHED_AT: &str = "antiphon-fetched-at";

#[derive(Default)]
struct Copy {
    list: Revocations,
    /// When the gateway was asked for what the copy holds.
    as_of: Option<UnixMs>,
    attempted_at: Option<UnixMs>,
    failing_since: Option<UnixMs>,
}

/// What a request does about the copy before it reads it.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Read,
    /// Begin an attempt; wait for it or not.
    Attempt {
        wait: bool,
    },
    /// Wait for the attempt of another request.
    Wait,
}

impl Copy {
    fn is_young(&self, now: UnixMs) -> bool {
        self.as_of.is_some_and(|at| now.since(at) <= YOUNG_MS)
    }

    fn step(&mut self, now: UnixMs) -> Step {
        if self.is_young(now) {
            return Step::Read;
        }
        let age_ms = self.as_of.map(|at| now.since(at));
        let wait = self.failing_since.is_none() && age_ms.is_none_or(|age_ms| age_ms > OLD_MS);
        if self.attempted_at.is_none_or(|at| now.since(at) >= ATTEMPT_EVERY_MS) {
            self.attempted_at = Some(now);
            return Step::Attempt { wait };
        }
        if wait { Step::Wait } else { Step::Read }
    }

    /// Takes a page in. True when the copy is complete.
    fn take(&mut self, page: &FeedPage, as_of: UnixMs, now: UnixMs) -> bool {
        let complete = self.list.take(page, now);
        if complete {
            self.as_of = self.as_of.max(Some(as_of));
            if let Some(since) = self.failing_since.take() {
                log::info("revocations_back", serde_json::json!({ "after_ms": now.since(since) }));
            }
        }
        complete
    }

    /// Notes a failure; only the first of a row is told.
    fn fail(&mut self, cause: &str, now: UnixMs) {
        if self.failing_since.is_none() {
            self.failing_since = Some(now);
            log::warn("revocations_fail", serde_json::json!({ "cause": cause, "held": self.list.len() }));
        }
    }
}

thread_local! {
    static COPY: RefCell<Copy> = RefCell::default();
}

/// Whether the copy is so young that a request has nothing to do about it.
pub(crate) fn is_young(now: UnixMs) -> bool {
    COPY.with_borrow(|copy| copy.is_young(now))
}

/// Judges by the copy as it is.
pub(crate) fn judge<T>(by: impl FnOnce(&Revocations) -> T) -> T {
    COPY.with_borrow(|copy| by(&copy.list))
}

/// Sees to it that the copy is young, as far as that may cost this request anything.
pub(crate) async fn keep_up(edge: &Rc<Edge>) {
    match COPY.with_borrow_mut(|copy| copy.step(edge.now)) {
        Step::Read => {}
        Step::Attempt { wait: false } => edge.later(attempt(Rc::clone(edge))),
        Step::Attempt { wait: true } => {
            // The attempt goes on behind the answer when it takes longer than one may wait.
            let (tell, told) = oneshot::channel();
            let attempt = attempt(Rc::clone(edge));
            edge.later(async move {
                attempt.await;
                let _ = tell.send(());
            });
            select(told, pin!(Delay::from(Duration::from_millis(WAIT_MS)))).await;
        }
        Step::Wait => wait_for_another(edge.now).await,
    }
}

/// One request cannot await what another one's connection brings (the platform forbids it), so it looks.
async fn wait_for_another(began: UnixMs) {
    for _ in 0..WAIT_MS / LOOK_EVERY_MS {
        Delay::from(Duration::from_millis(LOOK_EVERY_MS)).await;
        let settled = COPY.with_borrow(|copy| copy.failing_since.is_some() || copy.as_of.is_some_and(|at| began.since(at) <= YOUNG_MS));
        if settled {
            return;
        }
    }
}

async fn attempt(edge: Rc<Edge>) {
    for _ in 0..PAGES_MAX {
        let after = COPY.with_borrow(|copy| copy.list.cursor());
        match page(&edge, after).await {
            Ok((page, as_of)) => {
                if COPY.with_borrow_mut(|copy| copy.take(&page, as_of, edge.now)) {
                    return;
                }
            }
            Err(cause) => return COPY.with_borrow_mut(|copy| copy.fail(&cause, edge.now)),
        }
    }
}

/// The page after `after`, and when the gateway was asked for it.
async fn page(edge: &Rc<Edge>, after: i64) -> Result<(FeedPage, UnixMs), String> {
    let key = cache::revocations_key(&edge.host, after);
    if let Some(shared) = shared_page(&key).await {
        return Ok(shared);
    }
    let text = origin::revocations(edge, after).await?;
    let page = serde_json::from_str(&text).map_err(|error| format!("the feed cannot be read: {error}"))?;
    let as_of = edge.now;
    edge.later(async move {
        let headers = [("content-type", "application/json"), ("cache-control", SHARED), (FETCHED_AT, &as_of.0.to_string())];
        cache::put(key, &headers, Content::Text(text)).await;
    });
    Ok((page, as_of))
}

async fn shared_page(key: &str) -> Option<(FeedPage, UnixMs)> {
    let response = cache::get(key).await?;
    let as_of = response.headers().get(FETCHED_AT).ok()??.parse().ok().map(UnixMs)?;
    let page = serde_json::from_str(&origin::text_of(&response).await.ok()?).ok()?;
    Some((page, as_of))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_795_556_280_000);

    fn copy(age_ms: Option<i64>, attempt_age_ms: Option<i64>, fails: bool) -> Copy {
        let before = |ms: i64| NOW.plus_ms(-ms);
        Copy {
            list: Revocations::default(),
            as_of: age_ms.map(before),
            attempted_at: attempt_age_ms.map(before),
            failing_since: fails.then_some(NOW),
        }
    }

    #[test]
    fn a_request_waits_only_for_a_copy_that_is_old_and_a_feed_that_answers() {
        let table = [
            (copy(None, None, false), Step::Attempt { wait: true }),
            (copy(None, Some(10), false), Step::Wait),
            (copy(Some(3_000), None, false), Step::Read),
            (copy(Some(3_001), Some(3_001), false), Step::Attempt { wait: false }),
            (copy(Some(3_500), Some(10), false), Step::Read),
            (copy(Some(4_001), Some(4_001), false), Step::Attempt { wait: true }),
            (copy(Some(4_001), Some(10), false), Step::Wait),
            (copy(Some(60_000), Some(1_000), true), Step::Attempt { wait: false }),
            (copy(Some(60_000), Some(999), true), Step::Read),
            (copy(None, Some(999), true), Step::Read),
        ];
        for (n, (mut copy, expected)) in table.into_iter().enumerate() {
            assert_eq!(copy.step(NOW), expected, "case {n}");
        }
    }

    #[test]
    fn the_feed_is_asked_once_a_second_however_many_ask() {
        let mut copy = copy(None, None, true);
        let attempts = (0..2_500).filter(|ms| copy.step(NOW.plus_ms(*ms)) != Step::Read).count();
        assert_eq!(attempts, 3);
    }
}
