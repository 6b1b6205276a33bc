//! What a check found, rule by rule: for people as a table, for programs as JSON.

use serde::Serialize;

/// How strongly the source of a rule puts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Breaking it fails the check.
    Must,
    /// Not following it is told and does not fail the check.
    Should,
    /// A platform's or a taste's: told, and left to the reader.
    Note,
}

/// What became of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is kept.
    Kept,
    /// A MUST is broken.
    Broken,
    /// A SHOULD is not followed.
    Advised,
    /// A note applies.
    Noted,
    /// It says nothing about this presentation.
    NotApplicable,
}

/// Where a rule is not kept, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The playlist, segment or variant, for people; never with a token.
    pub at: String,
    /// What is there and what should be.
    pub what: String,
}

impl Fault {
    pub(crate) fn new(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self { at: at.into(), what: what.into() }
    }
}

/// One rule and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule's source and number, such as `Apple 7.7`.
    pub rule: &'static str,
    /// How strong it is.
    pub level: Level,
    /// What it asks for.
    pub requirement: &'static str,
    /// What became of it.
    pub verdict: Verdict,
    /// The figures it was judged by; why not, when it is not applicable.
    pub measured: String,
    /// Every place where it is not kept.
    pub faults: Vec<Fault>,
}

impl Finding {
    /// Whether a MUST is broken or a SHOULD not followed.
    #[must_use]
    pub fn is_off(&self) -> bool {
        matches!(self.verdict, Verdict::Broken | Verdict::Advised)
    }
}

/// Every rule, in the order of its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was checked.
    pub url: String,
    /// Media playlists that were read.
    pub renditions: usize,
    /// Segments that were read.
    pub segments: usize,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether every MUST that applies is kept.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.broken().next().is_none()
    }

    /// The rules that are broken.
    pub fn broken(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.verdict == Verdict::Broken)
    }
}
