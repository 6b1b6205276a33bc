//! Why a run ended badly, with the exit code k6 would give, so that a script's caller cannot tell the two apart.

use std::fmt;

/// Exit codes, as in k6's `errext/exitcodes`.
pub(crate) mod exit {
    /// A threshold was crossed.
    pub(crate) const THRESHOLDS: u8 = 99;
    /// The options or the command line cannot be honoured.
    pub(crate) const INVALID_CONFIG: u8 = 104;
    /// The script threw outside an iteration.
    pub(crate) const SCRIPT: u8 = 107;
}

/// A run that cannot go on.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The process's exit code.
    pub(crate) code: u8,
    /// For a person, on stderr.
    pub(crate) message: String,
}

impl Failure {
    /// The options cannot be honoured.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self { code: exit::INVALID_CONFIG, message: message.into() }
    }

    /// The script threw.
    pub(crate) fn script(message: impl Into<String>) -> Self {
        Self { code: exit::SCRIPT, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
