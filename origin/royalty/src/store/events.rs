//! `royalty.events`: one row for each name, whatever came under it. Rows come from [`super::merge`], in sets.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    PlayId, UnixMs,
    heartbeat::{Clock, Content, EventKind},
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    collector::{Copy, EventName},
    error::RoyaltyError,
    period::play_floor,
};

/// Writes the events that are new, each with the earliest of its copies, and gives their names.
pub(super) async fn insert_events(
    tx: &mut PgConnection,
    candidates: &BTreeMap<EventName, Vec<Copy>>,
) -> Result<BTreeSet<EventName>, RoyaltyError> {
    let first = || candidates.iter().filter_map(|(name, copies)| Some((name, copies.first()?)));
    let rows: Vec<(Uuid, String, i64)> = sqlx::query_as(
        "INSERT INTO royalty.events
                (play, sender, seq, kind, from_ms, to_ms, muted, background, clock_at_ms, clock_playing, clock_position_ms, received_at_ms)
         SELECT play, sender, seq, kind, from_ms, to_ms, muted, background, clock_at_ms, clock_playing, clock_position_ms, received_at_ms
         FROM unnest($1::UUID[], $2::TEXT[], $3::BIGINT[], $4::TEXT[], $5::BIGINT[], $6::BIGINT[], $7::BOOLEAN[], $8::BOOLEAN[],
                     $9::BIGINT[], $10::BOOLEAN[], $11::BIGINT[], $12::BIGINT[])
              AS event (play, sender, seq, kind, from_ms, to_ms, muted, background, clock_at_ms, clock_playing, clock_position_ms,
                        received_at_ms)
         ORDER BY play, sender, seq
         ON CONFLICT (play, sender, seq) DO NOTHING
         RETURNING play, sender, seq",
    )
    .bind(first().map(|(name, _)| name.play.uuid()).collect::<Vec<_>>())
    .bind(first().map(|(name, _)| name.sender.clone()).collect::<Vec<_>>())
    .bind(first().map(|(name, _)| i64::from(name.seq)).collect::<Vec<_>>())
    .bind(first().map(|(_, copy)| copy.content.kind.name().to_owned()).collect::<Vec<_>>())
    .bind(first().map(|(_, copy)| i64::from(copy.content.from_ms)).collect::<Vec<_>>())
    .bind(first().map(|(_, copy)| i64::from(copy.content.to_ms)).collect::<Vec<_>>())
    .bind(first().map(|(_, copy)| copy.content.muted).collect::<Vec<_>>())
    .bind(first().map(|(_, copy)| copy.content.background).collect::<Vec<_>>())
    .bind(first().map(|(_, copy)| copy.content.clock.map(|clock| clock.at_ms)).collect::<Vec<_>>())
    .bind(first().map(|(_, copy)| copy.content.clock.map(|clock| clock.playing)).collect::<Vec<_>>())
    .bind(first().map(|(_, copy)| copy.content.clock.and_then(|clock| clock.position_ms).map(i64::from)).collect::<Vec<_>>())
    .bind(first().map(|(_, copy)| copy.received_at.0).collect::<Vec<_>>())
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(|(play, sender, seq)| Ok(EventName { play: PlayId(play), sender, seq: narrow(seq)? })).collect()
}

#[derive(sqlx::FromRow)]
struct EventRow {
    play: Uuid,
    sender: String,
    seq: i64,
    kind: String,
    from_ms: i64,
    to_ms: i64,
    muted: bool,
    background: bool,
    clock_at_ms: Option<i64>,
    clock_playing: Option<bool>,
    clock_position_ms: Option<i64>,
    received_at_ms: i64,
}

/// What is stored under `names`.
pub(super) async fn stored_events(
    tx: &mut PgConnection,
    names: &[&EventName],
) -> Result<BTreeMap<EventName, (Content, UnixMs)>, RoyaltyError> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let plays: Vec<Uuid> = names.iter().map(|name| name.play.uuid()).collect();
    let (low, high) = range(&plays);
    let rows: Vec<EventRow> = sqlx::query_as(
        "SELECT play, sender, seq, kind, from_ms, to_ms, muted, background, clock_at_ms, clock_playing, clock_position_ms, received_at_ms
         FROM royalty.events JOIN unnest($1::UUID[], $2::TEXT[], $3::BIGINT[]) AS name (play, sender, seq) USING (play, sender, seq)
         WHERE events.play BETWEEN $4 AND $5",
    )
    .bind(plays)
    .bind(names.iter().map(|name| name.sender.clone()).collect::<Vec<_>>())
    .bind(names.iter().map(|name| i64::from(name.seq)).collect::<Vec<_>>())
    .bind(low)
    .bind(high)
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            let kind = EventKind::parse(&row.kind).ok_or_else(|| RoyaltyError::Invariant(format!("event kind {}", row.kind)))?;
            let name = EventName { play: PlayId(row.play), sender: row.sender, seq: narrow(row.seq)? };
            let content = Content {
                kind,
                from_ms: narrow(row.from_ms)?,
                to_ms: narrow(row.to_ms)?,
                muted: row.muted,
                background: row.background,
                clock: clock(row.clock_at_ms, row.clock_playing, row.clock_position_ms)?,
            };
            Ok((name, (content, UnixMs(row.received_at_ms))))
        })
        .collect()
}

/// A player's state from its three columns.
pub(super) fn clock(at_ms: Option<i64>, playing: Option<bool>, position_ms: Option<i64>) -> Result<Option<Clock>, RoyaltyError> {
    let position_ms = position_ms.map(narrow).transpose()?;
    Ok(at_ms.zip(playing).map(|(at_ms, playing)| Clock { at_ms, playing, position_ms }))
}

/// A copy that was received earlier than the stored one sets the receipt back: the row is the same whichever copy came first.
pub(super) async fn move_receipts_back(tx: &mut PgConnection, earlier: &[(&EventName, UnixMs)]) -> Result<(), sqlx::Error> {
    if earlier.is_empty() {
        return Ok(());
    }
    let plays: Vec<Uuid> = earlier.iter().map(|(name, _)| name.play.uuid()).collect();
    let (low, high) = range(&plays);
    sqlx::query(
        "UPDATE royalty.events SET received_at_ms = least(events.received_at_ms, copy.received_at_ms)
         FROM unnest($1::UUID[], $2::TEXT[], $3::BIGINT[], $4::BIGINT[]) AS copy (play, sender, seq, received_at_ms)
         WHERE events.play = copy.play AND events.sender = copy.sender AND events.seq = copy.seq AND events.play BETWEEN $5 AND $6",
    )
    .bind(plays)
    .bind(earlier.iter().map(|(name, _)| name.sender.clone()).collect::<Vec<_>>())
    .bind(earlier.iter().map(|(name, _)| i64::from(name.seq)).collect::<Vec<_>>())
    .bind(earlier.iter().map(|(_, received_at)| received_at.0).collect::<Vec<_>>())
    .bind(low)
    .bind(high)
    .execute(tx)
    .await?;
    Ok(())
}

/// The span of some plays, which tells PostgreSQL the partitions to look into.
pub(super) fn range(plays: &[Uuid]) -> (Uuid, Uuid) {
    let none = play_floor(UnixMs(0));
    (plays.iter().min().copied().unwrap_or(none), plays.iter().max().copied().unwrap_or(none))
}

fn narrow(number: i64) -> Result<u32, RoyaltyError> {
    u32::try_from(number).map_err(|_| RoyaltyError::Invariant(format!("{number} was stored where a u32 was written")))
}
