//! `bench edge`: what the Worker costs on plain workerd, beside a Worker that does nothing, one that only streams from the cache, and the same
//! logic in JavaScript with WebCrypto. Needs no running system: a stand-in for the gateway holds one track, and is asked only before the clock starts.
//!
//! ```text
//! origin (one track) ◄── workerd: empty │ floor │ ours (edge/build, edge/workerd/cache.js) │ JavaScript     a process each
//!                           ▲                                     │
//!   open loop at a fixed rate, cases in turn                      └──► /proc/PID: CPU     verify: slope over N
//! ```
//!
//! CPU is the process's own, user and system, by the kernel's run-time counters; latency runs from the instant a request was due, so that a late
//! answer cannot hide those behind it. Both come from the same windows, and the cases take turns, so that whatever else the machine does
//! falls on all alike.

mod bundle;
mod load;
mod origin;
mod report;
mod scene;
mod startup;
mod verify;
mod windows;
pub(crate) mod workerd;

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};

/// `bench edge`
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The work tree, with edge/build and edge/node_modules.
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// Times every case has its turn.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Requests a second.
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Length of one turn, s.
    #[arg(long, default_value_t = 1.8)]
    window: f64,
    /// Connections, on which requests wait for each other.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// A look in half a minute; its figures are not for the record.
    #[arg(long)]
    quick: bool,
    /// One JSON document instead of tables.
    #[arg(long)]
    json: bool,
    /// The module of bench/workers/verify; without it tokens are not compared. (`cargo xtask bench edge` builds and names it.)
    #[arg(long, value_name = "FILE")]
    verify_module: Option<PathBuf>,
    /// The Worker's module as rustc left it, with names; without it nothing is weighed. (`cargo xtask bench edge` builds and names it.)
    #[arg(long, value_name = "FILE")]
    named_module: Option<PathBuf>,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Turns of every case.
    rounds: usize,
    /// Requests a second.
    rate: u32,
    /// Length of a turn.
    window: Duration,
    /// Connections at once.
    connections: usize,
}

/// Measures, and answers tables in Markdown, or JSON.
///
/// # Errors
/// When a Worker does not come up or answers as it should not.
pub(crate) fn run(options: &Options) -> Result<String> {
    ensure!(options.rate > 0 && options.connections > 0 && options.rounds > 0, "rounds, rate and connections are at least 1");
    let (rounds, window) = if options.quick { (3, 0.6) } else { (options.rounds, options.window) };
    let effort = Effort { rounds, rate: options.rate, window: Duration::from_secs_f64(window), connections: options.connections };
    let workers = workerd::Workers::at(&options.root)?;
    let scene = scene::Scene::new()?;

    eprintln!("bench: start-up");
    let startup = startup::measure(&workers, &scene, if options.quick { 3 } else { 7 })?;
    let windows = windows::measure(&workers, &scene, effort)?;
    let checks = match &options.verify_module {
        Some(module) => {
            eprintln!("bench: checks of tokens and sessions");
            verify::measure(&workers, &scene, module, if options.quick { 3 } else { 9 })?
        }
        None => Vec::new(),
    };
    let bundle = bundle::weigh(&options.root, options.named_module.as_deref())?;
    let report = report::Report::new(effort, windows, checks, startup, bundle);
    if options.json { Ok(serde_json::to_string_pretty(&report)?) } else { Ok(report.markdown()) }
}
