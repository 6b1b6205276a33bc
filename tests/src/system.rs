//! A running system of its own: started by `xtask run` on free ports in a temporary directory, stopped when dropped.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// What `run.json` says (API.md, "A running system describes itself").
#[derive(Debug, Clone, Deserialize)]
pub struct Run {
    /// The edge's address.
    pub edge: String,
    /// The gateway's address.
    pub gateway: String,
    /// The object store's address.
    pub object_store: String,
    /// The database's address.
    pub database: String,
    /// The demo accounts.
    pub accounts: Accounts,
    /// The processes.
    pub parts: Vec<Part>,
}

/// Accounts that exist from the start.
#[derive(Debug, Clone, Deserialize)]
pub struct Accounts {
    /// Listens.
    pub listener: Credentials,
    /// Uploads.
    pub artist: Credentials,
    /// Settles.
    pub admin: Credentials,
}

/// A log-in.
#[derive(Debug, Clone, Deserialize)]
pub struct Credentials {
    /// The address.
    pub email: String,
    /// The password.
    pub password: String,
}

/// One process.
#[derive(Debug, Clone, Deserialize)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its id now.
    pub pid: i32,
}

/// A system under test.
pub struct System {
    child: Child,
    /// Where everything of it lives.
    pub state: PathBuf,
    /// Kept so that the directory goes with the system.
    _directory: tempfile::TempDir,
    /// What it said when it was ready.
    pub run: Run,
}

const START_LIMIT: Duration = Duration::from_secs(120);

impl System {
    /// Starts a system and waits until it says that every part is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; its own output is in the message.
    pub fn start() -> Result<Self> {
        Self::start_as("--dev")
    }

    /// As [`Self::start`], of the build that `profile` names as `xtask run` does: `--dev` or `--release`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_as(profile: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("antiphon-test-").tempdir()?;
        let state = directory.path().to_owned();
        let output = state.join("xtask.out");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace root")?;
        let child = Command::new(sibling_binary("xtask")?)
            .args(["run", "--ports", "auto", "--no-demo", "--no-build", profile, "--state"])
            .arg(&state)
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::options().append(true).open(&output)?)
            .spawn()
            .context("cannot start xtask")?;
        let mut system = Starting { child: Some(child) };
        let started = Instant::now();
        loop {
            if let Ok(run) = read_run(&state) {
                let child = system.child.take().context("the child is there until now")?;
                return Ok(Self { child, state, _directory: directory, run });
            }
            let ended = system.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || started.elapsed() > START_LIMIT {
                let said = std::fs::read_to_string(&output).unwrap_or_default();
                bail!("the system did not start ({ended:?}):\n{said}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The parts as they are now: a part that was restarted has a new process id.
    ///
    /// # Errors
    /// When `run.json` cannot be read.
    pub fn parts(&self) -> Result<Vec<Part>> {
        Ok(read_run(&self.state)?.parts)
    }

    /// The address that a role listens on, as the system's configuration says.
    ///
    /// # Errors
    /// When the configuration does not name it.
    pub fn address(&self, role: &str) -> Result<String> {
        let config = std::fs::read_to_string(self.state.join("antiphon.toml"))?;
        let address = config.lines().find_map(|line| line.strip_prefix(&format!("{role} = ")));
        Ok(format!("http://{}", address.with_context(|| format!("no address of {role}"))?.trim_matches('"')))
    }

    /// `kill -9` on the part of this name; answers the process id it had.
    ///
    /// # Errors
    /// When there is no such part.
    pub fn kill(&self, name: &str) -> Result<i32> {
        let part = self.parts()?.into_iter().find(|part| part.name == name).with_context(|| format!("no part is called {name}"))?;
        signal(part.pid, libc::SIGKILL);
        Ok(part.pid)
    }
}

impl Drop for System {
    fn drop(&mut self) {
        stop(&mut self.child);
        if std::env::var_os("ANTIPHON_KEEP_LOGS").is_some() {
            let kept = std::env::temp_dir().join("antiphon-test-logs");
            let _ = std::fs::remove_dir_all(&kept);
            let _ = Command::new("cp").arg("-r").arg(self.state.join("log")).arg(&kept).status();
            let _ = Command::new("cp").arg(self.state.join("xtask.out")).arg(&kept).status();
        }
    }
}

/// Stops the child should the start fail.
struct Starting {
    child: Option<Child>,
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            stop(child);
        }
    }
}

fn stop(child: &mut Child) {
    let Ok(pid) = i32::try_from(child.id()) else { return };
    signal(pid, libc::SIGTERM);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(30) {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[expect(unsafe_code, reason = "kill(2) takes two integers and touches no memory of ours")]
fn signal(pid: i32, number: i32) {
    // SAFETY: no pointers are involved; a pid that is gone gives ESRCH.
    unsafe { libc::kill(pid, number) };
}

fn read_run(state: &Path) -> Result<Run> {
    Ok(serde_json::from_slice(&std::fs::read(state.join("run.json"))?)?)
}

/// A binary of this workspace, built beside this program: a test lives in target/<profile>/deps, another program in target/<profile>.
fn sibling_binary(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let profile = program.ancestors().skip(1).find(|directory| !directory.ends_with("deps")).context("a directory above this program")?;
    let binary = profile.join(name);
    anyhow::ensure!(binary.exists(), "{} is not built: run `cargo build` first", binary.display());
    Ok(binary)
}
