//! Taking a track down: its owner's decision, for good.

use platform::feed::OutboxKind;
use protocol::{AccountId, TrackId, UnixMs};
use sqlx::PgPool;

use super::{
    outbox,
    publish::{lock, standing},
};

/// What became of the wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakeDown {
    Done,
    /// It was down already; nothing changed.
    AlreadyDown,
    NotTheOwner,
    NoSuchTrack,
}

/// Takes `track` down if it is `owner`'s.
pub(crate) async fn take_down(db: &PgPool, track: TrackId, owner: AccountId, now: UnixMs) -> sqlx::Result<TakeDown> {
    let mut tx = db.begin().await?;
    lock(&mut tx, track).await?;
    match standing(&mut tx, track).await? {
        None => return Ok(TakeDown::NoSuchTrack),
        Some(there) if there.owner_account != owner.uuid() => return Ok(TakeDown::NotTheOwner),
        Some(there) if there.state == "taken_down" => return Ok(TakeDown::AlreadyDown),
        Some(_) => {}
    }
    sqlx::query(
        "UPDATE catalog.tracks
            SET state = 'taken_down',
                taken_down_at_ms = $2
          WHERE id = $1",
    )
    .bind(track.uuid())
    .bind(now.0)
    .execute(&mut *tx)
    .await?;
    outbox::append(&mut tx, OutboxKind::TrackTakenDown, track, now).await?;
    tx.commit().await?;
    Ok(TakeDown::Done)
}
