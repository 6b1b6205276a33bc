//! The two programs that make a Worker of Rust code, each in a directory named for its version.
//!
//! worker-build would download both of its helpers from hosts that a closed network refuses; it uses the ones it is
//! told about instead (`WASM_BINDGEN_BIN` and friends, see `build.rs`).
use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{say, shell, workspace::Workspace};

/// The version must equal that of the crate `wasm-bindgen` in the workspace's Cargo.toml.
const WASM_BINDGEN: Tool = Tool { package: "wasm-bindgen-cli", version: "0.2.130", program: "wasm-bindgen", opt_level: "1" };
const WORKER_BUILD: Tool = Tool { package: "worker-build", version: "0.8.7", program: "worker-build", opt_level: "0" };

struct Tool {
    package: &'static str,
    version: &'static str,
    program: &'static str,
    /// They run for seconds and are compiled for minutes: this decides how many.
    opt_level: &'static str,
}

impl Tool {
    fn path(&self, workspace: &Workspace) -> PathBuf {
        workspace.tool(self.package, self.version).join("bin").join(self.program)
    }
}

/// Compiles the ones that are missing; this takes some minutes, once.
pub(super) fn ensure(workspace: &Workspace) -> Result<()> {
    for tool in [WASM_BINDGEN, WORKER_BUILD] {
        if shell::is_executable(&tool.path(workspace)) {
            continue;
        }
        let home = workspace.tool(tool.package, tool.version);
        say::step(&format!("installing {} {} into {} (some minutes, once)", tool.package, tool.version, home.display()));
        // Not `--locked`: a registry mirror may lag behind the lock file that the package was published with.
        shell::run(
            Command::new("cargo")
                .args(["install", "--quiet", "--force", tool.package, "--version", tool.version, "--root"])
                .arg(&home)
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", tool.opt_level)
                .env_remove("CARGO_TARGET_DIR"),
        )
        .with_context(|| format!("{} could not be built", tool.package))?;
    }
    Ok(())
}

/// `wasm-bindgen`, of exactly the workspace's version.
pub(crate) fn wasm_bindgen(workspace: &Workspace) -> PathBuf {
    WASM_BINDGEN.path(workspace)
}

/// `worker-build`.
pub(crate) fn worker_build(workspace: &Workspace) -> PathBuf {
    WORKER_BUILD.path(workspace)
}
