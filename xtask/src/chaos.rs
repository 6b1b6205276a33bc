//! `cargo xtask chaos heartbeats`: kills the parts that a heartbeat passes, again and again, on a system of its own under load; says what was lost or
//! counted twice (the command fails if anything was) and how long each part took to recover. The chaos itself is in `tests/src/chaos`, which the
//! whole-system tests run too, with fewer kills.
use std::{
    hash::{BuildHasher as _, RandomState},
    process::Command,
};

use anyhow::Result;

use crate::{
    build, say,
    setup::{self, Purpose},
    shell,
    workspace::{Profile, Workspace},
};

/// `cargo xtask chaos`
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask chaos heartbeats\n  cargo xtask chaos heartbeats --kills 20 --dev\n  cargo xtask chaos heartbeats --seed 7      the same kills again"
)]
pub(crate) struct Args {
    /// What flows meanwhile
    #[arg(value_enum)]
    what: What,
    /// How often something is killed
    #[arg(long, default_value_t = 300)]
    kills: u32,
    /// Events a second
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Decides who is killed when [default: another each time; it is printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Kill code that is quick to compile, not optimised code
    #[arg(long)]
    dev: bool,
    /// Neither set up nor build: kill what was built before
    #[arg(long)]
    no_build: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// Heartbeats, by the edge and by the gateway
    Heartbeats,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let workspace = Workspace::find()?;
    let profile = if args.dev { Profile::Dev } else { Profile::Release };
    if !args.no_build {
        setup::ensure(&workspace, Purpose::Test)?;
        say::step("building what kills, and what is killed");
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--workspace", "--lib", "--bins", "--tests", "--target-dir"]).arg(&workspace.target);
        shell::run(cargo.current_dir(&workspace.root))?;
        if profile == Profile::Release {
            build::system(&workspace, profile)?;
        }
        build::worker(&workspace)?;
        build::page(&workspace)?;
    }
    let What::Heartbeats = args.what;
    let mut chaos = Command::new(workspace.target.join("debug/chaos"));
    chaos.args(["heartbeats", &args.kills.to_string(), &args.rate.to_string(), &args.seed.unwrap_or_else(some_seed).to_string()]);
    shell::run(chaos.arg(if args.dev { "--dev" } else { "--release" }))
}

fn some_seed() -> u64 {
    RandomState::new().hash_one(0) % 1_000_000
}
