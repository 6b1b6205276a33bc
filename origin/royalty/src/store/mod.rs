//! All SQL but the ledger's, one file per noun. Every statement works on sets: a batch, an account, a period.

pub mod catalog;
pub mod counts;
mod events;
pub mod log;
pub mod merge;
pub mod partitions;
pub mod play_changes;
pub mod plays;
pub mod quarantine;
pub mod reconcile;
pub mod settlement;
pub mod splits;
pub mod statements;
