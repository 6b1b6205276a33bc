//! What the parts are told: the configuration file that every role reads. And the demo's log-ins, as the binary tells them.
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{ports::Ports, state::State};

/// Name of the configuration file below the state directory.
pub(crate) const CONFIG: &str = "antiphon.toml";

/// How to log in as somebody.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Login {
    pub(crate) email: String,
    pub(crate) password: String,
}

/// One account of each kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Accounts {
    pub(crate) listener: Login,
    pub(crate) artist: Login,
    pub(crate) admin: Login,
}

/// Writes the configuration of this start.
pub(crate) fn write_config(state: &State, ports: &Ports, database_url: &str, ffmpeg: &Path) -> Result<()> {
    let mut listen = String::new();
    for (part, port) in ports.iter().filter(|(part, _)| !matches!(*part, "edge" | "postgres")) {
        listen.push_str(&format!("{part} = \"127.0.0.1:{port}\"\n"));
    }
    let (edge, gateway, store) = (ports.of("edge")?, ports.of("gateway")?, ports.of("store")?);
    let text = format!(
        r#"# Written by `cargo xtask run` at every start; change a setting with `cargo xtask run --set section.key=value`.
[deployment]
mode = "local"

[listen]
{listen}
[public]
edge = "http://127.0.0.1:{edge}"
gateway = "http://127.0.0.1:{gateway}"
object_store = "http://127.0.0.1:{store}"

[database]
url = {database}

[objects]
endpoint = "http://127.0.0.1:{store}"

[keys]
dir = {keys}

[state]
dir = {dir}

[ingest]
ffmpeg = {ffmpeg}
"#,
        database = quoted(database_url),
        keys = quoted(&state.path("keys").to_string_lossy()),
        dir = quoted(&state.path("").to_string_lossy()),
        ffmpeg = quoted(&ffmpeg.to_string_lossy()),
    );
    state.write(CONFIG, &text)
}

/// A TOML basic string; JSON's escapes are a subset of TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
