//! Keeps the partitions of the coming days ready, at start and every hour.

use std::{sync::Arc, time::Duration};

use platform::{Clock, Shutdown};
use sqlx::PgPool;

use crate::store::partitions::Partitions;

const EVERY: Duration = Duration::from_secs(3600);
const RETRY: Duration = Duration::from_secs(5);

/// Runs until the process is to stop.
pub async fn run(pool: PgPool, partitions: Arc<Partitions>, clock: Clock, shutdown: Shutdown) {
    while !shutdown.is_requested() {
        let pause = match partitions.keep_ahead(&pool, clock.now()).await {
            Ok(()) => EVERY,
            Err(error) => {
                tracing::warn!(%error, "the partitions of the coming days could not be made; trying again");
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.requested() => {}
        }
    }
}
