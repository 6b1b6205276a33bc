//! `chaos heartbeats`: a system of its own, killed part by part while heartbeats flow (`whole_system_tests::chaos`). `cargo xtask chaos heartbeats`
//! builds what it needs and calls it.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use whole_system_tests::{
    Client, Listener, System, Upload, audio,
    chaos::{self, ON_THE_WAY, Plan},
};

/// A kill is over by then (the goal of `docs/performance.md`).
const RECOVERED_WITHIN_MS: u128 = 5_000;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, kills, rate, seed, profile] = words.as_slice() else { bail!("chaos heartbeats KILLS EVENTS_A_SECOND SEED --dev|--release") };
    ensure!(what == "heartbeats", "there is no chaos of {what}");
    let plan = Plan {
        kills: kills.parse().context("KILLS")?,
        rate: rate.parse().context("EVENTS_A_SECOND")?,
        seed: seed.parse().context("SEED")?,
        parts: ON_THE_WAY.map(str::to_owned).to_vec(),
        once: Vec::new(),
    };
    let system = System::start_as(profile)?;
    println!("{} kills of {} under {} events/s, seed {}", plan.kills, plan.parts.join(", "), plan.rate, plan.seed);
    let outcome = chaos::heartbeats(&system, &listener(&system).await?, &plan).await?;
    println!("{outcome}");
    let slowest = outcome.recoveries_ms(None).last().copied().unwrap_or_default();
    ensure!(slowest <= RECOVERED_WITHIN_MS, "a recovery took {slowest} ms");
    ensure!(outcome.rate >= f64::from(plan.rate) * 0.99, "only {:.0} events/s were acknowledged", outcome.rate);
    Ok(())
}

/// Somebody in the middle of a song.
async fn listener(system: &System) -> Result<Listener> {
    let artist = Client::logged_in(&system.run.edge, &system.run.accounts.artist).await?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("song.flac");
    audio::signal(&path, 20, &["-c:a", "flac"]).await?;
    let upload = Upload::publish(&artist, "Played while parts die", "song.flac", &std::fs::read(&path)?).await?;
    let listener = Client::logged_in(&system.run.edge, &system.run.accounts.listener).await?;
    Listener::begin(&listener, &upload.track).await
}
