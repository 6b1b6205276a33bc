//! `kill -9` of each process in turn while heartbeats flow and an upload is processed.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use whole_system_tests::{Client, Listener, System, Upload, audio, eventually};

use crate::{counts, playback::any_track};

/// Kills, each of the next part in turn; every part is hit at least once.
const KILLS: usize = 20;
const BETWEEN_KILLS: Duration = Duration::from_millis(1500);
/// Players that beat meanwhile.
const PLAYERS: usize = 4;

/// Nothing acknowledged is lost, nothing is counted twice, one version is published.
pub(crate) async fn killed_parts_lose_nothing_and_count_nothing_twice(system: &System) -> Result<()> {
    let artist = Client::logged_in(&system.run.edge, &system.run.accounts.artist).await?;
    let admin_counts = async || -> Result<i64> { Ok(counts(system).await?["counted"].as_i64().unwrap_or(-1)) };
    let before = settled_count(&admin_counts).await?;
    let listener = Client::logged_in(&system.run.edge, &system.run.accounts.listener).await?;
    let track = any_track(&listener).await?;
    let plays = try_join_all((0..PLAYERS).map(|_| Listener::begin(&listener, &track))).await?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("song.flac");
    audio::signal(&path, 60, &["-c:a", "flac"]).await?;
    let bytes = std::fs::read(&path)?;
    let upload = Upload::begin(&artist, "Killed while it went up", "song.flac", &bytes).await?;
    ensure!(upload.put(&bytes).await?.status.is_success(), "PUT");

    let over = Arc::new(AtomicBool::new(false));
    let beating = plays.iter().map(|play| {
        let over = Arc::clone(&over);
        async move {
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                let at = sent * 10;
                play.beat(system, &[(sent, "progress", at, at + 10)]).await?;
                sent += 1;
            }
            anyhow::Ok(i64::from(sent))
        }
    });
    let killing = async {
        let outcome = kill_in_turn(system).await;
        over.store(true, Ordering::Relaxed);
        outcome
    };
    let (sent, killed) = futures::join!(try_join_all(beating), killing);
    let (sent, killed) = (sent?.into_iter().sum::<i64>(), killed?);
    println!("    killed {killed:?} while {sent} heartbeats were acknowledged");
    ensure!(sent > 0, "no heartbeat was acknowledged");

    upload.reaches(&artist, "published").await?;
    eventually("every acknowledged heartbeat is counted", Duration::from_secs(90), async || {
        let counted = admin_counts().await? - before;
        ensure!(counted == sent, "{sent} heartbeats were acknowledged, {counted} are counted");
        Ok(())
    })
    .await?;
    // Counted twice would show now, when every buffer has had time to send again.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let counted = admin_counts().await? - before;
    ensure!(counted == sent, "{sent} heartbeats were acknowledged, {counted} are counted in the end");
    let play = Listener::begin(&listener, &upload.track).await?;
    let decoded = audio::decode(&format!("{}{}", system.run.edge, play.manifest["playlist_url"].as_str().context("playlist_url")?)).await?;
    let expected = 60 * audio::RATE as usize;
    ensure!(audio::frames(&decoded).abs_diff(expected) <= 1024, "the upload plays {} of {expected} samples", audio::frames(&decoded));
    Ok(())
}

/// The count once the buffers of earlier checks are empty.
async fn settled_count(count: &impl AsyncFn() -> Result<i64>) -> Result<i64> {
    let mut last = count().await?;
    loop {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let now = count().await?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
}

async fn kill_in_turn(system: &System) -> Result<BTreeSet<String>> {
    let mut names: Vec<String> = system.parts()?.into_iter().map(|part| part.name).collect();
    names.retain(|name| name != "all" && name != "supervisor");
    let mut killed = BTreeSet::new();
    for name in names.iter().cycle().take(KILLS.max(names.len())) {
        let before = system.kill(name)?;
        killed.insert(name.clone());
        tokio::time::sleep(BETWEEN_KILLS).await;
        eventually(&format!("{name} is back"), Duration::from_secs(60), async || {
            let now = system.parts()?.into_iter().find(|part| part.name == *name).map(|part| part.pid);
            ensure!(now.is_some_and(|now| now != before), "{name} is still {before}");
            Ok(())
        })
        .await?;
    }
    Ok(killed)
}
