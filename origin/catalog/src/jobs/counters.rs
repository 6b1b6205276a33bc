//! Keeps the counters behind the likes and follows by a second or so. Idempotent by construction: done means that no change is
//! left, and a change is deleted by the statement that counts it.

use platform::Shutdown;
use sqlx::PgPool;

use crate::store;

const EVERY_MS: u64 = 500;
const BATCH: i64 = 5000;

pub(crate) async fn run(pool: PgPool, shutdown: Shutdown) {
    loop {
        let more = match store::counters::drain(&pool, BATCH).await {
            Ok(drained) => drained == BATCH,
            Err(error) => {
                tracing::warn!(%error, "counters wait for the database");
                false
            }
        };
        let go_on = if more { !shutdown.is_requested() } else { shutdown.pause(EVERY_MS).await };
        if !go_on {
            return;
        }
    }
}
