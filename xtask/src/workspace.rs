//! Where things are: the work tree, the target directory, and the cache of tools. Everything else asks here.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The work tree and the places derived from it.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    /// The directory of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, which may be shared or elsewhere (`CARGO_TARGET_DIR`).
    pub(crate) target: PathBuf,
    /// Tools that belong to no work tree: `$XDG_CACHE_HOME/antiphon/tools`.
    pub(crate) tools: PathBuf,
}

impl Workspace {
    /// Finds the work tree above the current directory, else the one this program was compiled in.
    pub(crate) fn find() -> Result<Self> {
        let here = std::env::current_dir().context("the current directory cannot be read")?;
        let root = here
            .ancestors()
            .find(|directory| is_root(directory))
            .map(Path::to_path_buf)
            .or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).parent().filter(|parent| is_root(parent)).map(Path::to_path_buf));
        let Some(root) = root else { bail!("no Antiphon work tree above {}: change into one", here.display()) };

        // This program lies in TARGET/debug, so its own path tells where cargo builds, whatever set that.
        let target = std::env::current_exe()
            .ok()
            .and_then(|program| program.ancestors().nth(2).map(Path::to_path_buf))
            .unwrap_or_else(|| root.join("target"));
        Ok(Self { target, tools: cache()?.join("tools"), root })
    }

    /// The binary `antiphon` of a profile.
    pub(crate) fn antiphon(&self, profile: Profile) -> PathBuf {
        self.target.join(profile.directory()).join("antiphon")
    }

    /// The directory of one version of a tool, so that two work trees may want different ones.
    pub(crate) fn tool(&self, name: &str, version: &str) -> PathBuf {
        self.tools.join(format!("{name}-{version}"))
    }
}

/// Which build of our own code: optimised to run, or quick to compile for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Release,
    Dev,
}

impl Profile {
    /// Cargo's name of the output directory.
    pub(crate) fn directory(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "debug",
        }
    }
}

/// `$XDG_CACHE_HOME/antiphon`, else `~/.cache/antiphon`.
pub(crate) fn cache() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME names a directory for the tools: set one")?.join("antiphon"))
}

fn is_root(directory: &Path) -> bool {
    directory.join("xtask/Cargo.toml").is_file() && directory.join("Cargo.toml").is_file()
}
