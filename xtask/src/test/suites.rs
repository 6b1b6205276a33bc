//! The suites: what each runs, and how its outcome is read.
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{linted, tally::Tally};
use crate::{
    build, deny, say,
    setup::{debian, node},
    shell,
    workspace::Workspace,
};

/// A system for the browser must be up and filled by then.
const SYSTEM_WITHIN: Duration = Duration::from_secs(300);

/// One suite of tests.
pub(crate) enum Suite {
    /// Unit, integration and whole-system tests of every crate.
    Rust,
    /// Every crate and its tests against the lints of Cargo.toml.
    Lint,
    /// The dependencies' licences and origins.
    Deny,
    /// Unit tests of the web page.
    Page,
    /// Tests of the built Worker in its runtime.
    Edge,
    /// The Worker packed for deployment, without deploying it.
    Deploy,
    /// The k6 journeys against k6's own types.
    Journeys,
    /// The simulator of bitrate choice: deterministic, and right where a hand can reckon.
    Simulator,
    /// The page in a browser, playing music from a running system.
    Browser,
}

impl Suite {
    /// Quick ones first among those that need no system.
    pub(crate) const ALL: [Self; 9] =
        [Self::Lint, Self::Deny, Self::Page, Self::Edge, Self::Deploy, Self::Journeys, Self::Simulator, Self::Rust, Self::Browser];

    /// The name it is asked for by.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Lint => "lint",
            Self::Deny => "deny",
            Self::Page => "page",
            Self::Edge => "edge",
            Self::Deploy => "deploy",
            Self::Journeys => "journeys",
            Self::Simulator => "simulator",
            Self::Browser => "browser",
        }
    }

    /// What it tests, in words.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Rust => "the crates, then whole systems",
            Self::Lint => "clippy finds nothing",
            Self::Deny => "the dependencies are free software from known places (cargo deny)",
            Self::Page => "the page's own code",
            Self::Edge => "the Worker in workerd",
            Self::Deploy => "the Worker is fit to deploy (wrangler deploy --dry-run)",
            Self::Journeys => "the k6 journeys are valid k6",
            Self::Simulator => "the simulator of bitrate choice",
            Self::Browser => "the page in a browser",
        }
    }

    /// Runs it to its end. Tests that fail are counted; an error means that the suite could not run.
    pub(crate) fn run(&self, workspace: &Workspace, filter: Option<&str>) -> Result<Tally> {
        match self {
            Self::Rust => counted(&mut cargo(workspace, filter)?),
            Self::Lint => lint(workspace),
            Self::Deny => counted(&mut deny::check(workspace)?),
            Self::Page => counted(&mut node::script(workspace, "web", "test")?),
            Self::Edge => counted(&mut node::script(workspace, "edge", "test")?),
            Self::Deploy => counted(&mut deploy(workspace)?),
            Self::Journeys => counted(&mut node::script(workspace, "loadtest", "check")?),
            Self::Simulator => counted(&mut node::script(workspace, "bench/simulator", "test")?),
            Self::Browser => browser(workspace),
        }
    }
}

/// The same selection of packages as the build before it, so that nothing is built again.
fn cargo(workspace: &Workspace, filter: Option<&str>) -> Result<Command> {
    let mut command = linted(workspace, &["test", "--workspace", "--no-fail-fast"])?;
    command.args(filter);
    Ok(command)
}

/// clippy found what it found during the build; of what is built already, cargo says it again.
fn lint(workspace: &Workspace) -> Result<Tally> {
    let output = linted(workspace, &["build", "--workspace", "--lib", "--bins", "--tests"])?.output().context("cargo cannot be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    // "warning: `royalty` (lib) generated 1 warning"
    if output.status.success() && !said.contains(" generated ") {
        return Ok(Tally { passed: 1, ..Tally::default() });
    }
    say::result(&said);
    Ok(Tally { failed: 1, ..Tally::default() })
}

/// wrangler runs the `[build]` command of its configuration, which is worker-build.
fn deploy(workspace: &Workspace) -> Result<Command> {
    let mut command = Command::new(node::node(workspace)?);
    command.arg(node::edge_module(workspace, "wrangler/bin/wrangler.js")).args(["deploy", "--dry-run", "--env", "", "--outdir"]);
    command.arg(workspace.target.join("wrangler-dry-run")).current_dir(&workspace.root);
    command.env("WRANGLER_SEND_METRICS", "false");
    build::with_worker_tools(workspace, &mut command)?;
    Ok(command)
}

fn browser(workspace: &Workspace) -> Result<Tally> {
    let Some(chromium) = debian::chromium() else {
        say::warning("there is no browser: install the package chromium, or name one with CHROMIUM_BIN");
        return Ok(Tally { failed: 1, ..Tally::default() });
    };
    let system = Running::start(workspace)?;
    let mut test = node::script(workspace, "web", "test:browser")?;
    // The system is the test's own, so the test may kill its edge while music plays.
    test.env("ANTIPHON_RUN_JSON", system.state.join("run.json")).env("ANTIPHON_KILL_EDGE", "1").env("CHROMIUM_BIN", chromium);
    counted(&mut test)
}

/// Runs a suite, shows what it prints, and counts. A runner that counts nothing is one test, judged by how it ends.
fn counted(command: &mut Command) -> Result<Tally> {
    let mut child = command
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} cannot be started", shell::spelled(command)))?;
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            tally.count(&line);
            say::result(&line);
        }
    }
    let status = child.wait()?;
    match (status.success(), tally.failed, tally.passed) {
        (true, 0, 0) => tally.passed = 1,
        (false, 0, _) => {
            say::warning(&format!("{} ended with {status}", shell::spelled(command)));
            tally.failed = 1;
        }
        _ => {}
    }
    Ok(tally)
}

/// A system of its own in a temporary directory, stopped when dropped.
struct Running {
    child: Child,
    state: PathBuf,
}

impl Running {
    fn start(workspace: &Workspace) -> Result<Self> {
        let state = std::env::temp_dir().join(format!("antiphon-browser-{}", std::process::id()));
        let child = Command::new(workspace.target.join("debug/xtask"))
            .args(["run", "--ports", "auto", "--no-build", "--dev", "--state"])
            .arg(&state)
            .current_dir(&workspace.root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("a system for the browser cannot be started")?;
        let mut system = Self { child, state };
        let deadline = Instant::now() + SYSTEM_WITHIN;
        while !system.state.join("run.json").exists() {
            if let Some(status) = system.child.try_wait()? {
                bail!("the system for the browser ended with {status}");
            }
            if Instant::now() > deadline {
                bail!("the system for the browser was not ready after {} s", SYSTEM_WITHIN.as_secs());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(system)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.state);
    }
}
