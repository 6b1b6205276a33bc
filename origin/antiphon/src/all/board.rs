//! Which process is which, for whoever watches from outside: `processes.json`, in the shape of the `parts` of run.json.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

use crate::role::Role;

/// One running role.
#[derive(Debug, Clone, Serialize)]
struct Entry {
    name: &'static str,
    pid: u32,
    log: PathBuf,
}

/// The board that children are entered on when they start.
pub(super) struct Board {
    file: PathBuf,
    entries: Mutex<BTreeMap<Role, Entry>>,
}

impl Board {
    /// An empty board below the state directory.
    pub(super) fn new(state: &Path) -> Self {
        Self { file: state.join("processes.json"), entries: Mutex::default() }
    }

    /// Enters a role that has just been started. A board that cannot be written is told, and stops nothing.
    pub(super) fn enter(&self, role: Role, pid: u32, log: &Path) {
        let text = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.insert(role, Entry { name: role.name(), pid, log: log.to_path_buf() });
            serde_json::to_string_pretty(&entries.values().collect::<Vec<_>>()).unwrap_or_default()
        };
        let beside = self.file.with_extension("json.new");
        if let Err(error) = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &self.file)) {
            eprintln!("! {} cannot be written: {error}", self.file.display());
        }
    }

    /// Takes the board down.
    pub(super) fn remove(&self) {
        let _ = std::fs::remove_file(&self.file);
    }
}
