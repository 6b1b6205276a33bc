//! `bench abr`: the simulator of bench/simulator, which asks this very program for the choices (`bench choose`). Needs no running system.
//!
//! ```text
//! seeded traces ──► simulator (hls.js's own rate adaptation) ──► a Markdown table
//!                      │ evidence, one JSON line a play
//!                      └──► bench choose ──► protocol::choose
//! ```

use std::{
    io::{BufRead, stdin},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use protocol::{
    Plan, Rung, RungSet,
    choose::{Evidence, choose},
    cmcd::Cmcd,
};
use serde::Deserialize;

/// `bench abr`
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The work tree, with bench/simulator.
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// Plays a trace and side.
    #[arg(long, default_value_t = 100)]
    seeds: u32,
    /// Only these traces.
    #[arg(long, value_name = "NAME")]
    trace: Vec<String>,
}

/// Runs the simulator and returns its table.
pub(crate) fn run(options: &Options) -> Result<String> {
    let folder = options.root.join("bench/simulator");
    if !folder.join("node_modules").is_dir() {
        let installed = Command::new("npm").args(["ci", "--silent", "--no-fund", "--no-audit"]).current_dir(&folder).status();
        ensure!(installed.context("npm does not run")?.success(), "npm ci failed in {}", folder.display());
    }
    let mut node = Command::new("node");
    node.arg(folder.join("main.js")).arg("--bench").arg(std::env::current_exe()?).arg("--seeds").arg(options.seeds.to_string());
    for name in &options.trace {
        node.arg("--trace").arg(name);
    }
    let output = node.stderr(Stdio::inherit()).output().context("node does not run")?;
    ensure!(output.status.success(), "the simulator failed");
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// Evidence of one play, as the simulator writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// What the player sends.
    cmcd: String,
    /// What the platform measured.
    round_trip_ms: Option<u32>,
}

/// `bench choose`: answers each line of evidence on standard input with the choice for a premium listener.
pub(crate) fn answer_choices() -> Result<String> {
    let answers: Result<Vec<String>> = stdin().lock().lines().map(|line| answer(&line?)).collect();
    Ok(answers?.join("\n"))
}

fn answer(line: &str) -> Result<String> {
    let line: Line = serde_json::from_str(line)?;
    let evidence = Evidence { cmcd: Cmcd::default().with(&line.cmcd), round_trip_ms: line.round_trip_ms, ..Evidence::default() };
    let choice = choose(&evidence, RungSet::of(&Rung::ALL), Plan::Premium.rungs()).context("premium has a lossy rung")?;
    Ok(serde_json::to_string(&choice)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_evidence_is_answered_with_the_real_choice() {
        let answer = answer(r#"{"cmcd":"mtp=300","round_trip_ms":20}"#).unwrap();
        assert!(answer.starts_with(r#"{"start":"aac-128","allowed":["aac-64","aac-128","aac-256"],"lossless":false,"#), "{answer}");
        assert!(super::answer(r#"{"cmdc":"mtp=300"}"#).is_err());
    }
}
