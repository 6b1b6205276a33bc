//! Royalty from outside: over HTTP, on a real PostgreSQL, with the grants it has in production.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs, unreachable_pub)]

mod days;
mod heartbeats;
mod intake;
mod ledger;
mod money;
mod order;
mod quarantine;
mod receipts;
mod reconciliation;
mod routes;
mod scene;
