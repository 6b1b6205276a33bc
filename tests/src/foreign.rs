//! Playlist parsers that nobody here wrote: npm's `hls-parser` and PyPI's `m3u8`, installed by `cargo xtask setup`.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use tokio::{io::AsyncWriteExt as _, process::Command};

const M3U8: &str = "m3u8-6.0.0";

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
