//! `cargo xtask test`: every test there is, in one command, and one closing line that says how many passed.
//!
//! Everything is built once, with one set of features, before anything runs; then each suite runs whether or not the
//! one before it passed, so that one run shows all that is broken.
mod suites;
mod tally;

use std::{path::Path, process::Command};

use anyhow::{Result, anyhow, bail};

use self::{suites::Suite, tally::Tally};
use crate::{
    build, say,
    setup::{self, Purpose},
    shell,
    workspace::Workspace,
};

/// `cargo xtask test`
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask test               everything\n  \
    cargo xtask test manifest      the cargo tests whose name contains `manifest`\n  \
    cargo xtask test browser       one suite by name: lint, deny, page, edge, deploy, journeys, simulator, rust, browser")]
pub(crate) struct Args {
    /// A suite's name, or part of the name of cargo tests
    filter: Option<String>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let mut tally = Tally::default();
    let outcome = run(args.filter.as_deref(), &mut tally);
    if let Err(error) = &outcome {
        say::failure(error);
        tally.failed += 1;
    }
    say::result(&format!("\n{tally}"));
    if tally.failed > 0 {
        bail!("{} of the tests did not pass", tally.failed);
    }
    Ok(())
}

fn run(filter: Option<&str>, tally: &mut Tally) -> Result<()> {
    let workspace = Workspace::find()?;
    setup::ensure(&workspace, Purpose::Test)?;
    std::thread::scope(|scope| {
        let large = scope.spawn(|| setup::ensure_large(&workspace));
        everything(&workspace)?;
        large.join().map_err(|_| anyhow!("the installation panicked"))?
    })?;

    let named = Suite::ALL.iter().find(|suite| filter == Some(suite.name()));
    let chosen: Vec<&Suite> = match (named, filter) {
        (Some(suite), _) => vec![suite],
        (None, Some(_)) => vec![&Suite::Rust],
        (None, None) => Suite::ALL.iter().collect(),
    };
    for suite in chosen {
        say::step(&format!("testing: {}", suite.what()));
        let of_suite = suite.run(&workspace, filter.filter(|_| named.is_none()))?;
        if of_suite.failed > 0 {
            say::warning(&format!("{}: {of_suite}", suite.name()));
        }
        tally.add(of_suite);
    }
    Ok(())
}

/// One invocation for programs and tests alike: with two, cargo would build most dependencies twice, once with the
/// features of each selection of packages. The Worker is among them, for the tests of its pure parts on this machine;
/// what workerd runs is built after it.
fn everything(workspace: &Workspace) -> Result<()> {
    say::step("building everything that is tested");
    shell::run(&mut linted(workspace, &["build", "--workspace", "--lib", "--bins", "--tests"])?)?;
    build::worker(workspace)?;
    build::page(workspace)
}

/// A cargo command whose compiler of our own crates is clippy's. What clippy finds comes with the build, so that linting
/// costs no second pass over all dependencies, which takes minutes on an empty cache. Every command that is to find
/// things built must be made here: cargo keeps what another compiler made apart.
fn linted(workspace: &Workspace, arguments: &[&str]) -> Result<Command> {
    let sysroot = shell::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let driver = Path::new(sysroot.trim()).join("bin/clippy-driver");
    if !shell::is_executable(&driver) {
        bail!("clippy is missing: rustup component add clippy");
    }
    let mut command = Command::new("cargo");
    command.args(arguments).arg("--target-dir").arg(&workspace.target).current_dir(&workspace.root);
    command.env("RUSTC_WORKSPACE_WRAPPER", driver);
    Ok(command)
}
