//! `cargo xtask bench NAME`: one benchmark of the crate `bench`, optimised, against a running system where it needs one.
use std::{ffi::OsString, path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::{
    build, say,
    setup::{self, Purpose, stores},
    shell,
    workspace::{Profile, Workspace},
};

/// `cargo xtask bench`
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench ttfb\n  cargo xtask bench ttfb --state /tmp/second -- --rounds 2000\n  cargo xtask bench abr -- --seeds 200\n  cargo xtask bench edge -- --quick\n  cargo xtask bench heartbeats\n\nWhat follows -- is passed on."
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

/// Benchmarks that simulate what they measure, or start it themselves.
const WITHOUT_SYSTEM: &[&str] = &["abr", "edge", "heartbeats"];

pub(crate) fn main(args: &Args) -> Result<()> {
    let workspace = Workspace::find()?;
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--release", "--package", "bench", "--target-dir"]).arg(&workspace.target);
    cargo.args(["--", &args.name]).current_dir(&workspace.root);
    if !WITHOUT_SYSTEM.contains(&args.name.as_str()) {
        cargo.arg("--run").arg(running(&workspace, args)?);
    }
    if args.name == "edge" {
        setup::ensure(&workspace, Purpose::Build)?;
        build::worker(&workspace)?;
        cargo.arg("--verify-module").arg(wasm(&workspace, "verify-worker", "verify_worker.wasm")?);
        cargo.arg("--named-module").arg(wasm(&workspace, "edge", "edge.wasm")?);
    }
    if args.name == "heartbeats" {
        setup::ensure(&workspace, Purpose::Run)?;
        build::system(&workspace, Profile::Release)?;
        cargo.arg("--xtask").arg(std::env::current_exe()?);
        for (option, program) in [("--redis", stores::redis()), ("--nats", stores::nats(&workspace))] {
            cargo.args(program.map(|program| [OsString::from(option), program.into()]).into_iter().flatten());
        }
    }
    shell::run(cargo.args(&args.rest))
}

/// A package as rustc leaves it for wasm32, with the names of its functions, built as worker-build builds the Worker (edge/.cargo/config.toml) but in a
/// target directory of its own: nothing that worker-build made is built again for it.
fn wasm(workspace: &Workspace, package: &str, file: &str) -> Result<PathBuf> {
    say::step(&format!("building {package} with names"));
    let target = workspace.target.join("named");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--package", package, "--lib", "--target", "wasm32-unknown-unknown", "--profile", "wasm"]);
    cargo.args(["--config", "profile.wasm.strip=false", "--target-dir"]).arg(&target);
    cargo.env("RUSTC_BOOTSTRAP", "1").current_dir(workspace.root.join("edge"));
    shell::run(&mut cargo)?;
    Ok(target.join("wasm32-unknown-unknown/wasm").join(file))
}

/// The run.json of the running system.
fn running(workspace: &Workspace, args: &Args) -> Result<PathBuf> {
    let run = args.state.clone().unwrap_or_else(|| workspace.root.join(".antiphon")).join("run.json");
    if !run.is_file() {
        bail!("no system is running ({} is missing): start one with cargo xtask run", run.display());
    }
    Ok(run)
}
