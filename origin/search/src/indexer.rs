//! Keeping the index up with the catalogue: pull, put in, again. One commit a pull; while nothing happens the pull itself waits.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::Context as _;
use platform::{Shutdown, feed::Outbox, metrics};

use crate::index::Writer;

const PAUSE_AFTER_FAILURE_MS: u64 = 1000;

/// Whether the index has ever been level with the catalogue since the process started.
#[derive(Debug, Clone, Default)]
pub(crate) struct CaughtUp(Arc<AtomicBool>);

impl CaughtUp {
    pub(crate) fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs until shutdown.
pub(crate) async fn keep_up(mut writer: Writer, outbox: Outbox, caught_up: CaughtUp, shutdown: Shutdown) {
    let position = metrics::gauge("antiphon_search_outbox_position", "The outbox position the index has reached.");
    let lag = metrics::gauge("antiphon_search_outbox_lag", "Positions between the index and the newest change.");
    while let Some(page) = outbox.pull_patiently(writer.position(), &shutdown).await {
        let (head, stale) = (page.head, page.head < writer.position());
        let put_in = tokio::task::spawn_blocking(move || {
            let put_in = if stale {
                tracing::warn!(head, position = writer.position(), "the catalogue's outbox is behind the index; making the index anew");
                writer.clear()
            } else {
                writer.apply(&page.events)
            };
            (writer, put_in)
        });
        let result = match put_in.await.context("the indexing thread ended") {
            Ok((back, result)) => {
                writer = back;
                result
            }
            // The writer went with the thread. Without it the index only grows old, which readiness and the log tell.
            Err(error) => {
                tracing::error!(%error, "search cannot keep up any more");
                caught_up.0.store(false, Ordering::Relaxed);
                return;
            }
        };
        if let Err(error) = result {
            tracing::error!(error = %format!("{error:#}"), position = writer.position(), "changes could not be indexed; trying again");
            if !shutdown.pause(PAUSE_AFTER_FAILURE_MS).await {
                return;
            }
            continue;
        }
        if let (Some(position), Some(lag)) = (&position, &lag) {
            position.set(writer.position());
            lag.set((head - writer.position()).max(0));
        }
        if writer.position() >= head {
            caught_up.0.store(true, Ordering::Relaxed);
        }
    }
}
