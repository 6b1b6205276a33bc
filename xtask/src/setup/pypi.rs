//! Packages from PyPI, each in a folder of its own below the tools directory, so that the system's Python stays as it is.
use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{say, shell, workspace::Workspace};

/// Reads playlists in the whole-system tests.
const M3U8: (&str, &str) = ("m3u8", "6.0.0");
/// Tries every operation of the OpenAPI document in them.
const SCHEMATHESIS: (&str, &str) = ("schemathesis", "4.32.5");

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
    for ((package, version), bring) in [(M3U8, Bring::Nothing), (SCHEMATHESIS, Bring::Dependencies)] {
        let home = workspace.tool(package, version);
        if !home.join(package).is_dir() {
            say::step(&format!("installing the PyPI package {package} into {}", home.display()));
            install(package, version, &home, bring)?;
        }
    }
    Ok(())
}

/// Puts one package into `home`.
pub(super) fn install(package: &str, version: &str, home: &Path, bring: Bring) -> Result<()> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(home);
    if bring == Bring::Nothing {
        pip.arg("--no-deps");
    }
    shell::output(pip.arg(format!("{package}=={version}"))).map(drop)
}
