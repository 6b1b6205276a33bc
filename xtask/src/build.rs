//! Our own code, built: the binary, the Worker and the web page. Cargo knows by itself what changed; the other two
//! carry a stamp with the digest of their sources, so that a second start builds nothing.
use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    fingerprint, say,
    setup::{self, Purpose, cargo_tools, node},
    shell,
    workspace::{Profile, Workspace},
};

/// Builds what a running system is made of.
pub(crate) fn system(workspace: &Workspace, profile: Profile) -> Result<()> {
    antiphon(workspace, profile)?;
    worker(workspace)?;
    page(workspace)
}

/// What a system that must not build is started from.
///
/// # Errors
/// When a part was never built, naming the command that builds it.
pub(crate) fn existing(workspace: &Workspace, profile: Profile) -> Result<()> {
    for (what, file) in [
        ("the binary", workspace.antiphon(profile)),
        ("the Worker", workspace.root.join("edge/build/index.js")),
        ("the web page", page_directory(workspace).join("index.html")),
    ] {
        if !file.exists() {
            bail!("{what} is not built ({} is missing); run without --no-build once", file.display());
        }
    }
    Ok(())
}

/// The directory the edge serves the page from.
pub(crate) fn page_directory(workspace: &Workspace) -> PathBuf {
    workspace.root.join("web/dist")
}

fn antiphon(workspace: &Workspace, profile: Profile) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--package", "antiphon"]).arg("--target-dir").arg(&workspace.target).current_dir(&workspace.root);
    match profile {
        Profile::Release => {
            say::step("building antiphon (release)");
            cargo.arg("--release");
        }
        Profile::Dev => say::step("building antiphon (dev)"),
    }
    shell::run(&mut cargo)
}

/// `cargo xtask build-edge`
pub(crate) fn edge() -> Result<()> {
    let workspace = Workspace::find()?;
    setup::ensure(&workspace, Purpose::Build)?;
    worker(&workspace)
}

/// The Worker, for `edge/serve.mjs` and for `wrangler deploy`.
pub(crate) fn worker(workspace: &Workspace) -> Result<()> {
    let sources = [
        "edge/src",
        "edge/.cargo",
        "edge/Cargo.toml",
        "edge/package-lock.json",
        "protocol",
        "Cargo.toml",
        "Cargo.lock",
        "rust-toolchain.toml",
    ];
    let stamp = workspace.root.join("edge/build/.fingerprint");
    stamped(workspace, &sources, &stamp, "the Worker", || {
        let mut build = Command::new(cargo_tools::worker_build(workspace));
        build.args(["--profile", "wasm"]).current_dir(workspace.root.join("edge"));
        shell::run(with_worker_tools(workspace, &mut build)?)
    })
}

/// worker-build, or wrangler, which calls it, is told which helpers to use instead of downloading its own.
pub(crate) fn with_worker_tools<'a>(workspace: &Workspace, command: &'a mut Command) -> Result<&'a mut Command> {
    Ok(command
        .env("CARGO_TARGET_DIR", &workspace.target)
        // edge/.cargo/config.toml says what for.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("WORKER_BUILD_BIN", cargo_tools::worker_build(workspace))
        .env("WASM_BINDGEN_BIN", cargo_tools::wasm_bindgen(workspace))
        .env("WASM_OPT_BIN", node::edge_module(workspace, ".bin/wasm-opt"))
        .env("ESBUILD_BIN", node::edge_module(workspace, ".bin/esbuild"))
        .env("PATH", node::path(workspace)?))
}

/// The web page, for the edge to serve.
pub(crate) fn page(workspace: &Workspace) -> Result<()> {
    let stamp = page_directory(workspace).join(".fingerprint");
    stamped(workspace, &["web"], &stamp, "the web page", || shell::output(&mut node::script(workspace, "web", "build")?).map(drop))
}

/// Runs a build unless its stamp says that it was done with these very sources.
fn stamped(workspace: &Workspace, sources: &[&str], stamp: &PathBuf, what: &str, build: impl FnOnce() -> Result<()>) -> Result<()> {
    let digest = fingerprint::of(&workspace.root, sources, "")?;
    if fingerprint::matches(stamp, &digest) {
        return Ok(());
    }
    say::step(&format!("building {what}"));
    build().with_context(|| format!("{what} could not be built"))?;
    std::fs::write(stamp, digest).with_context(|| format!("{} cannot be written", stamp.display()))
}
