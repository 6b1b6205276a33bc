//! A system of the benchmark's own, started by `xtask run`, and before it a plain workerd with edge/build, as on machines of one's own. All of it
//! ends when dropped.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use protocol::keys::TokenKeys;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::cpu;
use crate::edge::workerd;

const START_TIMEOUT: Duration = Duration::from_secs(180);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// The running parts.
#[derive(Debug)]
pub(crate) struct Site {
    edge: workerd::Worker,
    system: Child,
    /// Signs the tickets.
    pub(crate) keys: TokenKeys,
    /// Where royalty takes batches.
    pub(crate) royalty: String,
    /// The owner's address of the database.
    pub(crate) database: String,
    parts: Vec<Part>,
    runtime: Runtime,
    home: TempDir,
}

#[derive(Debug, Deserialize)]
struct Run {
    gateway: String,
    database: String,
    parts: Vec<Part>,
}

#[derive(Debug, Deserialize)]
struct Part {
    name: String,
    pid: u32,
}

/// CPU of each part so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// workerd: the Worker and its buffers.
    pub(crate) edge: Duration,
    /// The gateway.
    pub(crate) gateway: Duration,
    /// The collector, and the fold that makes listens.
    pub(crate) royalty: Duration,
    /// PostgreSQL, all of its processes.
    pub(crate) postgres: Duration,
}

impl Cpu {
    /// What was used since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            edge: self.edge.saturating_sub(before.edge),
            gateway: self.gateway.saturating_sub(before.gateway),
            royalty: self.royalty.saturating_sub(before.royalty),
            postgres: self.postgres.saturating_sub(before.postgres),
        }
    }
}

impl Site {
    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// When a part does not come up.
    pub(crate) fn start(root: &Path, xtask: &Path, dev: bool) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("antiphon-bench-").tempdir()?;
        let state = home.path().join("system");
        let said = File::create(home.path().join("xtask.log"))?;
        let system = Command::new(xtask)
            .args(["run", "--ports", "auto", "--no-demo", "--no-build", if dev { "--dev" } else { "--release" }])
            .arg("--state")
            .arg(&state)
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .with_context(|| format!("{} cannot be started", xtask.display()))?;
        let mut starting = Starting(Some(system));
        let run = starting.ready(&state, home.path())?;
        let keys = TokenKeys::parse(&fs::read_to_string(state.join("keys/token.json"))?)?;
        let config = fs::read_to_string(state.join("antiphon.toml"))?;
        let royalty = config.lines().find_map(|line| line.strip_prefix("royalty = ")).context("no address of royalty")?;
        let vars: Value = serde_json::from_str(&fs::read_to_string(state.join("edge-vars.json"))?)?;
        let environment =
            vars.as_object().into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        let mut environment: Vec<(String, String)> = environment.collect();
        environment.push(("GATEWAY_URL".to_owned(), run.gateway.clone()));
        let edge = workerd::Workers::at(root)?.start_with(workerd::Kind::Ours, environment)?;
        Ok(Self {
            edge,
            system: starting.0.take().context("the system is there until now")?,
            keys,
            royalty: format!("http://{}", royalty.trim_matches('"')),
            database: run.database,
            parts: run.parts,
            runtime: Builder::new_current_thread().enable_all().build()?,
            home,
        })
    }

    /// Where players post.
    pub(crate) fn edge(&self) -> &str {
        &self.edge.url
    }

    /// A directory on the disk that everything else is on.
    pub(crate) fn directory(&self) -> &Path {
        self.home.path()
    }

    /// Runs something asynchronous to its end.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// CPU used so far.
    ///
    /// # Errors
    /// When workerd has ended.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let pid =
            |name: &str| self.parts.iter().find(|part| part.name == name).map(|part| part.pid).with_context(|| format!("no {name} runs"));
        Ok(Cpu {
            edge: self.edge.cpu()?,
            gateway: cpu::of(pid("gateway")?),
            royalty: cpu::of(pid("royalty")?),
            postgres: self.postgres_cpu()?,
        })
    }

    /// PostgreSQL's CPU so far.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) fn postgres_cpu(&self) -> Result<Duration> {
        let server = self.parts.iter().find(|part| part.name == "postgres").context("no postgres runs")?;
        Ok(cpu::of_family(server.pid))
    }

    /// Royalty's CPU so far.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) fn royalty_cpu(&self) -> Result<Duration> {
        Ok(self.cpu()?.royalty)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        stop(&mut self.system);
    }
}

/// A system that is not ready yet.
struct Starting(Option<Child>);

impl Starting {
    fn ready(&mut self, state: &Path, home: &Path) -> Result<Run> {
        let begun = Instant::now();
        loop {
            if let Some(run) = fs::read_to_string(state.join("run.json")).ok().and_then(|text| serde_json::from_str(&text).ok()) {
                return Ok(run);
            }
            let ended = self.0.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || begun.elapsed() > START_TIMEOUT {
                bail!("the system did not start:\n{}", fs::read_to_string(home.join("xtask.log")).unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(system) = &mut self.0 {
            stop(system);
        }
    }
}

/// In good order, so that PostgreSQL and the roles end with it; by force when that takes too long.
fn stop(system: &mut Child) {
    let _ = Command::new("kill").args(["-TERM", &system.id().to_string()]).status();
    let begun = Instant::now();
    while matches!(system.try_wait(), Ok(None)) && begun.elapsed() < STOP_TIMEOUT {
        thread::sleep(Duration::from_millis(50));
    }
    let _ = system.kill();
    let _ = system.wait();
}
