//! The boundaries of what the keeper does. Whoever watches is called between two steps, which is where a test kills the process.

/// A boundary that has been reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The rows are read from the feed, nothing is written.
    Pulled,
    /// Every listener has a key.
    Keyed,
    /// The objects' names are written down.
    Announced,
    /// One object is stored, others may not be.
    Stored,
    /// All rows of the commit are written, the transaction is open.
    Written,
    /// The commit is there.
    Committed,
    /// Objects that nobody needs are marked.
    Condemned,
    /// They are gone from the store.
    Deleted,
}

impl Step {
    /// The name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pulled => "pulled",
            Self::Keyed => "keyed",
            Self::Announced => "announced",
            Self::Stored => "stored",
            Self::Written => "written",
            Self::Committed => "committed",
            Self::Condemned => "condemned",
            Self::Deleted => "deleted",
        }
    }
}

/// Is called at every boundary.
pub type Watch<'a> = &'a (dyn Fn(Step) + Sync);

/// Watches nothing.
pub fn unwatched(_: Step) {}
