//! Who dies when, and how long until it is as if nothing had been.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use protocol::PlayId;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use tokio::time::sleep;

use super::{
    Plan,
    players::{Path, Scene},
};
use crate::{System, eventually};

/// Between a recovery and the next kill, at most, ms.
const PAUSE_MS_MAX: u64 = 1_000;
/// A part that lived shorter is taken for one that dies of its start, and its supervisor makes it wait before it starts it again.
const LIVES_AT_LEAST: Duration = Duration::from_millis(5_500);
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// One `kill -9`.
#[derive(Debug, Clone)]
pub struct Kill {
    /// The part's name.
    pub part: String,
    /// From the signal until a new process ran and a post that was begun after that was acknowledged by the path that leads through the part.
    pub recovered_after: Duration,
}

/// Kills the parts of `plan`, each once a round, in an order and after pauses that the seed decides. Answers the kills, and the play whose events
/// showed that the parts were back, with how many they were.
pub(super) async fn in_rounds(scene: &Scene<'_>, plan: &Plan) -> Result<(Vec<Kill>, (PlayId, u32))> {
    let mut dice = StdRng::seed_from_u64(plan.seed);
    let probe = scene.begin(&mut dice)?;
    let mut kills = Vec::with_capacity(plan.kills);
    let mut born: BTreeMap<&str, Instant> = BTreeMap::new();
    let mut round: Vec<&str> = plan.parts.iter().chain(&plan.once).map(String::as_str).collect();
    round.shuffle(&mut dice);
    let mut probed = 0;
    while kills.len() < plan.kills {
        let Some(part) = round.pop() else {
            round = plan.parts.iter().map(String::as_str).collect();
            round.shuffle(&mut dice);
            ensure!(!round.is_empty(), "nobody is to be killed");
            continue;
        };
        sleep(Duration::from_millis(dice.random_range(0..PAUSE_MS_MAX))).await;
        if let Some(lived) = born.get(part).map(Instant::elapsed) {
            sleep(LIVES_AT_LEAST.saturating_sub(lived)).await;
        }
        let killed = Instant::now();
        kill(scene.system, part).await?;
        if let Some(path) = leads_through(part) {
            scene.acknowledged_by(path, &probe.post(probed..probed + 1)).await?;
            probed += 1;
        }
        kills.push(Kill { part: part.to_owned(), recovered_after: killed.elapsed() });
        born.insert(part, Instant::now());
    }
    Ok((kills, (probe.id, probed)))
}

/// The path that is cut while a part is dead. The edge acknowledges without the others: it keeps what it took.
fn leads_through(part: &str) -> Option<Path> {
    match part {
        "edge" => Some(Path::Edge),
        "gateway" | "royalty" | "postgres" => Some(Path::Gateway),
        _ => None,
    }
}

/// Kills a part and waits until it runs as another process.
///
/// # Errors
/// When there is no such part, or it does not come back.
pub async fn kill(system: &System, part: &str) -> Result<()> {
    let before = system.kill(part)?;
    eventually(&format!("{part} is back"), BACK_WITHIN, async || {
        let now = system.parts()?.into_iter().find(|now| now.name == part).map(|now| now.pid);
        ensure!(now.is_some_and(|now| now != before), "{part} is still {before}");
        Ok(())
    })
    .await
}
