//! `antiphon import`: publishes audio files the way any artist does, through the public API.
//!
//! ```text
//!   folder ─► files ─► digest ── known? ─► skip
//!                        └─► tags ─► POST upload ─► PUT bytes ─► wait for `published` ─► remember
//! ```
//! Started again, after a crash too, it goes on where it was: what an account has uploaded is remembered by the bytes' digest
//! in `state.dir/imports.jsonl`.
mod file;
mod remembered;
mod report;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, stream};
use platform::Config;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::{file::AudioFile, remembered::Remembered, report::Report};
use crate::{
    client::{Api, LoginArgs},
    runtime,
};

const LOOK_EVERY: Duration = Duration::from_millis(400);
/// A track whose state and progress stand still for so long is given up on.
const STANDSTILL_MAX: Duration = Duration::from_secs(15 * 60);

/// `antiphon import`
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    antiphon import ~/Music --config .antiphon/antiphon.toml              as the demo's artist\n  \
    ANTIPHON_PASSWORD=... antiphon import album/ --email me@example.org --server https://music.example.org\n\n\
    Titles, artists and albums come from the files' tags; a file without a title is named for itself.\n\
    Ends with 1 when a file was not published, and says why.")]
pub(crate) struct Args {
    /// Audio files, and folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Files under way at the same time
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    jobs: u8,
    /// Print one JSON object a file, and one that sums up
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    login: LoginArgs,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// Published now.
    Published { track: String },
    /// Published by an earlier import.
    Already { track: String },
    /// Not published.
    Failed { why: String },
}

pub(crate) fn run(config: &Config, args: Args) -> Result<ExitCode> {
    let files = file::find(&args.paths)?;
    if files.is_empty() {
        bail!("no audio files there; known endings: {}", file::ENDINGS.iter().map(|(ending, _)| *ending).collect::<Vec<_>>().join(", "));
    }
    let report = Report::new(files.len(), args.json);
    runtime()?.block_on(async {
        let api = Api::log_in(config, &args.login, |accounts| accounts.artist).await?;
        let remembered = Remembered::open(&config.state.dir.join("imports.jsonl"))?;
        let (api, remembered, report) = (&api, &remembered, &report);
        stream::iter(files)
            .for_each_concurrent(usize::from(args.jobs), |path| async move {
                let line = report.begin(&path);
                let outcome =
                    import(api, remembered, &path, &line).await.unwrap_or_else(|error| Outcome::Failed { why: format!("{error:#}") });
                report.end(line, &path, &outcome);
            })
            .await;
        anyhow::Ok(())
    })?;
    Ok(if report.finish() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn import(api: &Api, remembered: &Remembered, path: &std::path::Path, line: &report::Line) -> Result<Outcome> {
    line.says("reading");
    let file = AudioFile::read(path).await?;
    if let Some(track) = remembered.track(&api.account, &file.sha256) {
        match state(api, &track).await {
            Ok(Progress { state, .. }) if state == "published" => return Ok(Outcome::Already { track }),
            Ok(Progress { state, .. }) if matches!(state.as_str(), "uploaded" | "processing" | "held") => {
                return until_published(api, track, line).await;
            }
            // Taken down by its owner: it stays down.
            Ok(Progress { state, .. }) if state == "taken_down" => return Ok(Outcome::Already { track }),
            // Never arrived, or refused, or the system it was in is gone: from the start.
            Ok(_) | Err(_) => {}
        }
    }
    line.says("uploading");
    let begun = api.send(Method::POST, "/v1/ingest/upload", Some(&file.upload_request())).await?;
    let text = |pointer: &str| {
        begun.pointer(pointer).and_then(Value::as_str).map(str::to_owned).with_context(|| format!("the upload's answer has no {pointer}"))
    };
    let track = text("/track/id")?;
    remembered.keep(&api.account, &file.sha256, &track)?;
    let headers = begun.pointer("/upload/headers").and_then(Value::as_object).cloned().unwrap_or_default();
    api.put(&text("/upload/url")?, &headers, file.body(path, line).await?).await?;
    until_published(api, track, line).await
}

/// Where a track is on its way.
#[derive(Debug, Clone, PartialEq)]
struct Progress {
    state: String,
    why: Option<String>,
    percent: u64,
}

async fn until_published(api: &Api, track: String, line: &report::Line) -> Result<Outcome> {
    let mut last = None;
    let mut moved_at = Instant::now();
    loop {
        let now = state(api, &track).await?;
        let why = || now.why.clone().unwrap_or_else(|| "no reason given".to_owned());
        match now.state.as_str() {
            "published" => return Ok(Outcome::Published { track }),
            "rejected" => bail!("refused: {}", why()),
            "held" => bail!("held for review: {}", why()),
            "taken_down" => bail!("taken down meanwhile"),
            "processing" => line.encoded(now.percent),
            other => line.says(other),
        }
        if last.as_ref() != Some(&now) {
            moved_at = Instant::now();
        } else if moved_at.elapsed() > STANDSTILL_MAX {
            bail!("still {} and unchanged after {} minutes", now.state, STANDSTILL_MAX.as_secs() / 60);
        }
        last = Some(now);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn state(api: &Api, track: &str) -> Result<Progress> {
    let answer = api.send(Method::GET, &format!("/v1/ingest/tracks/{track}"), None).await?;
    let rungs = answer.get("progress").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let sum: u64 = rungs.iter().filter_map(|rung| rung.get("percent")?.as_u64()).sum();
    let reason = answer.get("reason").filter(|reason| !reason.is_null());
    Ok(Progress {
        state: answer.get("state").and_then(Value::as_str).context("the track has no state")?.to_owned(),
        why: reason.map(|reason| {
            let part = |name: &str| reason.get(name).and_then(Value::as_str).unwrap_or_default();
            format!("{} ({})", part("detail"), part("code"))
        }),
        percent: sum / (rungs.len() as u64).max(1),
    })
}

/// What a file's outcome looks like as JSON.
fn outcome_json(path: &std::path::Path, outcome: &Outcome) -> Value {
    let file = path.to_string_lossy();
    match outcome {
        Outcome::Published { track } => json!({ "file": file, "outcome": "published", "track": track }),
        Outcome::Already { track } => json!({ "file": file, "outcome": "already", "track": track }),
        Outcome::Failed { why } => json!({ "file": file, "outcome": "failed", "reason": why }),
    }
}
