//! Applies the listen rule ([`protocol::listen`]) to accounts whose events have changed. Work comes from `royalty.dirty_accounts`,
//! which a merge fills; the verdicts go to `royalty.plays`.
//!
//! One account is one transaction. A merge of the same account waits for it and it never waits for a merge, so a fold sees every
//! batch whole or not at all.

use std::{sync::Arc, time::Duration};

use platform::{Clock, Shutdown};
use protocol::{UnixMs, listen};
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::{error::RoyaltyError, store::plays};

/// Wakes the fold when nothing else does, such as after a merge by another process.
const TICK: Duration = Duration::from_secs(1);

/// Folds one account; false when none waits.
///
/// # Errors
/// Those of the database.
pub async fn step(pool: &PgPool, now: UnixMs) -> Result<bool, RoyaltyError> {
    let mut tx = pool.begin().await?;
    let Some(dirty) = plays::take_dirty(&mut tx).await? else { return Ok(false) };
    let evidence = plays::evidence(&mut tx, dirty).await?;
    plays::store(&mut tx, &listen::fold(&evidence), now).await?;
    plays::clear_dirty(&mut tx, dirty).await?;
    tx.commit().await?;
    Ok(true)
}

/// Folds until no account waits that is not in other hands.
///
/// # Errors
/// Those of the database.
pub async fn drain(pool: &PgPool, now: UnixMs) -> Result<(), RoyaltyError> {
    while step(pool, now).await? {}
    Ok(())
}

/// Folds whenever there is something to fold.
pub async fn run(pool: PgPool, clock: Clock, merged: Arc<Notify>, shutdown: Shutdown) {
    let mut failing = false;
    while !shutdown.is_requested() {
        match drain_until(&pool, &clock, &shutdown).await {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                tracing::warn!(%error, "folding listens does not work; trying on");
                failing = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = merged.notified() => {}
            () = tokio::time::sleep(TICK) => {}
            () = shutdown.requested() => {}
        }
    }
}

async fn drain_until(pool: &PgPool, clock: &Clock, shutdown: &Shutdown) -> Result<(), RoyaltyError> {
    while !shutdown.is_requested() && step(pool, clock.now()).await? {}
    Ok(())
}
