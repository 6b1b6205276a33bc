//! Many listeners at once where nothing is cached: the object store must not feel it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use reqwest::Method;
use whole_system_tests::{Client, Listener, System, client::answer};

use crate::playback::any_track;

const LISTENERS: usize = 1_000;

/// A thousand requests for a segment that neither edge nor gateway has: a thousand whole answers, one read of the object store.
pub(crate) async fn a_stampede_on_a_cold_segment_reads_the_object_store_once(system: &System) -> Result<()> {
    let client = Client::logged_in(&system.run.edge, &system.run.accounts.listener).await?;
    let play = Listener::begin(&client, &any_track(&client).await?).await?;
    let index = play.manifest["playlist_url"].as_str().context("playlist_url")?;
    let allowed = play.manifest["allowed"].as_array().context("allowed")?;
    // No other check asks for this object, and no play starts on the largest rung unasked.
    let rung = allowed.last().and_then(serde_json::Value::as_str).context("a rung")?;
    let url = format!("{}{}", system.run.edge, index.replace("index.m3u8", &format!("{rung}/first.mp4")));

    let before = store_reads(system).await?;
    let gate = Arc::new(tokio::sync::Barrier::new(LISTENERS));
    let requests = (0..LISTENERS).map(|_| {
        let (gate, request) = (Arc::clone(&gate), client.request(Method::GET, &url).timeout(Duration::from_secs(60)));
        async move {
            gate.wait().await;
            answer(request).await
        }
    });
    let answers = try_join_all(requests).await?;
    let reads = store_reads(system).await? - before;
    let expected = &answers.first().context("an answer")?.body.0;
    ensure!(expected.len() > 10_000, "{} bytes are no segment", expected.len());
    for answer in &answers {
        ensure!(answer.status == 200 && answer.body.0 == *expected, "{}: {} bytes", answer.status, answer.body.0.len());
    }
    ensure!(reads == 1, "{LISTENERS} requests made {reads} reads of the object store");
    Ok(())
}

/// How many reads the shield made of the object store, by its own count.
async fn store_reads(system: &System) -> Result<u64> {
    let metrics = reqwest::get(format!("{}/metrics", system.address("gateway_admin")?)).await?.text().await?;
    let counted = metrics.lines().find_map(|line| line.strip_prefix("antiphon_gateway_shield_reads_total{outcome=\"store\"} "));
    Ok(counted.unwrap_or("0").parse()?)
}
