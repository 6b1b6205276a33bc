//! `cargo xtask bench NAME`: one benchmark of the crate `bench`, optimised.
use std::process::Command;

use anyhow::{Result, bail};

use crate::{shell, workspace::Workspace};

/// `cargo xtask bench`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of a benchmark: a file of bench/benches/ without its ending
    name: String,
    /// Passed on to the benchmark
    #[arg(trailing_var_arg = true)]
    rest: Vec<String>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let workspace = Workspace::find()?;
    let mut names: Vec<String> = std::fs::read_dir(workspace.root.join("bench/benches"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort();
    if !names.contains(&args.name) {
        let known = if names.is_empty() { "none yet".to_owned() } else { names.join(", ") };
        bail!("there is no benchmark called {}; there are: {known}", args.name);
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["bench", "--package", "bench", "--bench", &args.name, "--target-dir"]).arg(&workspace.target);
    shell::run(cargo.arg("--").args(&args.rest).current_dir(&workspace.root))
}
