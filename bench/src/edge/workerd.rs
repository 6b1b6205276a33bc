//! Processes of plain workerd, each with one Worker and a cache of its own: started, asked for the CPU they used, ended when dropped.
//!
//! Ours runs by the very configuration that people with their own machines use, edge/workerd/antiphon.capnp.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use super::{origin::Origin, scene::Scene};

const WORKERD: &str = "edge/node_modules/workerd/bin/workerd";
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// /proc tells user and system time in these when the kernel keeps no finer count (`getconf CLK_TCK`).
const TICKS_PER_S: u64 = 100;

/// Which Worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Answers `ok`.
    Empty,
    /// Only streams from the cache.
    Floor,
    /// edge/build.
    Ours,
    /// bench/workers/js.
    JavaScript,
    /// bench/workers/verify.js.
    Verify,
}

/// The programs and sources, found once.
#[derive(Debug)]
pub(crate) struct Workers {
    root: PathBuf,
    workerd: PathBuf,
    verify_module: Option<PathBuf>,
}

impl Workers {
    /// In the work tree at `root`.
    ///
    /// # Errors
    /// When workerd is not installed or the Worker not built.
    pub(crate) fn at(root: &Path) -> Result<Self> {
        let root = root.canonicalize()?;
        let workerd = root.join(WORKERD);
        for (file, remedy) in [(&workerd, "cargo xtask setup"), (&root.join("edge/build/index.js"), "cargo xtask build-edge")] {
            if !file.is_file() {
                bail!("{} is missing: {remedy}", file.display());
            }
        }
        Ok(Self { root, workerd, verify_module: None })
    }

    /// With the module that [`Kind::Verify`] needs.
    pub(crate) fn with_verify_module(&self, module: &Path) -> Self {
        Self { verify_module: Some(module.to_owned()), root: self.root.clone(), workerd: self.workerd.clone() }
    }

    /// Starts one and waits until it listens.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start(&self, kind: Kind, scene: &Scene, origin: &Origin) -> Result<Worker> {
        self.start_with(kind, scene.environment(&origin.url))
    }

    /// Starts one with these variables and waits until it listens.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start_with<N: AsRef<OsStr>>(&self, kind: Kind, environment: impl IntoIterator<Item = (N, String)>) -> Result<Worker> {
        let home = tempfile::tempdir()?;
        let config = self.place(kind, home.path())?;
        let heartbeats = home.path().join("heartbeats");
        fs::create_dir(&heartbeats)?;
        let mut command = Command::new(&self.workerd);
        command.arg("serve").arg(config).args(["--socket-addr", "edge=127.0.0.1:0", "--control-fd=1"]);
        if kind == Kind::Ours {
            command.arg("--directory-path").arg(format!("heartbeats={}", heartbeats.display()));
        }
        command.env_clear().envs(environment).stdin(Stdio::null()).stdout(Stdio::piped());
        let begun = Instant::now();
        let mut child = command.spawn().context("workerd cannot be started")?;
        let ready = listening(&mut child)?;
        let mut worker = Worker { child, url: String::new(), listening_after: Duration::ZERO, _home: home };
        let Ok((port, at)) = ready.recv_timeout(START_TIMEOUT) else { bail!("{kind:?} does not listen: its message is above") };
        worker.url = format!("http://127.0.0.1:{port}");
        worker.listening_after = at.duration_since(begun);
        Ok(worker)
    }

    /// The configuration to start from; `embed` reads beside it, so sources are copied there.
    fn place(&self, kind: Kind, home: &Path) -> Result<PathBuf> {
        let copy = |from: PathBuf, name: &str| fs::copy(&from, home.join(name)).map(drop).with_context(|| from.display().to_string());
        let workers = self.root.join("bench/workers");
        if kind == Kind::Ours {
            return Ok(self.root.join("edge/workerd/antiphon.capnp"));
        }
        copy(self.root.join("edge/workerd/cache.js"), "cache.js")?;
        let modules: Vec<(&str, PathBuf)> = match kind {
            Kind::Empty => vec![("worker.js", workers.join("empty.js"))],
            Kind::Floor => vec![("worker.js", workers.join("floor.js"))],
            Kind::JavaScript => {
                ["worker.js", "gateway.js", "rules.js", "tokens.js"].map(|name| (name, workers.join("js").join(name))).into()
            }
            Kind::Verify => {
                let module = self.verify_module.clone().context("the module to verify with is not named")?;
                vec![("worker.js", workers.join("verify.js")), ("tokens.js", workers.join("js/tokens.js")), ("verify.wasm", module)]
            }
            Kind::Ours => Vec::new(),
        };
        for (name, from) in &modules {
            copy(from.clone(), name)?;
        }
        let config = home.join("bench.capnp");
        let module = |name: &str| {
            let form = if name.ends_with(".wasm") { "wasm" } else { "esModule" };
            format!("(name = \"{name}\", {form} = embed \"{name}\")")
        };
        let modules = modules.iter().map(|(name, _)| module(name)).collect::<Vec<_>>().join(", ");
        fs::write(&config, CONFIG.replace("MODULES", &modules))?;
        Ok(config)
    }
}

/// As edge/workerd/antiphon.capnp, with another Worker.
const CONFIG: &str = r#"
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "bench", worker = .bench), (name = "cache", worker = .cache), (name = "network", network = (allow = ["public", "private"]))],
  sockets = [(name = "edge", address = "127.0.0.1:0", http = (cfBlobHeader = "antiphon-cf", forwardedProtoHeader = "x-forwarded-proto"), service = "bench")],
);
const bench :Workerd.Worker = (
  compatibilityDate = "2026-11-01",
  modules = [MODULES],
  bindings = [
    (name = "ENVIRONMENT", fromEnvironment = "ENVIRONMENT"),
    (name = "GATEWAY_URL", fromEnvironment = "GATEWAY_URL"),
    (name = "GATEWAY_PUBLIC_URL", fromEnvironment = "GATEWAY_PUBLIC_URL"),
    (name = "BUFFER_SHARDS", fromEnvironment = "BUFFER_SHARDS"),
    (name = "TOKEN_KEYS", fromEnvironment = "TOKEN_KEYS"),
    (name = "SESSION_JWKS", fromEnvironment = "SESSION_JWKS"),
    (name = "EDGE_SECRET", fromEnvironment = "EDGE_SECRET"),
  ],
  cacheApiOutbound = "cache",
  globalOutbound = "network",
);
const cache :Workerd.Worker = (
  compatibilityDate = "2026-11-01",
  modules = [(name = "cache.js", esModule = embed "cache.js")],
  bindings = [(name = "CACHE_MEGABYTES", fromEnvironment = "CACHE_MEGABYTES")],
);
"#;

/// A running Worker; its process ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    /// Where it answers.
    pub(crate) url: String,
    /// From the start of the process until it listened.
    pub(crate) listening_after: Duration,
    _home: TempDir,
}

impl Worker {
    /// User and system time of the process so far.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        match scheduled(&process) {
            Some(time) if !time.is_zero() => Ok(time),
            _ => ticks(&process),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has nothing to save.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Run time of every thread in nanoseconds, where the kernel tells it (`schedstat`): utime and stime are the same count in hundredths.
fn scheduled(process: &Path) -> Option<Duration> {
    let mut total_ns = 0;
    for thread in fs::read_dir(process.join("task")).ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        total_ns += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(total_ns))
}

fn ticks(process: &Path) -> Result<Duration> {
    let text = fs::read_to_string(process.join("stat")).context("workerd has ended")?;
    // The second field, the program's name in brackets, may hold spaces.
    let fields: Vec<&str> = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 1_000 / TICKS_PER_S))
}

/// The port, and when it was told. What the Worker logs comes down the same pipe and is dropped.
fn listening(child: &mut Child) -> Result<mpsc::Receiver<(u64, Instant)>> {
    let stdout = child.stdout.take().context("no stdout")?;
    let (sender, ready) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let event = serde_json::from_slice::<Value>(&line).unwrap_or_default();
            if event.get("event").and_then(Value::as_str) == Some("listen")
                && let Some(port) = event.get("port").and_then(Value::as_u64)
            {
                // Nobody waits any more: fine.
                let _ = sender.send((port, Instant::now()));
            }
        }
    });
    Ok(ready)
}
