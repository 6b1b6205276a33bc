//! Debian packages: which are needed for what, and how to see without asking apt whether each is there.
use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use super::Purpose;
use crate::{say, shell};

/// One thing the machine must have.
struct Package {
    debian: &'static str,
    needed_for: &'static str,
    from: Purpose,
    present: fn() -> bool,
    without: Without,
}

/// What follows when a package cannot be installed.
#[derive(PartialEq, Eq)]
enum Without {
    /// Nothing can be built.
    Impossible,
    /// Another source is tried, or something is left out and says so itself.
    Replaced,
}

const PACKAGES: &[Package] = &[
    Package {
        debian: "build-essential",
        needed_for: "linking Rust programs",
        from: Purpose::Build,
        present: || shell::find("cc").is_some() && shell::find("c++").is_some() && shell::find("make").is_some(),
        without: Without::Impossible,
    },
    Package {
        debian: "cmake",
        needed_for: "the gateway's zlib",
        from: Purpose::Build,
        present: || shell::find("cmake").is_some(),
        without: Without::Impossible,
    },
    Package {
        debian: "pkg-config",
        needed_for: "finding OpenSSL",
        from: Purpose::Build,
        present: || shell::find("pkg-config").is_some(),
        without: Without::Impossible,
    },
    Package {
        debian: "libssl-dev",
        needed_for: "building worker-build",
        from: Purpose::Build,
        present: || Command::new("pkg-config").args(["--exists", "openssl"]).status().is_ok_and(|status| status.success()),
        without: Without::Impossible,
    },
    Package {
        debian: "npm",
        needed_for: "the Worker's and the page's tools",
        from: Purpose::Build,
        present: || shell::find("npm").is_some(),
        without: Without::Impossible,
    },
    Package {
        debian: "ffmpeg",
        needed_for: "encoding uploads",
        from: Purpose::Run,
        present: || shell::find("ffmpeg").is_some(),
        without: Without::Replaced,
    },
    Package {
        debian: "postgresql",
        needed_for: "the catalogue and the ledger",
        from: Purpose::Run,
        present: || super::postgres::installed().is_some(),
        without: Without::Replaced,
    },
    Package {
        debian: "wesnoth-1.16-music",
        needed_for: "music to begin with",
        from: Purpose::Run,
        present: || music().is_some(),
        without: Without::Replaced,
    },
    Package {
        debian: "python3-venv",
        needed_for: "the tests' foreign readers of our answers",
        from: Purpose::Test,
        present: super::pypi::installable,
        without: Without::Replaced,
    },
    Package {
        debian: "default-jre-headless",
        needed_for: "the Kafka broker and the Spark of two tests",
        from: Purpose::Test,
        present: || shell::find("java").is_some(),
        without: Without::Replaced,
    },
    Package {
        debian: "maven",
        needed_for: "fetching that broker",
        from: Purpose::Test,
        present: || shell::find("mvn").is_some(),
        without: Without::Replaced,
    },
    Package {
        debian: "nginx-light",
        needed_for: "the test of the front proxy before plain workerd",
        from: Purpose::Test,
        // Users other than root do not have sbin on their path.
        present: || shell::find("nginx").is_some() || shell::is_executable(Path::new("/usr/sbin/nginx")),
        without: Without::Replaced,
    },
    Package {
        debian: "chromium",
        needed_for: "the browser test",
        from: Purpose::Test,
        present: || chromium().is_some(),
        without: Without::Replaced,
    },
];

/// Installs the missing packages when this is root on a Debian system; else says which of them the build cannot do without.
pub(super) fn ensure(purpose: Purpose) -> Result<()> {
    let missing = || PACKAGES.iter().filter(|package| package.from <= purpose && !(package.present)());
    let wanted: Vec<&Package> = missing().collect();
    if wanted.is_empty() {
        return Ok(());
    }
    if shell::is_root() && shell::find("apt-get").is_some() {
        for package in &wanted {
            say::step(&format!("installing the Debian package {} ({})", package.debian, package.needed_for));
        }
        install(&wanted.iter().map(|package| package.debian).collect::<Vec<_>>());
    }
    let impossible: Vec<&str> = missing().filter(|package| package.without == Without::Impossible).map(|package| package.debian).collect();
    if !impossible.is_empty() {
        bail!("the build needs what is not installed; on Debian, as root: apt-get install {}", impossible.join(" "));
    }
    for package in missing().filter(|package| package.debian == "chromium") {
        say::warning(&format!("{} is missing ({}); on Debian, as root: apt-get install chromium", package.debian, package.needed_for));
    }
    Ok(())
}

/// A failure is judged afterwards by what is still missing: a package that has another source is no reason to stop.
pub(super) fn install(packages: &[&str]) {
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let installed = shell::output(apt().args(["update", "-q"]))
        .and_then(|_| shell::output(apt().args(["install", "-q", "-y", "--no-install-recommends"]).args(packages)));
    if let Err(error) = installed {
        say::warning(&format!("{error:#}"));
    }
}

/// The folder of the demo's music, once its package is installed.
pub(crate) fn music() -> Option<std::path::PathBuf> {
    let versions = std::fs::read_dir("/usr/share/games/wesnoth").ok()?;
    versions.flatten().map(|version| version.path().join("data/core/music")).find(|folder| folder.is_dir())
}

/// A browser for the browser test: `CHROMIUM_BIN`, else one on the path.
pub(crate) fn chromium() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("CHROMIUM_BIN").map(std::path::PathBuf::from).filter(|file| shell::is_executable(file));
    named
        .or_else(|| ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(shell::find))
        .filter(|file| Path::new(file).exists())
}
