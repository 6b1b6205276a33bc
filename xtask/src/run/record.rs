//! run.json: a running system describes itself (API.md). Written when everything is ready and again whenever a part
//! has a new process id; removed on a clean stop.
use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{ports::Ports, settings::Accounts, state::State};

const RECORD: &str = "run.json";
/// What the supervisor of the roles writes about them, in the same shape.
const PROCESSES: &str = "processes.json";

/// One running program of the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) log: PathBuf,
}

/// The whole description.
#[derive(Serialize)]
pub(crate) struct Record {
    pub(crate) edge: String,
    pub(crate) gateway: String,
    object_store: String,
    database: String,
    pub(crate) page: String,
    accounts: Accounts,
    parts: Vec<Entry>,
}

impl Record {
    /// Describes a system that has no parts yet.
    pub(crate) fn new(ports: &Ports, database: &str, accounts: &Accounts) -> Result<Self> {
        let url = |part: &str| -> Result<String> { Ok(format!("http://127.0.0.1:{}", ports.of(part)?)) };
        Ok(Self {
            edge: url("edge")?,
            gateway: url("gateway")?,
            object_store: url("store")?,
            database: database.to_owned(),
            page: format!("{}/", url("edge")?),
            accounts: accounts.clone(),
            parts: Vec::new(),
        })
    }

    /// Writes the file if the parts differ from the ones last written.
    pub(crate) fn update(&mut self, state: &State, parts: Vec<Entry>) -> Result<()> {
        if parts == self.parts {
            return Ok(());
        }
        self.parts = parts;
        state.write(RECORD, &format!("{}\n", serde_json::to_string_pretty(self)?))
    }

    /// Removes the file.
    pub(crate) fn remove(state: &State) {
        state.remove(RECORD);
    }
}

/// The roles as their supervisor last described them; none while it has not said anything.
pub(crate) fn roles(state: &State) -> Vec<Entry> {
    state.read(PROCESSES).ok().flatten().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}
