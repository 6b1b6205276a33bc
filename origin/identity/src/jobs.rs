//! What identity does by itself: it follows the catalogue, whose take-downs are revocations, and removes what has ended, log-ins after a while
//! in which they can still be looked at.

use platform::{Clock, Shutdown, feed::Outbox};

use crate::{Identity, IdentityError, store::Store};

const EVERY_MS: u64 = 10 * 60_000;
const KEPT_MS: i64 = 30 * 24 * 3_600_000;
const PAUSE_MS: u64 = 500;

pub(crate) async fn sweep(store: Store, clock: Clock, shutdown: Shutdown) {
    while shutdown.pause(EVERY_MS).await {
        match store.sweep(clock.now().plus_ms(-KEPT_MS)).await {
            Ok(0) => {}
            Ok(families) => tracing::info!(families, "removed log-ins that ended long ago"),
            Err(error) => tracing::warn!(%error, "could not remove log-ins that ended long ago"),
        }
        match store.sweep_revocations(clock.now()).await {
            Ok(0) => {}
            Ok(revocations) => tracing::info!(revocations, "forgot revocations that can refuse nothing any more"),
            Err(error) => tracing::warn!(%error, "could not forget old revocations"),
        }
    }
}

/// Turns take-downs into revocations until the stop.
pub(crate) async fn follow_catalog(identity: Identity, outbox: Outbox, shutdown: Shutdown) {
    while !shutdown.is_requested() {
        if let Err(error) = follow(&identity, &outbox, &shutdown).await {
            tracing::warn!(%error, "the catalogue's changes could not be stored; trying again");
            if !shutdown.pause(PAUSE_MS).await {
                return;
            }
        }
    }
}

async fn follow(identity: &Identity, outbox: &Outbox, shutdown: &Shutdown) -> Result<(), IdentityError> {
    let mut position = identity.store.catalog_position().await?;
    while let Some(page) = outbox.pull_patiently(position, shutdown).await {
        if identity.store.follow_catalog(&page.events, identity.now()).await? {
            identity.feed_grew();
        }
        position = page.events.iter().map(|event| event.seq).max().unwrap_or(position);
    }
    Ok(())
}
