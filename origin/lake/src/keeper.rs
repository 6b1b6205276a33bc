//! The loop of the role: write both feeds, merge, sweep. What fails is tried again with growing pauses; the feeds keep what was not written, so
//! a store or a database that is away makes the lake old, never wrong. How old is a metric, and readiness says it (so `antiphon doctor` does).

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use platform::{Clock, Shutdown, metrics};
use prometheus::IntCounterVec;
use protocol::UnixMs;

use crate::{Lake, LakeError, rows::Kind, step::unwatched};

/// The lake is told to be behind when it has not been level with its feeds for this long.
const BEHIND_MS: i64 = 300_000;
const PAUSE_MS_MAX: u64 = 60_000;
/// Merges of one round, so that writing is never far away.
const MERGES_MAX: usize = 8;

/// How the keeper does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// When the lake was last level with both feeds, and when it was last looked at; 0 before the first time.
    level_at_ms: AtomicI64,
    looked_at_ms: AtomicI64,
    why: std::sync::Mutex<String>,
}

impl Health {
    fn level(&self, now: UnixMs) {
        self.0.level_at_ms.store(now.0, Ordering::Relaxed);
        self.0.looked_at_ms.store(now.0, Ordering::Relaxed);
    }

    fn behind(&self, now: UnixMs, why: &str) {
        // The first look that fails is where the lag begins.
        let _ = self.0.level_at_ms.compare_exchange(0, now.0, Ordering::Relaxed, Ordering::Relaxed);
        self.0.looked_at_ms.store(now.0, Ordering::Relaxed);
        if let Ok(mut last) = self.0.why.lock() {
            why.clone_into(&mut last);
        }
    }

    fn lag_ms(&self) -> i64 {
        self.0.looked_at_ms.load(Ordering::Relaxed) - self.0.level_at_ms.load(Ordering::Relaxed)
    }

    /// What readiness has to say.
    pub(crate) fn missing(&self) -> Option<String> {
        let lag_ms = self.lag_ms();
        let why = || self.0.why.lock().map(|why| why.clone()).unwrap_or_default();
        (lag_ms >= BEHIND_MS).then(|| format!("the lake is {} s behind: {}", lag_ms / 1000, why()))
    }
}

/// Runs until the stop.
pub(crate) async fn run(lake: Lake, every_ms: u64, health: Health, shutdown: Shutdown) {
    let lag = metrics::gauge("antiphon_lake_lag_ms", "For how long the lake has not been level with its feeds.");
    let rows = metrics::counters(
        "antiphon_lake_rows_total",
        "Rows that were written, or left out because their account was forgotten.",
        &["kind", "what"],
    );
    let clock: Clock = lake.clock.clone();
    let mut pause_ms = every_ms;
    let mut failing = false;
    let mut held = HashMap::new();
    while !shutdown.is_requested() {
        match round(&lake, &rows, &shutdown).await {
            Ok(now_held) => {
                match standing(&held, &now_held) {
                    Some(transaction) => health.behind(clock.now(), &held_back(transaction)),
                    None => health.level(clock.now()),
                }
                (held, pause_ms, failing) = (now_held, every_ms, false);
            }
            Err(LakeError::Overtaken) => pause_ms = every_ms,
            Err(error) => {
                health.behind(clock.now(), &error.to_string());
                if !failing {
                    tracing::warn!(%error, "the lake cannot be written; trying on");
                }
                (pause_ms, failing) = ((pause_ms * 2).clamp(every_ms, PAUSE_MS_MAX.max(every_ms)), true);
            }
        }
        if let Some(lag) = &lag {
            lag.set(health.lag_ms());
        }
        if !shutdown.pause(pause_ms).await {
            return;
        }
    }
}

/// The transactions that hold feeds back.
type Held = HashMap<Kind, i64>;

/// A transaction that held a feed back the last time and does so still. One that is new each time holds back nothing for longer than it takes.
fn standing(before: &Held, now: &Held) -> Option<i64> {
    now.iter().find(|(kind, transaction)| before.get(kind) == Some(transaction)).map(|(_, transaction)| *transaction)
}

fn held_back(transaction: i64) -> String {
    format!(
        "a transaction that stays open in the database holds back what changed since (number {transaction} or a later one: SELECT pid, xact_start, query FROM \
         pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start)"
    )
}

async fn round(lake: &Lake, rows: &IntCounterVec, shutdown: &Shutdown) -> Result<Held, LakeError> {
    lake.ensure_bucket().await?;
    let mut held = Held::new();
    for kind in Kind::ALL {
        loop {
            let wrote = lake.write(kind, &unwatched).await?;
            rows.with_label_values(&[kind.name(), "written"]).inc_by(u64::try_from(wrote.rows).unwrap_or(0));
            rows.with_label_values(&[kind.name(), "forgotten"]).inc_by(u64::try_from(wrote.forgotten).unwrap_or(0));
            if !wrote.more || shutdown.is_requested() {
                held.extend(wrote.held_by.map(|transaction| (kind, transaction)));
                break;
            }
        }
    }
    for _ in 0..MERGES_MAX {
        let Some(merged) = lake.compact(&unwatched).await? else { break };
        tracing::debug!(?merged, "files were merged");
    }
    lake.sweep(&unwatched).await?;
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_tells_of_a_lag_that_lasts_and_not_of_a_moment() {
        let health = Health::default();
        health.level(UnixMs(1_000_000));
        health.behind(UnixMs(1_000_000 + BEHIND_MS - 1), "the object store does not answer");
        assert_eq!(health.missing(), None);
        health.behind(UnixMs(1_000_000 + BEHIND_MS), "the object store does not answer");
        assert!(health.missing().is_some_and(|said| said.contains("300 s") && said.contains("object store")));
        health.level(UnixMs(2_000_000));
        assert_eq!(health.missing(), None);
    }

    #[test]
    fn a_transaction_that_stays_open_is_told_of_and_one_after_another_is_not() {
        let held = |transaction| Held::from([(Kind::Play, transaction)]);
        assert_eq!(standing(&Held::new(), &held(7)), None);
        assert_eq!(standing(&held(7), &held(7)), Some(7));
        assert_eq!(standing(&held(7), &held(8)), None);
        assert_eq!(standing(&held(7), &Held::from([(Kind::Like, 7)])), None, "the other feed waits for the first time");
        assert_eq!(standing(&held(7), &Held::new()), None);
    }
}
