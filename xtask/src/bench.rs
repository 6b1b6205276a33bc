//! `cargo xtask bench NAME`: one benchmark of the crate `bench`, optimised, against a running system.
use std::{path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::{shell, workspace::Workspace};

/// `cargo xtask bench`
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench ttfb\n  cargo xtask bench ttfb --state /tmp/second -- --rounds 2000\n\nWhat follows -- is passed on."
)]
pub(crate) struct Args {
    /// Name of a benchmark: a subcommand of the program `bench`, which lists them with --help
    name: String,
    /// State directory of the running system [default: .antiphon in the work tree]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Passed on to the benchmark
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let workspace = Workspace::find()?;
    let run = args.state.clone().unwrap_or_else(|| workspace.root.join(".antiphon")).join("run.json");
    if !run.is_file() {
        bail!("no system is running ({} is missing): start one with cargo xtask run", run.display());
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--release", "--package", "bench", "--target-dir"]).arg(&workspace.target);
    cargo.args(["--", &args.name, "--run"]).arg(run).args(&args.rest).current_dir(&workspace.root);
    shell::run(&mut cargo)
}
