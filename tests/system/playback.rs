//! What listeners meet: the same playlists from both voices, search, and music that outlives the edge.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use conformance::hls::{self, Finding, Options};
use reqwest::Method;
use whole_system_tests::{Client, Listener, System, client::answer, eventually, foreign};

/// A published track: the first the catalogue lists under the tests' own title.
pub(crate) async fn any_track(client: &Client) -> Result<String> {
    eventually("a track is found", Duration::from_secs(20), async || {
        let found = client.get("/v1/search?q=Signal&type=track").await?;
        let items = found["items"].as_array().cloned().unwrap_or_default();
        let first = items.into_iter().next().with_context(|| format!("nothing in {found}"))?;
        Ok(first["id"].as_str().unwrap_or_default().to_owned())
    })
    .await
}

/// Byte for byte, for every playlist and for a segment.
pub(crate) async fn edge_and_gateway_answer_the_same_playlists(system: &System) -> Result<()> {
    let client = Client::logged_in(&system.run.edge, &system.run.accounts.listener).await?;
    let play = Listener::begin(&client, &any_track(&client).await?).await?;
    let index = play.manifest["playlist_url"].as_str().context("playlist_url")?;
    let fallback = play.manifest["fallback_playlist_url"].as_str().context("fallback_playlist_url")?;
    ensure!(fallback == format!("{}{index}", system.run.gateway), "{fallback}");
    for object in ["index.m3u8", "aac-64.m3u8", "aac-256.m3u8", "aac-128/init.mp4", "aac-128/0.m4s"] {
        let path = index.replace("index.m3u8", object);
        let edge = answer(client.request(Method::GET, &format!("{}{path}", system.run.edge))).await?;
        let gateway = answer(client.request(Method::GET, &format!("{}{path}", system.run.gateway))).await?;
        ensure!(edge.status == 200 && gateway.status == 200, "{object}: {} and {}", edge.status, gateway.status);
        ensure!(edge.body.0 == gateway.body.0, "{object} differs");
        for name in ["content-type", "etag"] {
            ensure!(
                edge.headers.get(name) == gateway.headers.get(name),
                "{object}: {name} differs: {:?} {:?}",
                edge.headers,
                gateway.headers
            );
        }
    }
    Ok(())
}

/// As one types.
pub(crate) async fn a_song_is_found_by_prefix_and_with_a_typo(system: &System) -> Result<()> {
    let client = Client::logged_in(&system.run.edge, &system.run.accounts.listener).await?;
    any_track(&client).await?;
    for query in ["signal", "sig", "signl", "SIGNÀL"] {
        let found = answer(client.request(Method::GET, "/v1/search").query(&[("q", query)])).await?.expect(200)?;
        ensure!(found["items"].as_array().is_some_and(|items| !items.is_empty()), "`{query}` finds nothing");
    }
    let suggested = client.get("/v1/search/suggest?q=sig").await?;
    ensure!(suggested["items"].as_array().is_some_and(|items| !items.is_empty()), "{suggested}");
    let recommended = client.get("/v1/me/recommendations?limit=5").await?;
    ensure!(recommended["items"].is_array(), "{recommended}");
    Ok(())
}

/// The page's second path: the same token, the gateway's address.
pub(crate) async fn the_music_goes_on_when_the_edge_is_gone(system: &System) -> Result<()> {
    let client = Client::logged_in(&system.run.edge, &system.run.accounts.listener).await?;
    let play = Listener::begin(&client, &any_track(&client).await?).await?;
    let fallback = play.manifest["fallback_playlist_url"].as_str().context("fallback_playlist_url")?.to_owned();
    system.kill("edge")?;
    for object in ["index.m3u8", "aac-128.m3u8", "aac-128/init.mp4", "aac-128/1.m4s"] {
        let found = answer(client.request(Method::GET, &fallback.replace("index.m3u8", object))).await?;
        ensure!(found.status == 200, "{object} without the edge: {}", found.status);
    }
    eventually("the edge is back", Duration::from_secs(60), async || {
        answer(client.request(Method::GET, "/healthz")).await?.expect(200).map(drop)
    })
    .await
}

/// Every playlist of a play, read by parsers that nobody here wrote.
pub(crate) async fn every_playlist_is_read_by_foreign_parsers(system: &System) -> Result<()> {
    let client = Client::logged_in(&system.run.edge, &system.run.accounts.listener).await?;
    let track = any_track(&client).await?;
    let play = Listener::begin(&client, &track).await?;
    let index = play.manifest["playlist_url"].as_str().context("playlist_url")?;
    let mut playlists = vec![answer(client.request(Method::GET, &format!("/v1/tracks/{track}/manifest"))).await?.body.text()];
    for object in ["index.m3u8", "aac-64.m3u8", "aac-128.m3u8", "aac-256.m3u8"] {
        playlists.push(answer(client.request(Method::GET, &index.replace("index.m3u8", object))).await?.body.text());
    }
    let found = foreign::parse(&playlists).await?;
    let (multivariant, media) = found.split_at(2);
    // Three rungs on two pathways.
    ensure!(multivariant.iter().all(|found| found == "multivariant 6"), "{found:?}");
    ensure!(media.iter().all(|found| Some(found) == media.first() && found.starts_with("media ")), "rungs differ: {found:?}");
    Ok(())
}

/// What `antiphon check-hls` measures, of a published track, by the edge's playlists and by the gateway's.
pub(crate) async fn what_is_published_keeps_apples_numeric_rules(system: &System) -> Result<()> {
    let client = Client::logged_in(&system.run.edge, &system.run.accounts.listener).await?;
    let play = Listener::begin(&client, &any_track(&client).await?).await?;
    let index = play.manifest["playlist_url"].as_str().context("playlist_url")?;
    let fallback = play.manifest["fallback_playlist_url"].as_str().context("fallback_playlist_url")?;
    for url in [format!("{}{index}", system.run.edge).as_str(), fallback] {
        let report = hls::check(url, &Options::default()).await?;
        // The first segment is short on purpose, and so is the target duration of what is shorter than one.
        let is_meant = |finding: &Finding| matches!(finding.rule, "Apple 7.5" | "Apple 7.6");
        let off: Vec<_> = report.findings.iter().filter(|finding| finding.is_off() && !is_meant(finding)).collect();
        ensure!(off.is_empty(), "{off:#?}");
        // Three rungs on two pathways: what was not fetched was not measured either.
        ensure!(report.renditions == 6 && report.segments >= 6, "{} media playlists, {} segments", report.renditions, report.segments);
    }
    Ok(())
}
