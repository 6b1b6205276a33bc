//! What a listener of the running system could ask for: a session, and the signed URLs of every song.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;

use crate::client::Client;

/// Tracks looked at, at most.
const TRACKS_MAX: usize = 40;

/// The parts of run.json that are needed here.
#[derive(Debug, Deserialize)]
pub(crate) struct Run {
    /// The edge's address.
    pub(crate) edge: String,
    /// The gateway's address.
    pub(crate) gateway: String,
    accounts: Accounts,
}

#[derive(Debug, Deserialize)]
struct Accounts {
    listener: Account,
}

#[derive(Debug, Deserialize)]
struct Account {
    email: String,
    password: String,
}

/// A log-in and what it may play.
#[derive(Debug)]
pub(crate) struct Scene {
    /// The value of `Authorization`.
    pub(crate) authorization: String,
    /// Every track's paths; no track is empty.
    pub(crate) songs: Vec<Song>,
}

/// Signed paths of one song.
#[derive(Debug, Clone)]
pub(crate) struct Song {
    /// Its manifest.
    pub(crate) manifest: String,
    /// The media playlist of the rung to start on.
    pub(crate) playlist: String,
    /// Every segment of every rung that is allowed.
    pub(crate) segments: Vec<String>,
}

impl Run {
    /// Reads run.json.
    ///
    /// # Errors
    /// When no system is running.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("no system is running ({} is missing): cargo xtask run", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a description of a system", path.display()))
    }
}

impl Scene {
    /// Logs in and looks around, through the gateway, so that the edge has not been asked for any segment before the clock starts.
    ///
    /// # Errors
    /// When the service refuses, or has no song.
    pub(crate) fn set(run: &Run) -> Result<Self> {
        let mut gateway = Client::new(&run.gateway)?;
        let account = &run.accounts.listener;
        let answer = gateway.post("/v1/sessions", &json!({ "email": account.email, "password": account.password }))?;
        let session = answer.json()?;
        let token = session.get("access_token").and_then(|token| token.as_str()).with_context(|| format!("log in: {session}"))?;
        let authorization = format!("Bearer {token}");
        let songs = songs(&mut gateway, &authorization)?;
        if songs.is_empty() {
            bail!("the catalogue has no song to ask for");
        }
        Ok(Self { authorization, songs })
    }
}

fn songs(gateway: &mut Client, authorization: &str) -> Result<Vec<Song>> {
    let headers = [("authorization", authorization), ("accept", "application/json")];
    let found = gateway.get(&format!("/v1/search?q=&type=track&limit={TRACKS_MAX}"), &headers)?.json()?;
    let items = found.get("items").and_then(|items| items.as_array()).cloned().unwrap_or_default();
    let ids: Vec<_> = items.iter().filter_map(|item| Some(item.get("id")?.as_str()?.to_owned())).collect();
    ids.iter().map(|id| song(gateway, id, &headers)).collect()
}

fn song(gateway: &mut Client, id: &str, headers: &[(&str, &str)]) -> Result<Song> {
    let path = format!("/v1/tracks/{id}/manifest");
    let manifest = gateway.get(&path, headers)?.json()?;
    let text = |name: &str| manifest.get(name).and_then(|value| value.as_str()).with_context(|| format!("{path}: no {name} in {manifest}"));
    let index = text("playlist_url")?;
    let base = index.rsplit_once('/').map_or("", |(base, _)| base);
    let allowed = manifest.get("allowed").and_then(|allowed| allowed.as_array()).cloned().unwrap_or_default();
    let mut segments = Vec::new();
    for rung in allowed.iter().filter_map(|rung| rung.as_str()) {
        let playlist = gateway.get(&format!("{base}/{rung}.m3u8"), &[])?;
        let playlist = String::from_utf8_lossy(&playlist.body).into_owned();
        segments.extend(playlist.lines().filter(|line| line.ends_with(".m4s")).map(|uri| format!("{base}/{uri}")));
    }
    if segments.is_empty() {
        bail!("{path}: no segment in any playlist");
    }
    Ok(Song { playlist: format!("{base}/{}.m3u8", text("start")?), manifest: path, segments })
}
