//! `cargo xtask loadtest JOURNEY`: a k6 script of loadtest/ against a running system, whose addresses and log-ins come
//! from its run.json. With k6 on the path it is k6 that runs it; else our own runner, which knows the part of k6's
//! modules that the journeys use.
use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{shell, workspace::Workspace};

/// `cargo xtask loadtest`
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask loadtest\n  \
    cargo xtask loadtest listener --state /tmp/second -- --duration 30s\n\n\
    The journeys are the .js files of loadtest/; what follows -- is passed on.")]
pub(crate) struct Args {
    /// Name of a journey: a file of loadtest/ without its ending
    #[arg(default_value = "listener")]
    journey: String,
    /// State directory of the running system [default: .antiphon in the work tree]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Passed on to k6 or the runner
    #[arg(last = true)]
    rest: Vec<String>,
}

/// What a journey needs to know of run.json.
#[derive(Deserialize)]
struct Run {
    edge: String,
    gateway: String,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let workspace = Workspace::find()?;
    let script = workspace.root.join("loadtest").join(format!("{}.js", args.journey));
    if !script.is_file() {
        bail!("there is no journey {}: {} is missing", args.journey, script.display());
    }
    let file = args.state.clone().unwrap_or_else(|| workspace.root.join(".antiphon")).join("run.json");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("no system is running ({} is missing): start one with cargo xtask run", file.display()))?;
    let run: Run = serde_json::from_str(&text).with_context(|| format!("{} is not a description of a system", file.display()))?;

    let mut command = match shell::find("k6") {
        Some(k6) => {
            let mut command = Command::new(k6);
            command.arg("run");
            command
        }
        None => {
            let mut command = Command::new("cargo");
            command
                .args(["run", "--quiet", "--release", "--package", "loadtest-runner", "--target-dir"])
                .arg(&workspace.target)
                .args(["--", "run"]);
            command
        }
    };
    for (name, value) in [("BASE_URL", run.edge.as_str()), ("GATEWAY_URL", run.gateway.as_str()), ("RUN_JSON", &file.to_string_lossy())] {
        command.args(["-e", &format!("{name}={value}")]);
    }
    shell::run(command.args(&args.rest).arg(&script).current_dir(&workspace.root))
}
