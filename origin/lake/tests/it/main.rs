//! The lake against a real PostgreSQL and the real object store, fed by the real routes of royalty and the catalogue.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod asking;
mod commits;
mod forgetting;
mod reconciling;
mod scene;
