//! `bench heartbeats`: what a heartbeat costs from the player's post to its row in the database, beside what else could keep it.
//!
//! ```text
//! posts ──► workerd (edge/build, one buffer) ──► gateway ──► royalty ──► PostgreSQL      a system of its own, optimised
//!   ├─────► Redis stream, appendfsync always                                             the same bytes, the same disk,
//!   └─────► NATS JetStream, sync_interval always                                         each acknowledged when on disk
//! batches ──► royalty ──► PostgreSQL      rows ──► COPY, one commit a batch
//! ```
//!
//! Cases take turns, so that whatever else the machine does falls on all alike. CPU is the processes' own, by the kernel's run-time counters. At most
//! comes from a closed loop, latency from an open one at 80 % of that, counted from the instant a post was due.

mod acks;
mod copy;
mod cpu;
mod fleet;
mod load;
mod pipeline;
mod posts;
mod report;
mod site;
mod stores;

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};

/// `bench heartbeats`
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The work tree, with edge/build and edge/node_modules.
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// The program that starts a system (`cargo xtask bench heartbeats` names itself).
    #[arg(long, value_name = "FILE")]
    xtask: PathBuf,
    /// Redis; without it there is nothing to compare to in its line.
    #[arg(long, value_name = "FILE")]
    redis: Option<PathBuf>,
    /// The NATS server; as Redis.
    #[arg(long, value_name = "FILE")]
    nats: Option<PathBuf>,
    /// Times every case has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one turn, s.
    #[arg(long, default_value_t = 2.0)]
    window: f64,
    /// Connections, on which posts wait for each other.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Start the system as it is compiled for tests: for a look while the benchmark is changed.
    #[arg(long)]
    dev: bool,
    /// A look in a minute; its figures are not for the record.
    #[arg(long)]
    quick: bool,
    /// One JSON document instead of tables.
    #[arg(long)]
    json: bool,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Effort {
    rounds: usize,
    window: Duration,
    connections: usize,
    /// How long 200 listeners beat.
    listening: Duration,
    /// Batches in a turn of the merge.
    batches: usize,
}

/// Measures, and answers tables in Markdown, or JSON.
///
/// # Errors
/// When a part does not come up, or anything that was acknowledged is not merged.
pub(crate) fn run(options: &Options) -> Result<String> {
    ensure!(options.rounds > 0 && options.connections > 0, "rounds and connections are at least 1");
    let effort = if options.quick {
        Effort {
            rounds: 2,
            window: Duration::from_millis(700),
            connections: options.connections,
            listening: Duration::from_secs(8),
            batches: 5,
        }
    } else {
        let window = Duration::from_secs_f64(options.window);
        Effort { rounds: options.rounds, window, connections: options.connections, listening: Duration::from_secs(25), batches: 15 }
    };
    eprintln!("bench: starting a system");
    let site = site::Site::start(&options.root, &options.xtask, options.dev)?;
    eprintln!("bench: acknowledgements, {} rounds", effort.rounds);
    let acks = acks::measure(&site, options, effort)?;
    eprintln!("bench: from post to merged");
    let pipeline = pipeline::saturated(&site, effort)?;
    eprintln!("bench: 200 listeners on one shard");
    let listeners = pipeline::listeners(&site, effort)?;
    eprintln!("bench: merge and COPY, {} rounds", effort.rounds);
    let copy = copy::measure(&site, effort)?;
    let report = report::Report::new(effort, acks, pipeline, listeners, copy);
    if options.json { Ok(serde_json::to_string_pretty(&report)?) } else { Ok(report.markdown()) }
}
