//! One file for each resource: extract, authorise, call, answer.

pub(crate) mod balance;
pub(crate) mod batches;
pub(crate) mod counts;
pub(crate) mod history;
pub(crate) mod plays;
pub(crate) mod popularity;
pub(crate) mod quarantine;
pub(crate) mod reconciliation;
pub(crate) mod revenue;
pub(crate) mod settlements;
pub(crate) mod splits;
pub(crate) mod statements;
