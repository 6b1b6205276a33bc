//! Acknowledgements: how many a store gives at most and what CPU each costs it, and how long one takes at 80 % of that.

use std::{sync::Arc, time::Duration};

use anyhow::Result;

use super::{
    Effort, Options, load,
    posts::Listeners,
    site::Site,
    stores::{Edge, Nats, Redis, Store},
};
use crate::stats::Samples;

/// Accounts that post, so many that none does so faster than an account may.
const ACCOUNTS: u32 = 2_000;
/// The buffer that is measured.
const SHARD: u16 = 0;
/// How close to its maximum a store is loaded for its latency.
const LOADED: f64 = 0.8;
/// What one program sends evenly on connections that wait. A faster store is loaded less than the others, which flatters it.
const EVENLY_PER_S_MAX: f64 = 4_000.0;
/// Most posts are beats; with four events a minute and a song of three and a half minutes, one in fourteen ends a play.
pub(crate) const END_EVERY: usize = 14;

/// One store's line.
#[derive(Debug)]
pub(crate) struct Acks {
    /// Whose.
    pub(crate) name: &'static str,
    /// Acknowledged posts a second at most, a round each.
    pub(crate) per_s: Vec<f64>,
    /// CPU of a post at that rate, a round each.
    pub(crate) cpu: Vec<Duration>,
    /// Latencies at 80 % of it, all rounds together.
    pub(crate) latencies: Samples,
    /// The 99th percentile of each round.
    pub(crate) p99: Vec<Duration>,
}

/// Measures ours and the stores that are installed.
///
/// # Errors
/// When one does not come up, or does not acknowledge.
pub(crate) fn measure(site: &Site, options: &Options, effort: Effort) -> Result<Vec<Acks>> {
    let listeners = Arc::new(Listeners::new(&site.keys, ACCOUNTS, SHARD, 1)?);
    let mut stores: Vec<Box<dyn Store + '_>> = vec![Box::new(Edge { site, listeners: Arc::clone(&listeners), end_every: END_EVERY })];
    if let Some(program) = &options.redis {
        stores.push(Box::new(Redis::start(program, site.directory(), Arc::clone(&listeners))?));
    }
    if let Some(program) = &options.nats {
        stores.push(Box::new(Nats::start(program, site.directory(), Arc::clone(&listeners))?));
    }
    let line =
        |store: &dyn Store| Acks { name: store.name(), per_s: Vec::new(), cpu: Vec::new(), latencies: Samples::default(), p99: Vec::new() };
    let mut acks: Vec<Acks> = stores.iter().map(|store| line(store.as_ref())).collect();
    for store in &stores {
        // Code is compiled, files are made.
        load::closed(store.as_ref(), effort.connections, Duration::from_millis(700))?;
    }
    for _ in 0..effort.rounds {
        for (store, line) in stores.iter().zip(&mut acks) {
            let before = store.cpu()?;
            let most = load::closed(store.as_ref(), effort.connections, effort.window)?;
            let used = store.cpu()?.saturating_sub(before);
            line.per_s.push(most.per_s());
            line.cpu.push(used / u32::try_from(most.latencies.len().max(1)).unwrap_or(u32::MAX));
            let loaded = load::open(store.as_ref(), effort.connections, effort.window, (most.per_s() * LOADED).min(EVENLY_PER_S_MAX))?;
            line.p99.push(loaded.latencies.percentile(99));
            line.latencies.extend(&loaded.latencies);
        }
    }
    Ok(acks)
}
