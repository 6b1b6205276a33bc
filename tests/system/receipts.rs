//! Evidence that a listen was fetched: segments bring receipts, players echo them, and the history says whether a listen is corroborated.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;
use whole_system_tests::{Client, Listener, System, client::answer, eventually};

use crate::playback::any_track;

/// Segments that 32 s lie in: one of 2 s and five of 6 s, at most.
const SEGMENTS: usize = 7;

async fn begin(system: &System) -> Result<Listener> {
    let client = Client::signed_up(&system.run.edge, "listener").await?;
    Listener::begin(&client, &any_track(&client).await?).await
}

/// Fetches what will be heard: the first segment with its init section at the edge, the others at the edge and the gateway in turn.
async fn fetched(system: &System, play: &Listener) -> Result<Vec<String>> {
    let first = &play.manifest["first"];
    let joined = first["url"].as_str().context("first.url")?;
    let segment = first["segment_url"].as_str().context("first.segment_url")?;
    let later = (1..SEGMENTS).map(|n| segment.replace("/0.m4s", &format!("/{n}.m4s")));
    let mut receipts = Vec::new();
    for (path, base) in [joined.to_owned()].into_iter().chain(later).zip([&system.run.edge, &system.run.gateway].into_iter().cycle()) {
        let found = answer(Client::new(base)?.request(Method::GET, &path)).await?;
        ensure!(found.status == 200 || found.status == 404, "{path}: {}", found.status);
        let receipt = found.headers.get("antiphon-receipt").map(|receipt| receipt.to_str().map(str::to_owned)).transpose()?;
        ensure!(receipt.is_some() == (found.status == 200), "{path} at {base}: {receipt:?}");
        receipts.extend(receipt);
    }
    Ok(receipts)
}

/// Hears 32 s in real time and echoes `receipts`, some with each post: by the edge, and the last by the gateway.
async fn hear(system: &System, play: &Listener, receipts: &[String]) -> Result<()> {
    let (early, late) = receipts.split_at(receipts.len() / 2);
    let post = async |base: &str, event: (u32, &str, u32, u32), receipts: &[String]| -> Result<Value> {
        let mut body = play.post(&[event]);
        body["receipts"] = json!(receipts);
        Client::new(base)?.send(Method::POST, "/v1/me/play-event", Some(&body)).await?.expect(202)
    };
    post(&system.run.edge, (0, "start", 0, 0), early).await?;
    sleep(Duration::from_secs(16)).await;
    post(&system.run.edge, (1, "progress", 0, 16_000), &[]).await?;
    sleep(Duration::from_secs(16)).await;
    let said = post(&system.run.gateway, (2, "stop", 16_000, 32_000), late).await?;
    ensure!(said["accepted"] == 1, "{said}");
    Ok(())
}

/// Three who hear the same: one fetched it, one echoes nothing, and one echoes what the first one fetched, beside nonsense.
pub(crate) async fn a_listen_is_corroborated_by_the_receipts_of_its_own_segments(system: &System) -> Result<()> {
    let (honest, silent, thief) = tokio::try_join!(begin(system), begin(system), begin(system))?;
    let own = fetched(system, &honest).await?;
    let stolen = [own.clone(), vec!["1.1.0.0.32000.AAAAAAAAAAAAAAAA".to_owned(), "nonsense".to_owned()]].concat();
    tokio::try_join!(hear(system, &honest, &own), hear(system, &silent, &[]), hear(system, &thief, &stolen))?;
    for (who, play, corroborated) in [("honest", &honest, true), ("silent", &silent, false), ("thief", &thief, false)] {
        eventually(&format!("the {who} listen counts"), Duration::from_secs(60), async || {
            let item = play.in_history().await?;
            ensure!(item["state"] == "provisional" && item["played_ms"] == 32_000, "{item}");
            // Both halves of the receipts take their own way.
            ensure!(item["corroborated"] == corroborated, "{who}: {item}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
