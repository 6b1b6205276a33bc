//! What runs beside the requests: the listen rule, the catalogue's outbox, tomorrow's partitions. Each step is idempotent and finds
//! its work in the database, so that it may be killed anywhere and run several times at once.

pub mod catalog;
pub mod fold;
pub mod partitions;
