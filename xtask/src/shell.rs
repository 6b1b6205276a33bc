//! Other programs: found on the path, run to their end, and quoted when they fail.
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// How many last lines of a failed program's output are shown.
const TAIL_LINES: usize = 25;

/// Runs a program that talks to the terminal itself.
///
/// # Errors
/// When it cannot be started or does not succeed; the message names the program and its arguments.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = plain(command).status().with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("{} ended with {status}", spelled(command));
    }
    Ok(())
}

/// Runs a program silently and answers what it printed on standard output.
///
/// # Errors
/// As [`run`], with the last lines the program wrote.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = plain(command).stdin(Stdio::null()).output().with_context(|| cannot_start(command))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let everything = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        bail!("{} ended with {}\n{}", spelled(command), output.status, tail_of(&everything, TAIL_LINES));
    }
    Ok(text)
}

/// A program on the path.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| is_executable(file))
}

/// Whether this is a file that may be run.
pub(crate) fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The current `PATH` with one directory put before it.
pub(crate) fn path_with(first: &Path) -> std::ffi::OsString {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(first.to_path_buf()).chain(std::env::split_paths(&rest));
    std::env::join_paths(all).unwrap_or(rest)
}

/// Whether this process may install system packages and change user ids.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The last lines of a text.
pub(crate) fn tail_of(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// The command as a person would type it.
pub(crate) fn spelled(command: &Command) -> String {
    std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Cargo tells its children about the package being run; a nested cargo must not hear it, or build scripts that look
/// at those variables run again.
fn plain(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let told_by_cargo = name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
        if told_by_cargo {
            command.env_remove(&name);
        }
    }
    command
}

fn cannot_start(command: &Command) -> String {
    format!("{} cannot be started", command.get_program().to_string_lossy())
}
