//! Packages from PyPI, each in a folder of its own below the tools directory, so that the system's Python stays as it is.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{say, shell, workspace::Workspace};

/// Reads playlists in the whole-system tests.
const M3U8: (&str, &str) = ("m3u8", "6.0.0");
/// Tries every operation of the OpenAPI document in them.
const SCHEMATHESIS: (&str, &str) = ("schemathesis", "4.32.5");

/// Reads the activity lake's files in them.
const DUCKDB: (&str, &str) = ("duckdb", "2.0.1");
/// So does this one, which runs on Java.
const SPARK: (&str, &str) = ("pyspark", "4.3.0");

/// What a package brings along.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bring {
    /// Itself alone.
    Nothing,
    /// What it depends on as well.
    Dependencies,
}

/// Installs what the tests read our answers with.
pub(super) fn ensure_test_tools(workspace: &Workspace) -> Result<()> {
    for ((package, version), bring) in [(M3U8, Bring::Nothing), (SCHEMATHESIS, Bring::Dependencies), (DUCKDB, Bring::Nothing)] {
        let home = workspace.tool(package, version);
        if !home.join(package).is_dir() {
            say::step(&format!("installing the PyPI package {package} into {}", home.display()));
            install(workspace, package, version, &home, bring)?;
        }
    }
    Ok(())
}

/// Installs Spark, whole or not at all: half a gigabyte takes long enough to be interrupted.
pub(super) fn ensure_spark(workspace: &Workspace) -> Result<()> {
    const ATTEMPTS: usize = 3;
    let (package, version) = SPARK;
    let home = workspace.tool(package, version);
    if home.is_dir() {
        return Ok(());
    }
    if shell::find("java").is_none() {
        say::warning(
            "java is missing (Spark, which reads the lake in a test, runs on it); on Debian, as root: apt-get install default-jre-headless",
        );
        return Ok(());
    }
    say::step(&format!("installing the PyPI package {package} into {} (492 MB, once)", home.display()));
    let partial = home.with_extension("partial");
    let mut outcome = Ok(());
    for _ in 0..ATTEMPTS {
        let _ = fs::remove_dir_all(&partial);
        outcome = install(workspace, package, version, &partial, Bring::Dependencies);
        if outcome.is_ok() {
            return fs::rename(&partial, &home).with_context(|| format!("{} cannot be made", home.display()));
        }
    }
    outcome
}

/// Puts one package into `home`.
pub(super) fn install(workspace: &Workspace, package: &str, version: &str, home: &Path, bring: Bring) -> Result<()> {
    let mut pip = Command::new(python(workspace)?);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--target"]).arg(home);
    if bring == Bring::Nothing {
        pip.arg("--no-deps");
    }
    shell::output(pip.arg(format!("{package}=={version}"))).map(drop)
}

/// Whether the system's Python can install packages, or make an environment that can.
pub(super) fn installable() -> bool {
    imports("pip") || imports("ensurepip")
}

/// A Python that has pip: the system's, or else an environment of our own, since Debian splits pip from Python.
fn python(workspace: &Workspace) -> Result<PathBuf> {
    if imports("pip") {
        return Ok("python3".into());
    }
    let home = workspace.tool("python", "pip");
    let python = home.join("bin/python3");
    if !shell::is_executable(&home.join("bin/pip3")) {
        shell::output(Command::new("python3").args(["-m", "venv"]).arg(&home))
            .context("Python has neither pip nor venv; on Debian, as root: apt-get install python3-venv")?;
    }
    Ok(python)
}

fn imports(module: &str) -> bool {
    Command::new("python3").args(["-c", &format!("import {module}")]).output().is_ok_and(|output| output.status.success())
}
