//! Posts as fast as they are acknowledged (closed loop), and at a fixed rate whatever the acknowledgements do (open loop): then each is due at an
//! instant of its own and its latency runs from that instant, so that no late answer hides those behind it.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::stores::{Connection, Store};
use crate::stats::Samples;

/// What a loop saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// From due, or sent, to acknowledged.
    pub(crate) latencies: Samples,
    /// How long it took.
    pub(crate) elapsed: Duration,
}

impl Seen {
    /// Acknowledgements a second.
    pub(crate) fn per_s(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// `connections` at once, each waiting for its acknowledgement, for `window`.
///
/// # Errors
/// When anything is not acknowledged.
pub(crate) fn closed(store: &dyn Store, connections: usize, window: Duration) -> Result<Seen> {
    let begun = Instant::now();
    each(store, connections, |connection, latencies| {
        while begun.elapsed() < window {
            let sent = Instant::now();
            connection.keep()?;
            latencies.push(sent.elapsed());
        }
        Ok(())
    })
}

/// `per_s` posts a second for `window`.
///
/// # Errors
/// When anything is not acknowledged.
pub(crate) fn open(store: &dyn Store, connections: usize, window: Duration, per_s: f64) -> Result<Seen> {
    let count = (per_s * window.as_secs_f64()).round() as usize;
    let between = Duration::from_secs_f64(1.0 / per_s.max(0.1));
    let next = AtomicUsize::new(0);
    let begun = Instant::now() + Duration::from_millis(20);
    each(store, connections, |connection, latencies| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            let due = begun + between * u32::try_from(number).unwrap_or(u32::MAX);
            // Sleeping is exact enough here: what is measured takes milliseconds, and threads that spin would take the CPU from it.
            thread::sleep(due.saturating_duration_since(Instant::now()));
            connection.keep()?;
            latencies.push(due.elapsed());
        }
    })
}

fn each(
    store: &dyn Store,
    connections: usize,
    work: impl Fn(&mut dyn Connection, &mut Vec<Duration>) -> Result<()> + Sync,
) -> Result<Seen> {
    let mut open = (0..connections).map(|_| store.connect()).collect::<Result<Vec<_>>>()?;
    let begun = Instant::now();
    let mut seen = Seen::default();
    thread::scope(|scope| {
        let threads: Vec<_> = open
            .iter_mut()
            .map(|connection| {
                let work = &work;
                scope.spawn(move || {
                    let mut latencies = Vec::new();
                    work(connection.as_mut(), &mut latencies).map(|()| latencies)
                })
            })
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(latencies) => latencies?.into_iter().for_each(|latency| seen.latencies.push(latency)),
                Err(_) => bail!("a connection's thread ended early"),
            }
        }
        Ok(())
    })?;
    seen.elapsed = begun.elapsed();
    Ok(seen)
}
