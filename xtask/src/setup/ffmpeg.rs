//! ffmpeg, which encodes uploads: `FFMPEG_BIN`, the system's, else the static one that a PyPI package carries.
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::pypi;
use crate::{say, shell, workspace::Workspace};

const PYPI_PACKAGE: &str = "imageio-ffmpeg";
const PYPI_VERSION: &str = "0.8.1";

/// Downloads the PyPI package when there is no ffmpeg.
pub(super) fn ensure(workspace: &Workspace) -> Result<()> {
    if find(workspace).is_ok() {
        return Ok(());
    }
    let home = workspace.tool(PYPI_PACKAGE, PYPI_VERSION);
    say::step(&format!("installing ffmpeg from the PyPI package {PYPI_PACKAGE} into {}", home.display()));
    pypi::install(workspace, PYPI_PACKAGE, PYPI_VERSION, &home, pypi::Bring::Nothing)
        .context("ffmpeg is missing and could not be fetched; on Debian, as root: apt-get install ffmpeg")?;
    find(workspace).map(drop)
}

/// The program to use.
///
/// # Errors
/// When there is none.
pub(crate) fn find(workspace: &Workspace) -> Result<PathBuf> {
    let named = std::env::var_os("FFMPEG_BIN").map(PathBuf::from).filter(|file| shell::is_executable(file));
    named
        .or_else(|| shell::find("ffmpeg"))
        .or_else(|| from_pypi(workspace))
        .context("ffmpeg is missing: run cargo xtask setup, or name one with FFMPEG_BIN")
}

fn from_pypi(workspace: &Workspace) -> Option<PathBuf> {
    let binaries = workspace.tool(PYPI_PACKAGE, PYPI_VERSION).join("imageio_ffmpeg/binaries");
    let mut files = std::fs::read_dir(binaries).ok()?.flatten().map(|entry| entry.path());
    files.find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ffmpeg-")) && shell::is_executable(file))
}
