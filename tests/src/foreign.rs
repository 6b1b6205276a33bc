//! Judges that nobody here wrote, installed by `cargo xtask setup`: npm's `hls-parser` and PyPI's `m3u8` read our playlists, PyPI's
//! `schemathesis` tries every operation of our OpenAPI document, PyPI's `duckdb` and `pyspark` read the lake's files.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use tokio::{io::AsyncWriteExt as _, process::Command};

const M3U8: &str = "m3u8-6.0.0";
const SCHEMATHESIS: &str = "schemathesis-4.32.5";
/// Requests it makes up for each operation and phase.
const EXAMPLES: &str = "10";

/// Holds both parsers to reading `playlists` and to finding the same in them; answers a line a playlist, such as `media 8`.
///
/// # Errors
/// When either refuses one, or they disagree.
pub async fn parse(playlists: &[String]) -> Result<Vec<String>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("foreign");
    let mut node = Command::new("node");
    node.arg("parse.mjs").current_dir(&folder);
    let mut python = Command::new("python3");
    python.arg("parse.py").current_dir(&folder).env("PYTHONPATH", tools()?.join(M3U8));
    let (ours, theirs) = (run(node, playlists).await?, run(python, playlists).await?);
    ensure!(ours == theirs, "hls-parser reads {ours:?}, m3u8 reads {theirs:?}");
    Ok(ours)
}

/// Lets schemathesis try every operation of the document at `base` under a session: no 5xx, and no status, media type or body that the
/// document does not describe.
///
/// # Errors
/// When it finds one; what it says is in the message.
pub async fn schemathesis(base: &str, access_token: &str) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    let output = Command::new("python3")
        .args(["-m", "schemathesis.cli", "run", &format!("{base}/openapi.json"), "--no-color", "--workers", "2"])
        .args(["--header", &format!("Authorization: Bearer {access_token}"), "--checks", checks])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES])
        .current_dir(directory.path())
        .env("PYTHONPATH", tools()?.join(SCHEMATHESIS))
        .output()
        .await
        .context("cannot start schemathesis")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "schemathesis: {said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// An engine that reads the lake's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// DuckDB.
    DuckDb,
    /// Apache Spark, on one machine.
    Spark,
}

impl Engine {
    /// Its name for `foreign/lake.py`, and the folder of its tool.
    const fn tool(self) -> (&'static str, &'static str) {
        match self {
            Self::DuckDb => ("duckdb", "duckdb-2.0.1"),
            Self::Spark => ("spark", "pyspark-4.3.0"),
        }
    }

    /// The rows with which it answers each of `queries` over an export of the lake in `folder`; nothing when an ordinary user's machine has no Java,
    /// which Spark runs on and only an administrator can add.
    ///
    /// # Errors
    /// When it is not there, or cannot read what it is asked about.
    pub async fn ask(self, folder: &Path, queries: &[&str]) -> Result<Option<serde_json::Value>> {
        let (name, tool) = self.tool();
        if self == Self::Spark && Command::new("java").arg("-version").output().await.is_err() {
            println!("skipped: no java for Spark (cargo xtask setup)");
            return Ok(None);
        }
        let mut python = Command::new("python3");
        python.arg("lake.py").arg(name).arg(folder).args(queries);
        python.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign")).env("PYTHONPATH", tools()?.join(tool));
        let output = python.env("SPARK_LOCAL_IP", "127.0.0.1").output().await.context("cannot start Python")?;
        ensure!(output.status.success(), "{self:?}: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&said).map(Some).with_context(|| format!("{self:?} said {said}"))
    }
}

/// Where `xtask` keeps tools of a pinned version.
fn tools() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))).context("no home directory")?;
    Ok(cache.join("antiphon/tools"))
}

async fn run(mut parser: Command, playlists: &[String]) -> Result<Vec<String>> {
    let mut child = parser.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start a parser")?;
    let lines: Vec<String> = playlists.iter().map(|text| serde_json::Value::from(text.as_str()).to_string()).collect();
    if let Some(mut input) = child.stdin.take() {
        input.write_all((lines.join("\n") + "\n").as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    ensure!(found.len() == playlists.len(), "{} of {} playlists were read", found.len(), playlists.len());
    Ok(found)
}
