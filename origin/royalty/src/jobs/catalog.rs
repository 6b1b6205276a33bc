//! Follows the catalogue's outbox into royalty's own copy of the tracks.

use platform::{Shutdown, feed::Outbox};
use sqlx::PgPool;

use crate::store::catalog;

const PAUSE_MS: u64 = 500;

/// Runs until the process is to stop.
pub async fn run(pool: PgPool, outbox: Outbox, shutdown: Shutdown) {
    while !shutdown.is_requested() {
        if let Err(error) = follow(&pool, &outbox, &shutdown).await {
            tracing::warn!(%error, "the catalogue's changes could not be stored; trying again");
            if !shutdown.pause(PAUSE_MS).await {
                return;
            }
        }
    }
}

async fn follow(pool: &PgPool, outbox: &Outbox, shutdown: &Shutdown) -> Result<(), sqlx::Error> {
    let mut position = catalog::position(pool).await?;
    while let Some(page) = outbox.pull_patiently(position, shutdown).await {
        catalog::take(pool, &page.events).await?;
        position = page.events.iter().map(|event| event.seq).max().unwrap_or(position);
    }
    Ok(())
}
