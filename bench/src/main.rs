//! Benchmarks against a running system, side by side with what they are compared to, in one run on one machine.
//!
//! ```text
//! run.json ──► scene: log in, tracks, URLs ──► ttfb: edge │ empty Worker │ edge ──delay proxy──► gateway ──► a Markdown table
//! ```

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

mod abr;
mod client;
mod delay_proxy;
mod edge;
mod heartbeats;
mod machine;
mod running;
mod scene;
mod stats;
mod ttfb;

/// Benchmarks of a running system (`cargo xtask run`).
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Time to first byte at the edge, beside an empty Worker.
    ///
    /// Example: bench ttfb --run .antiphon/run.json --rounds 500 > docs/ttfb.md
    Ttfb(ttfb::Options),
    /// Simulated plays over five kinds of connection: our start beside stock hls.js and a fixed 128 kbit/s. Needs no running system.
    ///
    /// Example: bench abr --seeds 200
    Abr(abr::Options),
    /// The Worker's CPU, latency, start-up and size on plain workerd, beside the same in JavaScript. Needs no running system.
    ///
    /// Example: cargo xtask bench edge -- --quick
    Edge(edge::Options),
    /// Heartbeats from post to merged: what is kept and acknowledged a second, and what it costs, beside Redis, NATS and COPY. Starts a system of its
    /// own.
    ///
    /// Example: cargo xtask bench heartbeats -- --quick
    Heartbeats(heartbeats::Options),
    /// Answers lines of evidence (JSON) on standard input with the choice; what the simulator asks.
    #[command(hide = true)]
    Choose,
}

/// Where a running system describes itself.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct System {
    /// The run.json of the system.
    #[arg(long = "run", value_name = "FILE", default_value = ".antiphon/run.json")]
    pub(crate) run_json: PathBuf,
    /// The work tree, with edge/serve.mjs and edge/node_modules.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) root: PathBuf,
}

fn main() -> ExitCode {
    let table = match Arguments::parse().command {
        Command::Ttfb(options) => ttfb::run(&options),
        Command::Abr(options) => abr::run(&options),
        Command::Edge(options) => edge::run(&options),
        Command::Heartbeats(options) => heartbeats::run(&options),
        Command::Choose => abr::answer_choices(),
    };
    match table {
        Ok(table) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
