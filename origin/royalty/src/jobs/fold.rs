//! Applies the listen rule ([`protocol::listen`]) to accounts whose events have changed. Work comes from `royalty.dirty_accounts`,
//! which a merge fills; the verdicts go to `royalty.plays`.
//!
//! Some accounts are one transaction, because a commit waits for the disk whatever it holds. A merge of one of them waits for it and it
//! never waits for a merge, so a fold sees every batch whole or not at all.

use std::{sync::Arc, time::Duration};

use platform::{Clock, Shutdown};
use protocol::{
    UnixMs,
    listen::{self, Uncorroborated},
};
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;

use crate::{
    error::RoyaltyError,
    store::plays::{self, Dirty},
};

/// Wakes the fold when nothing else does, such as after a merge by another process.
const TICK: Duration = Duration::from_secs(1);

/// So many accounts are folded in one transaction. A merge of one of them waits for all, which takes some tens of milliseconds.
const ACCOUNTS_PER_STEP: i64 = 64;

/// Folds the accounts that have waited longest; false when none waits.
///
/// # Errors
/// Those of the database.
pub async fn step(pool: &PgPool, uncorroborated: Uncorroborated, now: UnixMs) -> Result<bool, RoyaltyError> {
    let mut tx = pool.begin().await?;
    let accounts = plays::take_dirty(&mut tx, ACCOUNTS_PER_STEP).await?;
    if accounts.is_empty() {
        return Ok(false);
    }
    fold(&mut tx, &accounts, uncorroborated, now).await?;
    tx.commit().await?;
    Ok(true)
}

/// Folds all that was merged until now, waiting for what others have in hand: afterwards every verdict of that time is stored.
///
/// # Errors
/// Those of the database.
pub async fn finish(pool: &PgPool, uncorroborated: Uncorroborated, now: UnixMs) -> Result<(), RoyaltyError> {
    while plays::is_dirty(pool, now).await? {
        let mut tx = pool.begin().await?;
        if let Some(dirty) = plays::await_dirty(&mut tx, now).await? {
            fold(&mut tx, &[dirty], uncorroborated, now).await?;
            tx.commit().await?;
        }
    }
    Ok(())
}

async fn fold(tx: &mut PgConnection, accounts: &[Dirty], uncorroborated: Uncorroborated, now: UnixMs) -> Result<(), RoyaltyError> {
    let mut listens = Vec::new();
    // Plays compete within their account alone.
    for account in plays::evidence(tx, accounts, now).await? {
        listens.extend(listen::fold(&account, uncorroborated));
    }
    plays::store(tx, &listens, now).await?;
    plays::clear_dirty(tx, accounts).await?;
    Ok(())
}

/// Folds whenever there is something to fold; at first what was judged under another policy.
pub async fn run(pool: PgPool, uncorroborated: Uncorroborated, clock: Clock, merged: Arc<Notify>, shutdown: Shutdown) {
    let (mut failing, mut judged_again) = (false, false);
    while !shutdown.is_requested() {
        let worked = async {
            if !judged_again {
                plays::judge_again(&pool, uncorroborated, clock.now()).await?;
                judged_again = true;
            }
            drain_until(&pool, uncorroborated, &clock, &shutdown).await
        };
        match worked.await {
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

async fn drain_until(pool: &PgPool, uncorroborated: Uncorroborated, clock: &Clock, shutdown: &Shutdown) -> Result<(), RoyaltyError> {
    while !shutdown.is_requested() && step(pool, uncorroborated, clock.now()).await? {}
    Ok(())
}
