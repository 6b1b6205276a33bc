//! SQL, written out: one file for each thing that is asked or changed, each query beside the row it fills.

pub(crate) mod affinity;
pub(crate) mod counters;
pub(crate) mod like_changes;
pub(crate) mod outbox;
pub(crate) mod publish;
pub(crate) mod take_down;
pub(crate) mod tracks;
