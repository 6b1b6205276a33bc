//! `kill -9` of each process while heartbeats flow, and while an upload is processed.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use whole_system_tests::{
    Client, Listener, Objects, System, Upload, audio,
    chaos::{self, ON_THE_WAY, Plan, kills::kill},
};

use crate::playback::any_track;

/// Kills of the parts that a heartbeat passes.
const KILLS: usize = 20;
/// Events a second meanwhile, as far as this machine can.
const RATE: u32 = 2_000;
const SEED: u64 = 6;

/// Nothing acknowledged is lost, nothing is counted twice, one version of an upload is published. `cargo xtask chaos heartbeats` does it for longer.
pub(crate) async fn killed_parts_lose_nothing_and_count_nothing_twice(system: &System) -> Result<()> {
    let artist = Client::logged_in(&system.run.edge, &system.run.accounts.artist).await?;
    let listener = Client::logged_in(&system.run.edge, &system.run.accounts.listener).await?;
    let play = Listener::begin(&listener, &any_track(&listener).await?).await?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("song.flac");
    audio::signal(&path, 60, &["-c:a", "flac"]).await?;
    let bytes = std::fs::read(&path)?;
    let upload = Upload::begin(&artist, "Killed while it went up", "song.flac", &bytes).await?;
    ensure!(upload.put(&bytes).await?.status.is_success(), "PUT");

    let mut once: Vec<String> = system.parts()?.into_iter().map(|part| part.name).collect();
    once.retain(|name| name != "all" && name != "supervisor" && !ON_THE_WAY.contains(&name.as_str()));
    let everybody = once.len() + ON_THE_WAY.len();
    ensure!(everybody > ON_THE_WAY.len(), "nobody works on the upload");
    let plan = Plan { seed: SEED, kills: once.len() + KILLS, parts: ON_THE_WAY.map(str::to_owned).to_vec(), once, rate: RATE };
    let outcome = chaos::heartbeats(system, &play, &plan).await?;
    println!("{outcome}");
    let killed: BTreeSet<&str> = outcome.kills.iter().map(|kill| kill.part.as_str()).collect();
    ensure!(killed.len() == everybody, "only {killed:?} were killed");
    ensure!(outcome.acknowledged > 0 && outcome.ledger.delivered_again > 0, "nothing was delivered twice: {outcome}");

    upload.reaches(&artist, "published").await?;
    let play = Listener::begin(&listener, &upload.track).await?;
    let decoded = audio::decode(&format!("{}{}", system.run.edge, play.manifest["playlist_url"].as_str().context("playlist_url")?)).await?;
    let expected = 60 * audio::RATE as usize;
    ensure!(audio::frames(&decoded).abs_diff(expected) <= 1024, "the upload plays {} of {expected} samples", audio::frames(&decoded));
    Ok(())
}

/// `kill -9` of the process that encodes, at several moments of one upload: one version is published, and its files are byte for byte those of
/// an encoding that nobody disturbed.
pub(crate) async fn an_encoder_killed_again_and_again_publishes_once_and_the_same_bytes(system: &System) -> Result<()> {
    let artist = Client::signed_up(&system.run.edge, "artist").await?;
    let media = Objects::of(system, "media")?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("long.flac");
    audio::signal(&path, 60, &["-c:a", "flac"]).await?;
    let bytes = std::fs::read(&path)?;

    let before = versions(&media).await?;
    let upload = Upload::begin(&artist, "Killed at work", "long.flac", &bytes).await?;
    ensure!(upload.put(&bytes).await?.status.is_success(), "PUT");
    for percent in [0, 25, 60] {
        encoded(&artist, &upload, percent).await?;
        kill(system, "ingest").await?;
    }
    upload.reaches(&artist, "published").await?;
    let after = versions(&media).await?;
    let new: Vec<_> = after.difference(&before).collect();
    ensure!(new.len() == 1, "one upload, {} versions: {new:?}", new.len());
    let disturbed = media.digests(&format!("media/{}/", new.first().context("a version")?)).await?;
    ensure!(disturbed.len() == 4, "three rungs and a sheet, not {disturbed:?}");

    // What is stored already would not be made again.
    for name in disturbed.keys() {
        media.remove(name).await?;
    }
    Upload::publish(&artist, "Left in peace", "long.flac", &bytes).await?;
    let in_peace = media.digests(&format!("media/{}/", new.first().context("a version")?)).await?;
    ensure!(in_peace == disturbed, "killed: {disturbed:?}, in peace: {in_peace:?}");
    Ok(())
}

/// The versions that have files in the store.
async fn versions(media: &Objects) -> Result<BTreeSet<String>> {
    let names = media.names("media/").await?;
    Ok(names.iter().filter_map(|name| name.split('/').nth(1)).map(str::to_owned).collect())
}

/// Waits until a worker is at work on the upload and has encoded so much of a rung.
async fn encoded(artist: &Client, upload: &Upload, percent: i64) -> Result<()> {
    let path = format!("/v1/ingest/tracks/{}", upload.track);
    let started = Instant::now();
    loop {
        // The process that was killed also answers this.
        let status = artist.get(&path).await.unwrap_or_default();
        let furthest = status["progress"].as_array().into_iter().flatten().filter_map(|rung| rung["percent"].as_i64()).max();
        if status["state"] == "processing" && furthest.unwrap_or(0) >= percent {
            return Ok(());
        }
        ensure!(status["state"] != "published", "the kill before {percent} % came too late");
        ensure!(started.elapsed() < Duration::from_secs(180), "not {percent} % yet: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
