//! Runs k6 load scripts without k6: just the modules, options and executors that `loadtest/*.js` use, each with k6's meaning, and a clear
//! refusal of everything else. `k6 run` takes the same scripts.
//!
//! ```text
//! script ──init──► options ──setup()──► scenarios: VU threads ──samples──► metrics ──teardown()──► thresholds, handleSummary
//! ```
//!
//! One VU is one thread with its own JavaScript runtime and connections. Exit codes are k6's: 99 when a threshold fails, 104 for options,
//! 107 when the script throws.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

mod conduct;
mod duration;
mod executor;
mod failure;
mod halt;
mod http;
mod metrics;
mod modules;
mod options;
mod run;
mod schedule;
mod summary;
mod threshold;
mod vu;

/// Runs the load scripts of this repository; `k6 run` takes the same scripts.
#[derive(Debug, Parser)]
#[command(name = "loadtest-runner", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a script.
    ///
    /// Example: loadtest-runner run loadtest/listener.js -e BASE_URL=http://127.0.0.1:8787 --duration 10s
    Run {
        /// The script, an ES module.
        script: PathBuf,
        /// Set a variable of __ENV; may be given again.
        #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = variable)]
        env: Vec<(String, String)>,
        /// Every scenario takes this long instead of what its options say (k6 would drop the scenarios).
        #[arg(long, value_parser = duration::parse)]
        duration: Option<Duration>,
        /// A host that may be loaded besides this machine.
        #[arg(long = "allow-host", value_name = "HOST")]
        allowed_hosts: Vec<String>,
        /// Write the summary's data as JSON.
        #[arg(long, value_name = "FILE")]
        summary_export: Option<PathBuf>,
        /// No progress lines.
        #[arg(short, long)]
        quiet: bool,
    },
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is no NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    let Command::Run { script, env, duration, allowed_hosts, summary_export, quiet } = Arguments::parse().command;
    // Only what -e gives: a script's outcome should not hang on the shell it was started from.
    let env: BTreeMap<_, _> = env.into_iter().collect();
    match conduct::conduct(&conduct::Orders { script, env, duration, allowed_hosts, summary_export, quiet }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("loadtest-runner: {failure}");
            ExitCode::from(failure.code)
        }
    }
}
