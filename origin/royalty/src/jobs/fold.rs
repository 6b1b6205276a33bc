//! Applies the listen rule ([`protocol::listen`]) to accounts whose events have changed. Work comes from `royalty.dirty_accounts`,
//! which a merge fills; the verdicts go to `royalty.plays`.
//!
//! One account is one transaction. A merge of the same account waits for it and it never waits for a merge, so a fold sees every
//! batch whole or not at all.

use std::{sync::Arc, time::Duration};

use platform::{Clock, Shutdown};
use protocol::{UnixMs, listen};
use sqlx::{PgPool, Postgres, Transaction};
use tokio::sync::Notify;

use crate::{
    error::RoyaltyError,
    store::plays::{self, Dirty},
};

/// Wakes the fold when nothing else does, such as after a merge by another process.
const TICK: Duration = Duration::from_secs(1);

/// Folds one account; false when none waits.
///
/// # Errors
/// Those of the database.
pub async fn step(pool: &PgPool, now: UnixMs) -> Result<bool, RoyaltyError> {
    let mut tx = pool.begin().await?;
    let Some(dirty) = plays::take_dirty(&mut tx).await? else { return Ok(false) };
    fold(tx, dirty, now).await?;
    Ok(true)
}

/// Folds all that was merged until now, waiting for what others have in hand: afterwards every verdict of that time is stored.
///
/// # Errors
/// Those of the database.
pub async fn finish(pool: &PgPool, now: UnixMs) -> Result<(), RoyaltyError> {
    while plays::is_dirty(pool, now).await? {
        let mut tx = pool.begin().await?;
        if let Some(dirty) = plays::await_dirty(&mut tx, now).await? {
            fold(tx, dirty, now).await?;
        }
    }
    Ok(())
}

async fn fold(mut tx: Transaction<'_, Postgres>, dirty: Dirty, now: UnixMs) -> Result<(), RoyaltyError> {
    let evidence = plays::evidence(&mut tx, dirty).await?;
    plays::store(&mut tx, &listen::fold(&evidence), now).await?;
    plays::clear_dirty(&mut tx, dirty).await?;
    tx.commit().await?;
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
