//! `cargo xtask deny`: the dependencies against deny.toml. Not part of the tests: cargo-deny takes minutes to build,
//! and its database of advisories is fetched from a host that a closed network refuses.
use std::process::Command;

use anyhow::Result;

use crate::{say, shell, workspace::Workspace};

const VERSION: &str = "0.20.2";

pub(crate) fn main() -> Result<()> {
    let workspace = Workspace::find()?;
    let home = workspace.tool("cargo-deny", VERSION);
    let program = home.join("bin/cargo-deny");
    if !shell::is_executable(&program) {
        say::step(&format!("installing cargo-deny {VERSION} into {} (some minutes, once)", home.display()));
        shell::run(
            Command::new("cargo")
                .args(["install", "--quiet", "cargo-deny", "--version", VERSION, "--root"])
                .arg(&home)
                .env_remove("CARGO_TARGET_DIR"),
        )?;
    }
    shell::run(Command::new(program).args(["check", "licenses", "bans", "sources"]).current_dir(&workspace.root))
}
