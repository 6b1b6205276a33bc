//! Taking a track down: the decision of its artist's owners and editors, for good.

use platform::feed::OutboxKind;
use protocol::{AccountId, ArtistId, TrackId, UnixMs};
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

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
    NoSuchTrack,
}

/// Who has a say in a track.
pub(crate) struct Say {
    pub(crate) owner: AccountId,
    /// Its members do, when there is one.
    pub(crate) acts_for: Option<ArtistId>,
}

/// Who has a say in `track`.
pub(crate) async fn say(db: impl PgExecutor<'_>, track: TrackId) -> sqlx::Result<Option<Say>> {
    let row: Option<(Uuid, Option<Uuid>)> =
        sqlx::query_as("SELECT owner_account, acts_for FROM catalog.tracks WHERE id = $1").bind(track.uuid()).fetch_optional(db).await?;
    Ok(row.map(|(owner, acts_for)| Say { owner: AccountId(owner), acts_for: acts_for.map(ArtistId) }))
}

/// Takes `track` down.
pub(crate) async fn take_down(db: &PgPool, track: TrackId, now: UnixMs) -> sqlx::Result<TakeDown> {
    let mut tx = db.begin().await?;
    lock(&mut tx, track).await?;
    match standing(&mut tx, track).await? {
        None => return Ok(TakeDown::NoSuchTrack),
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
