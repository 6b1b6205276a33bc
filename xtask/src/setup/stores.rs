//! The stores that the heartbeat buffer is measured beside (`cargo xtask bench heartbeats`), and nothing else: Debian's Redis, and a NATS server that Go
//! builds into a directory named for its version. Where one cannot be had, its line is left out of the table.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::debian;
use crate::{say, shell, workspace::Workspace};

const NATS_MODULE: &str = "github.com/nats-io/nats-server/v2";
const NATS_VERSION: &str = "2.12.1";
/// Where Go's own instructions put it, whose line for the profile many leave out.
const GO: &str = "/usr/local/go/bin/go";

/// `redis-server`, from Debian.
pub(crate) fn redis() -> Option<PathBuf> {
    let installed = || shell::find("redis-server");
    installed().or_else(|| {
        if shell::is_root() && shell::find("apt-get").is_some() {
            say::step("installing the Debian package redis-server (to measure beside)");
            debian::install(&["redis-server"]);
        }
        let found = installed();
        if found.is_none() {
            say::warning("redis-server is missing, and left out of the comparison; on Debian, as root: apt-get install redis-server");
        }
        found
    })
}

/// `nats-server`, built by Go.
pub(crate) fn nats(workspace: &Workspace) -> Option<PathBuf> {
    let home = workspace.tool("nats-server", NATS_VERSION);
    let program = home.join("nats-server");
    if shell::is_executable(&program) {
        return Some(program);
    }
    let Some(go) = shell::find("go").or_else(|| Some(PathBuf::from(GO)).filter(|go| shell::is_executable(Path::new(go)))) else {
        say::warning("Go is missing, and so is the NATS server that it would build: it is left out of the comparison");
        return None;
    };
    say::step(&format!("building nats-server {NATS_VERSION} into {} (to measure beside; a minute, once)", home.display()));
    let built = shell::output(Command::new(go).args(["install", &format!("{NATS_MODULE}@v{NATS_VERSION}")]).env("GOBIN", &home));
    match built {
        Ok(_) => Some(program).filter(|program| shell::is_executable(program)),
        Err(error) => {
            say::warning(&format!("NATS is left out of the comparison: {error:#}"));
            None
        }
    }
}
