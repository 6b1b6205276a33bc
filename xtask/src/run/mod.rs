//! `cargo xtask run`: the whole system on this machine, from one command, until Ctrl-C.
//!
//! ```text
//!   xtask run ─┬─ postgres                     state/postgres, as `nobody` when we are root
//!              ├─ antiphon all ─┬─ identity    one process per role; `all` restarts them
//!              │                ├─ catalog …
//!              │                └─ gateway
//!              └─ node edge/serve.mjs ── workerd
//! ```
//! Started from the top down, stopped from the bottom up. Settings come from the command line and the state directory;
//! what runs, and where, goes into `run.json` there.
mod music;
mod part;
mod ports;
mod postgres;
mod readiness;
mod record;
mod settings;
mod state;
mod system;

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    build, say,
    setup::{self, Purpose, ffmpeg},
    workspace::{Profile, Workspace},
};

/// `cargo xtask run`
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
        cargo xtask run\n  \
        cargo xtask run --library ~/Music\n  \
        cargo xtask run --ports auto --state /tmp/second --no-demo\n  \
        cargo xtask run --set ingest.workers=2\n\n\
        Where everything is, and how to log in, is printed and kept in DIR/run.json while the system runs.\n\
        To start afresh, stop it and delete DIR.")]
pub(crate) struct Args {
    /// How the ports are chosen
    #[arg(long, value_enum, default_value = "fixed", value_name = "HOW")]
    ports: ports::Choice,
    /// Where the system keeps everything: database, music, keys, logs [default: .antiphon in the work tree]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Start with an empty catalogue
    #[arg(long)]
    no_demo: bool,
    /// Import this folder of tagged audio files instead of the demo's music
    #[arg(long, value_name = "DIR")]
    library: Option<PathBuf>,
    /// Run optimised code: what is measured, and several times as long to compile
    #[arg(long, conflicts_with = "dev")]
    release: bool,
    /// Run code that is quick to compile (the default)
    #[arg(long)]
    dev: bool,
    /// Neither set up nor build: start what was built before
    #[arg(long)]
    no_build: bool,
    /// A setting of the services, as in antiphon.example.toml; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    settings: Vec<String>,
}

pub(crate) fn main(args: Args) -> Result<()> {
    let workspace = Workspace::find()?;
    // What could refuse the start is asked before minutes are spent on building.
    let state = state::State::open(&args.state.clone().unwrap_or_else(|| workspace.root.join(".antiphon")))?;
    let ports = ports::Ports::choose(args.ports)?;

    let profile = if args.release { Profile::Release } else { Profile::Dev };
    if args.no_build {
        build::existing(&workspace, profile)?;
    } else {
        setup::ensure(&workspace, Purpose::Run)?;
        build::system(&workspace, profile)?;
    }
    let ffmpeg = ffmpeg::find(&workspace)?;

    let signals = system::Signals::listen()?;
    let mut system = system::System::start(&workspace, state, ports, profile, &args.settings, &ffmpeg, signals)?;
    let sources = match (&args.library, args.no_demo) {
        (Some(folder), _) => vec![folder.clone()],
        (None, true) => Vec::new(),
        (None, false) => music::demo(system.state(), &ffmpeg)?,
    };
    let went_on = system.until_ready()? && system.import(&sources, args.library.is_none())?;
    if went_on {
        system.announce()?;
        system.keep_running()?;
    }
    say::step("stopping");
    system.stop();
    Ok(())
}
