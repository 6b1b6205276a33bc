//! `kill -9` at random moments while heartbeats flow: nothing acknowledged is lost, nothing is counted twice, and each hop's numbers agree.
//!
//! ```text
//! players ──posts──► edge ─ buffer ─► gateway ─► royalty ─► PostgreSQL
//!       └───posts───────────────────► gateway ─►    (one of the four dies, again and again)
//! ```
//! A player repeats a post by the other path until it is acknowledged, and some that were, so each of its events is acknowledged at least once and is
//! delivered more often. In the end the database must hold each exactly once: [`ledger`] compares what was acknowledged with what is stored, counted
//! and judged, play by play. The checks in `tests/system` and `cargo xtask chaos heartbeats` both run this; the seed decides who dies when.

pub mod kills;
pub mod ledger;
mod players;

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use kills::Kill;
use ledger::Ledger;
use players::Scene;
use protocol::token::Purpose;

use crate::{Keys, Listener, System};

/// What is to be done to a system.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides who is killed when.
    pub seed: u64,
    /// How often something is killed.
    pub kills: usize,
    /// The parts that are killed in every round, by their names in run.json.
    pub parts: Vec<String>,
    /// Those that are killed in the first round alone.
    pub once: Vec<String>,
    /// Events a second that the players send.
    pub rate: u32,
}

/// The parts that a heartbeat passes: workerd, the gateway, the collector, PostgreSQL.
pub const ON_THE_WAY: [&str; 4] = ["edge", "gateway", "royalty", "postgres"];

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Each kill, in order.
    pub kills: Vec<Kill>,
    /// Events acknowledged, each once.
    pub acknowledged: u64,
    /// Events a second that were acknowledged, over the whole time.
    pub rate: f64,
    /// Posts that had to be sent again.
    pub repeated: u64,
    /// What the database has of them.
    pub ledger: Ledger,
    /// From the last acknowledgement until all of it was counted and judged.
    pub settled_after: Duration,
}

/// Runs `plan` on `system`; `listener` is in the middle of a play, whose ticket is the model of all others.
///
/// # Errors
/// When an event is lost or counted twice, when numbers of two hops disagree, or when a part does not come back.
pub async fn heartbeats(system: &System, listener: &Listener, plan: &Plan) -> Result<Outcome> {
    let ticket = listener.manifest["play"]["ticket"].as_str().context("a ticket")?;
    // One that the system takes, or every post would be refused for that.
    let keys = Keys::of(system)?;
    keys.token(ticket, Purpose::Event, |_| ())?;
    let scene = Scene::new(system, keys, ticket, plan)?;
    let over = AtomicBool::new(false);
    let started = Instant::now();
    let killing = async {
        let outcome = kills::in_rounds(&scene, plan).await;
        over.store(true, Ordering::Relaxed);
        outcome
    };
    let (mut sent, (kills, probed)) = futures::try_join!(scene.play_until(&over), killing)?;
    let took = started.elapsed();
    sent.plays.push(probed);
    let acknowledged = sent.plays.iter().map(|(_, events)| u64::from(*events)).sum();
    let ended = Instant::now();
    let ledger = Ledger::settled(system, &sent.plays).await?;
    let rate = acknowledged as f64 / took.as_secs_f64();
    Ok(Outcome { kills, acknowledged, rate, repeated: sent.repeated, ledger, settled_after: ended.elapsed() })
}

impl Outcome {
    /// Recovery of each kill of `part`, or of all, shortest first, ms.
    #[must_use]
    pub fn recoveries_ms(&self, part: Option<&str>) -> Vec<u128> {
        let of_part = self.kills.iter().filter(|kill| part.is_none_or(|part| kill.part == part));
        let mut recoveries: Vec<u128> = of_part.map(|kill| kill.recovered_after.as_millis()).collect();
        recoveries.sort_unstable();
        recoveries
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ledger { lost, twice, delivered_again, .. } = self.ledger;
        writeln!(
            f,
            "{} events acknowledged at {:.0}/s, {} posts repeated: {lost} lost, {twice} counted twice, {delivered_again} copies told apart; \
             all judged {:.1} s after the last",
            self.acknowledged,
            self.rate,
            self.repeated,
            self.settled_after.as_secs_f64()
        )?;
        writeln!(f, "recovery, ms      kills    p50    p99    max")?;
        let parts: BTreeMap<&str, ()> = self.kills.iter().map(|kill| (kill.part.as_str(), ())).collect();
        for part in parts.keys().copied().map(Some).chain([None]) {
            let recoveries = self.recoveries_ms(part);
            let at = |percent: usize| recoveries.get((recoveries.len() * percent / 100).min(recoveries.len().saturating_sub(1))).copied();
            let [p50, p99, max] = [50, 99, 100].map(|percent| at(percent).unwrap_or_default());
            writeln!(f, "{:<16} {:>6} {p50:>6} {p99:>6} {max:>6}", part.unwrap_or("all"), recoveries.len())?;
        }
        Ok(())
    }
}
