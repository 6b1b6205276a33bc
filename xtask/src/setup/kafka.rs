//! A Kafka broker for the contract suite of royalty's intake: its jars, by Maven from `xtask/kafka/pom.xml`, each checked against
//! `xtask/kafka/jars.sha256` every time. Java and Maven are Debian's.
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{say, shell, workspace::Workspace};

const VERSION: &str = "4.4.0";

/// Downloads the jars when they are not there. Without Java or Maven that is said, and the suite says it again.
pub(super) fn ensure(workspace: &Workspace) -> Result<()> {
    let home = workspace.tool("kafka", VERSION);
    if are_whole(workspace, &home).is_ok() {
        return Ok(());
    }
    if shell::find("java").is_none() || shell::find("mvn").is_none() {
        say::warning("java or mvn is missing (the Kafka broker of a test); on Debian, as root: apt-get install default-jre-headless maven");
        return Ok(());
    }
    say::step(&format!("installing Kafka {VERSION} by Maven into {} (45 MB, once)", home.display()));
    let partial = home.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    let _ = fs::remove_dir_all(&home);
    shell::output(
        Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(workspace.root.join("xtask/kafka/pom.xml"))
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", partial.display())),
    )?;
    are_whole(workspace, &partial)?;
    fs::rename(&partial, &home).with_context(|| format!("{} cannot be made", home.display()))
}

/// Whether exactly the listed jars are in `folder`, with the listed digests.
fn are_whole(workspace: &Workspace, folder: &Path) -> Result<()> {
    let list: PathBuf = workspace.root.join("xtask/kafka/jars.sha256");
    let text = fs::read_to_string(&list).with_context(|| format!("{} cannot be read", list.display()))?;
    let listed: BTreeSet<String> = text.lines().filter_map(|line| Some(line.split_once("  ")?.1.to_owned())).collect();
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let present: BTreeSet<String> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    if listed != present {
        let strange: Vec<&String> = listed.symmetric_difference(&present).collect();
        bail!("the jars in {} are not the ones listed in {}: {strange:?}", folder.display(), list.display());
    }
    shell::output(Command::new("sha256sum").args(["--check", "--strict", "--quiet"]).arg(&list).current_dir(folder)).map(drop)
}
