//! `cargo xtask deny`, which is also one of the tests: the dependencies against deny.toml.
//!
//! Licences, bans and sources; not advisories, whose database is fetched from a host that a closed network refuses.
use std::process::Command;

use anyhow::Result;

use crate::{say, shell, workspace::Workspace};

const VERSION: &str = "0.20.2";

pub(crate) fn main() -> Result<()> {
    shell::run(&mut check(&Workspace::find()?)?)
}

/// The check, ready to be run. cargo-deny is compiled the first time, and not optimised: that takes half as long, and
/// the check itself takes a second or two either way.
pub(crate) fn check(workspace: &Workspace) -> Result<Command> {
    let home = workspace.tool("cargo-deny", VERSION);
    let program = home.join("bin/cargo-deny");
    if !shell::is_executable(&program) {
        say::step(&format!("installing cargo-deny {VERSION} into {} (some minutes, once)", home.display()));
        shell::run(
            Command::new("cargo")
                .args(["install", "--quiet", "--debug", "cargo-deny", "--version", VERSION, "--root"])
                .arg(&home)
                .env_remove("CARGO_TARGET_DIR"),
        )?;
    }
    let mut check = Command::new(program);
    check.args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]).current_dir(&workspace.root);
    Ok(check)
}
