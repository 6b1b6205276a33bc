//! The harness of the whole-system tests: starts Antiphon as a user does, talks to it as clients do, and kills its parts.
//!
//! Everything is black box: `cargo xtask run` and its `run.json` in, HTTP answers and decoded audio out.

pub mod audio;
pub mod client;
pub mod foreign;
pub mod runner;
pub mod system;

pub use client::{Client, Listener, Upload};
pub use system::System;

use std::time::{Duration, Instant};

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
