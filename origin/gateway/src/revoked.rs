//! The gateway's copy of what is revoked: a task keeps it by long polls of identity's feed, playback is judged by it, and edges are fed from
//! it. While identity is away the copy stays as it is, so that music never depends on identity; a gateway that has never heard from identity
//! tells edges so instead of an empty list.

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use async_trait::async_trait;
use pingora::{server::ShutdownWatch, services::background::BackgroundService};
use protocol::{
    Problem, UnixMs, query,
    revocation::{FeedPage, Revocations},
};

use crate::{answer::Answer, gateway::Gateway, routes::Service};

/// The longest wait that identity grants.
const WAIT_MS: u32 = 1000;
/// Between attempts while identity is away: doubled from the first to the last, which is well below what a revocation may take.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(1);

/// The copy, and how good it is.
pub(crate) struct Revoked(RwLock<Copy>);

struct Copy {
    list: Revocations,
    /// The list was complete at least once.
    synced: bool,
    /// When identity last answered; before that, when this process began.
    heard_at: UnixMs,
}

/// What the metrics say of the copy.
pub(crate) struct Standing {
    pub(crate) entries: usize,
    pub(crate) age_ms: i64,
}

impl Revoked {
    pub(crate) fn new(now: UnixMs) -> Self {
        Self(RwLock::new(Copy { list: Revocations::default(), synced: false, heard_at: now }))
    }

    /// Judges by the list as it is. `judge` waits for nothing.
    pub(crate) fn judged<T>(&self, judge: impl FnOnce(&Revocations) -> T) -> T {
        judge(&self.read().list)
    }

    pub(crate) fn standing(&self, now: UnixMs) -> Standing {
        let copy = self.read();
        Standing { entries: copy.list.len(), age_ms: now.since(copy.heard_at) }
    }

    fn cursor(&self) -> i64 {
        self.read().list.cursor()
    }

    fn take(&self, page: &FeedPage, now: UnixMs) {
        let mut copy = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let complete = copy.list.take(page, now);
        copy.synced |= complete;
        copy.heard_at = now;
    }

    /// The page after `after`, once there is a list to take it from.
    fn page(&self, after: i64) -> Option<FeedPage> {
        let copy = self.read();
        copy.synced.then(|| copy.list.page(after))
    }

    fn read(&self) -> RwLockReadGuard<'_, Copy> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `/internal/revocations?after=`: the feed as identity gives it, from memory.
pub(crate) fn feed(gateway: &Gateway, query_string: Option<&str>) -> Result<Answer, Problem> {
    let after = match query::argument(query_string, "after") {
        None => 0,
        Some(text) => text.parse().map_err(|_| Problem::new(400, "invalid_query", "`after` is a place in the feed"))?,
    };
    let not_synced = || Problem::unavailable("revocations_not_synced", "this gateway has not heard from identity yet", 1);
    let page = gateway.revoked.page(after).ok_or_else(not_synced)?;
    let text = serde_json::to_string(&page).map_err(|error| Problem::new(500, "internal", error.to_string()))?;
    Ok(Answer::whole(200, "application/json", text).header("cache-control", "no-store"))
}

/// Keeps the copy until the process stops.
pub(crate) struct Follower(pub(crate) Arc<Gateway>);

#[async_trait]
impl BackgroundService for Follower {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.follow() => {}
            _ = shutdown.changed() => {}
        }
    }
}

impl Follower {
    async fn follow(&self) {
        let mut pause = PAUSE_FIRST;
        let mut away = false;
        loop {
            match self.pull().await {
                Ok(page) => {
                    self.0.revoked.take(&page, self.0.clock.now());
                    if away {
                        tracing::info!("identity answers again: revocations are up to date");
                    }
                    (away, pause) = (false, PAUSE_FIRST);
                }
                Err(error) => {
                    if !away {
                        tracing::warn!(error = %platform::feed::describe(&error), "identity does not answer: revocations stay as they are; trying on");
                    }
                    away = true;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_LAST);
                }
            }
        }
    }

    async fn pull(&self) -> Result<FeedPage, reqwest::Error> {
        let path = format!("/internal/revocations?after={}&wait_ms={WAIT_MS}", self.0.revoked.cursor());
        self.0.services.get(Service::Identity, &path).await?.error_for_status()?.json().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_has_heard_nothing_says_so_and_one_that_has_keeps_it() {
        let now = UnixMs(1_795_556_280_000);
        let revoked = Revoked::new(now);
        assert_eq!(revoked.page(0), None);
        assert_eq!(revoked.standing(now.plus_ms(700)).age_ms, 700);
        revoked.take(&FeedPage { head: 9, entries: Vec::new() }, now.plus_ms(1000));
        assert_eq!(revoked.page(0), Some(FeedPage { head: 9, entries: Vec::new() }));
        assert_eq!((revoked.cursor(), revoked.standing(now.plus_ms(1500)).age_ms), (9, 500));
    }
}
