//! The harness of the whole-system tests: starts Antiphon as a user does, talks to it as clients do, and kills its parts.
//!
//! Everything is black box: `cargo xtask run` and its `run.json` in, HTTP answers and decoded audio out. Only
//! [`keys`], [`objects`] and [`chaos::ledger`] look inside.
#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have reads as null")]

pub mod audio;
pub mod buffers;
pub mod chaos;
pub mod client;
pub mod foreign;
pub mod keys;
pub mod objects;
pub mod runner;
pub mod system;

pub use client::{Client, Listener, Upload};
pub use keys::Keys;
pub use objects::Objects;
pub use system::System;

use std::time::{Duration, Instant};

use protocol::UnixMs;

/// The time here, which is the system's: it runs on the same machine.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one clock of the tests")]
pub fn now() -> UnixMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Waits until `check` answers something, and fails with `what` after `limit`.
///
/// # Errors
/// When the limit passes; the last answer of `check` is in the message.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut check: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let started = Instant::now();
    loop {
        match check().await {
            Ok(found) => return Ok(found),
            Err(error) if started.elapsed() > limit => return Err(error.context(format!("still not so after {limit:?}: {what}"))),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}
