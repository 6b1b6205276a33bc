//! Packages from PyPI, each in a folder of its own below the tools directory, so that the system's Python stays as it is.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{say, shell, workspace::Workspace};

/// Reads playlists in the whole-system tests.
const M3U8: (&str, &str) = ("m3u8", "6.0.0");

/// Installs what the tests read our answers with.
pub(super) fn ensure_test_tools(workspace: &Workspace) -> Result<()> {
    let home = workspace.tool(M3U8.0, M3U8.1);
    if home.join(M3U8.0).is_dir() {
        return Ok(());
    }
    say::step(&format!("installing the PyPI package {} into {}", M3U8.0, home.display()));
    install(M3U8.0, M3U8.1, &home).map(drop)
}

/// Puts one package, without what it depends on, into `home`.
pub(super) fn install(package: &str, version: &str, home: &Path) -> Result<PathBuf> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "--target"]).arg(home);
    shell::output(pip.arg(format!("{package}=={version}")))?;
    Ok(home.to_owned())
}
