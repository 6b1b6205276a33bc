//! What identity does by itself: families that have ended are removed, after a while in which they can still be looked at.

use platform::{Clock, Shutdown};

use crate::store::Store;

const EVERY_MS: u64 = 10 * 60_000;
const KEPT_MS: i64 = 30 * 24 * 3_600_000;

pub(crate) async fn sweep(store: Store, clock: Clock, shutdown: Shutdown) {
    while shutdown.pause(EVERY_MS).await {
        match store.sweep(clock.now().plus_ms(-KEPT_MS)).await {
            Ok(0) => {}
            Ok(families) => tracing::info!(families, "removed log-ins that ended long ago"),
            Err(error) => tracing::warn!(%error, "could not remove log-ins that ended long ago"),
        }
    }
}
