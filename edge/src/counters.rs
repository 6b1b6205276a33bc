//! What the edge counts: answers by route and outcome, and what happens in the background.
//!
//! Counts gather in the isolate and are written once in a while, one data point a name, to the Analytics Engine dataset bound as `METRICS`;
//! a point for each request would cost more than most requests do. Where no dataset is bound (plain workerd, a developer's machine) the same
//! counts are one log line, `counters`. An isolate that ends takes the counts of its last second with it.
//!
//! A data point: index and blob 1 the route, blob 2 the outcome, double 1 how many, double 2 their milliseconds together.

use std::{cell::RefCell, collections::BTreeMap};

use protocol::UnixMs;
use worker::{AnalyticsEngineDataPointBuilder, Env};

use crate::{log, platform};

const BINDING: &str = "METRICS";
/// How often counts go to the dataset, and to the log.
const DATASET_EVERY_MS: i64 = 1_000;
const LOG_EVERY_MS: i64 = 10_000;

struct Counters {
    counts: BTreeMap<(&'static str, &'static str), Count>,
    written_at: Option<UnixMs>,
    every_ms: i64,
}

#[derive(Clone, Copy, Default)]
struct Count {
    times: u32,
    ms: i64,
}

thread_local! {
    static COUNTERS: RefCell<Counters> =
        const { RefCell::new(Counters { counts: BTreeMap::new(), written_at: None, every_ms: DATASET_EVERY_MS }) };
}

/// Counts one `outcome` of `route`, which took `ms`.
pub(crate) fn count(env: &Env, route: &'static str, outcome: &'static str, now: UnixMs, ms: i64) {
    add(route, outcome, Count { times: 1, ms });
    keep_up(env, now);
}

fn add(route: &'static str, outcome: &'static str, more: Count) {
    COUNTERS.with_borrow_mut(|counters| {
        let count = counters.counts.entry((route, outcome)).or_default();
        count.times = count.times.saturating_add(more.times);
        count.ms = count.ms.saturating_add(more.ms);
    });
}

/// Writes what has gathered, when it is time to.
pub(crate) fn keep_up(env: &Env, now: UnixMs) {
    if !COUNTERS.with_borrow(|counters| counters.written_at.is_none_or(|at| now.since(at) >= counters.every_ms)) {
        return;
    }
    // Segments that were at hand: nothing of ours ran when they were answered.
    if let [times, ms] = *platform::taken()
        && times > 0.0
    {
        add("media", "hit", Count { times: times as u32, ms: ms as i64 });
    }
    if COUNTERS.with_borrow(|counters| counters.counts.is_empty()) {
        return;
    }
    match env.analytics_engine(BINDING) {
        Ok(dataset) => {
            for ((route, outcome), count) in taken(now, DATASET_EVERY_MS) {
                let point = AnalyticsEngineDataPointBuilder::new().indexes([route]).add_blob(route).add_blob(outcome);
                if let Err(error) = point.add_double(count.times).add_double(count.ms as f64).write_to(&dataset) {
                    log::warn("counters_lost", serde_json::json!({ "cause": error.to_string() }));
                }
            }
        }
        Err(_) => {
            let counts: Vec<_> = taken(now, LOG_EVERY_MS)
                .into_iter()
                .map(|((route, outcome), count)| serde_json::json!({ "route": route, "outcome": outcome, "count": count.times, "ms": count.ms }))
                .collect();
            log::info("counters", serde_json::json!({ "counts": counts }));
        }
    }
}

/// What has gathered; the next is due in `every_ms`.
fn taken(now: UnixMs, every_ms: i64) -> BTreeMap<(&'static str, &'static str), Count> {
    COUNTERS.with_borrow_mut(|counters| {
        (counters.written_at, counters.every_ms) = (Some(now), every_ms);
        std::mem::take(&mut counters.counts)
    })
}
