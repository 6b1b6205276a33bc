//! What all threads of one run share.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use crate::{
    failure::Failure,
    halt::Halt,
    metrics::{Registry, Sample},
};

/// One run of one script.
#[derive(Debug)]
pub(crate) struct Run {
    /// The script's absolute path.
    pub(crate) script: PathBuf,
    /// `__ENV`.
    pub(crate) env: BTreeMap<String, String>,
    /// Hosts that may be loaded besides this machine.
    pub(crate) allowed_hosts: Vec<String>,
    /// Set once the options are read.
    pub(crate) user_agent: String,
    /// Whether bodies are thrown away.
    pub(crate) discard_bodies: bool,
    /// Ends everything.
    pub(crate) halt: Arc<Halt>,
    /// Live counts.
    pub(crate) counts: Counts,
    registry: Mutex<Registry>,
    failure: Mutex<Option<Failure>>,
}

/// Live counts, for the progress line and the `vus` gauges.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// VUs in an iteration.
    pub(crate) active: AtomicU32,
    /// VUs that exist.
    pub(crate) vus: AtomicU32,
    /// Iterations that ended.
    pub(crate) done: AtomicU64,
    /// Iterations that threw.
    pub(crate) threw: AtomicU64,
    /// Iterations that no VU was free for.
    pub(crate) dropped: AtomicU64,
    /// Iterations cut off at the end.
    pub(crate) interrupted: AtomicU64,
    last_vu: AtomicU32,
}

impl Counts {
    /// The next `__VU`.
    pub(crate) fn next_vu(&self) -> u32 {
        self.last_vu.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Run {
    /// Before its options are known.
    pub(crate) fn new(script: PathBuf, env: BTreeMap<String, String>, allowed_hosts: Vec<String>) -> Self {
        Self {
            script,
            env,
            allowed_hosts,
            user_agent: String::new(),
            discard_bodies: false,
            halt: Arc::new(Halt::default()),
            counts: Counts::default(),
            registry: Mutex::new(Registry::new()),
            failure: Mutex::new(None),
        }
    }

    /// The metrics; held briefly.
    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes samples in.
    pub(crate) fn take(&self, samples: impl IntoIterator<Item = Sample>) {
        self.registry().take(samples);
    }

    /// Ends the run for `failure`; the first one is reported.
    pub(crate) fn fail(&self, failure: Failure) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        self.halt.cut();
    }

    /// Why the run was ended, when it was.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
