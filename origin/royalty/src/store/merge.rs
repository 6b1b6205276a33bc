//! The one exactly-once point: a batch becomes events and plays in one transaction, or not at all.
//!
//! The order of locks is the same for everyone, so that merges, folds and settlements cannot deadlock: the batch's key, the accounts
//! (sorted), the events (sorted), the plays (sorted).

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    PlayId, UnixMs,
    heartbeat::{Clock, Content, EventKind},
};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::partitions::Partitions;
use crate::{
    collector::{Copy, EventName, PlayClaims, Quarantined, Sorted},
    error::RoyaltyError,
    period::{Period, play_floor},
};

/// What a batch is called and what it contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchKey {
    /// The buffer.
    pub buffer: String,
    /// Which life of the buffer.
    pub epoch: String,
    /// Its number in that life.
    pub number: i64,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
    /// When it was frozen.
    pub frozen_at: UnixMs,
}

/// Whether this call merged the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did.
    Merged,
    /// An earlier one did.
    AlreadyMerged,
}

/// What became of the records of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Tally {
    /// Records.
    pub acked: i64,
    /// New events.
    pub counted: i64,
    /// Events that were there already, with the same content.
    pub duplicate: i64,
    /// Records that cannot count.
    pub quarantined: i64,
}

/// Merges a sorted batch.
///
/// # Errors
/// [`RoyaltyError::BatchConflict`] when the batch was merged with other bytes; otherwise those of the database, and nothing is written.
pub async fn merge(
    pool: &PgPool,
    partitions: &Partitions,
    key: &BatchKey,
    sorted: Sorted,
    now: UnixMs,
) -> Result<(Outcome, Tally), RoyaltyError> {
    let days: BTreeSet<i64> = sorted.plays.keys().map(|play| play.minted_at().day()).collect();
    partitions.ensure(pool, days).await?;
    let mut tx = pool.begin().await?;
    if !claim(&mut tx, key, now).await? {
        let tally = merged_before(&mut tx, key).await?;
        return Ok((Outcome::AlreadyMerged, tally));
    }
    lock_accounts(&mut tx, &sorted.plays, now).await?;
    let sorted = part_strangers(&mut tx, sorted).await?;
    let settled = merge_events(&mut tx, sorted).await?;
    upsert_plays(&mut tx, &settled).await?;
    quarantine(&mut tx, key, &settled.quarantined).await?;
    let tally = count(&mut tx, key, &settled).await?;
    tx.commit().await?;
    Ok((Outcome::Merged, tally))
}

/// Takes the batch's key; false when it is taken. Waits for a concurrent attempt at the same batch to end.
async fn claim(tx: &mut PgConnection, key: &BatchKey, now: UnixMs) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query(
        "INSERT INTO royalty.batches (buffer, epoch, number, sha256, frozen_at_ms, merged_at_ms)
         VALUES ($1, $2, $3, decode($4, 'hex'), $5, $6)
         ON CONFLICT DO NOTHING",
    )
    .bind(&key.buffer)
    .bind(&key.epoch)
    .bind(key.number)
    .bind(&key.sha256)
    .bind(key.frozen_at.0)
    .bind(now.0)
    .execute(tx)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

async fn merged_before(tx: &mut PgConnection, key: &BatchKey) -> Result<Tally, RoyaltyError> {
    let sha256: String =
        sqlx::query_scalar("SELECT encode(sha256, 'hex') FROM royalty.batches WHERE buffer = $1 AND epoch = $2 AND number = $3")
            .bind(&key.buffer)
            .bind(&key.epoch)
            .bind(key.number)
            .fetch_one(&mut *tx)
            .await?;
    if sha256 != key.sha256 {
        return Err(RoyaltyError::BatchConflict { buffer: key.buffer.clone(), number: u64::try_from(key.number).unwrap_or_default() });
    }
    let tally = sqlx::query_as(
        "SELECT coalesce(sum(acked), 0)::BIGINT AS acked,
                coalesce(sum(counted), 0)::BIGINT AS counted,
                coalesce(sum(duplicate), 0)::BIGINT AS duplicate,
                coalesce(sum(quarantined), 0)::BIGINT AS quarantined
         FROM royalty.batch_counts WHERE buffer = $1 AND epoch = $2 AND number = $3",
    )
    .bind(&key.buffer)
    .bind(&key.epoch)
    .bind(key.number)
    .fetch_one(tx)
    .await?;
    Ok(tally)
}

/// Marks the accounts for folding, which also keeps a fold of any of them away until this transaction ends.
async fn lock_accounts(tx: &mut PgConnection, plays: &BTreeMap<PlayId, PlayClaims>, now: UnixMs) -> Result<(), sqlx::Error> {
    let mut accounts: BTreeMap<Uuid, (Uuid, Uuid)> = BTreeMap::new();
    for (play, claims) in plays {
        let play = play.uuid();
        accounts.entry(claims.pseudonym.uuid()).and_modify(|(_, latest)| *latest = play).or_insert((play, play));
    }
    let pseudonyms: Vec<Uuid> = accounts.keys().copied().collect();
    let (earliest, latest): (Vec<Uuid>, Vec<Uuid>) = accounts.into_values().unzip();
    sqlx::query(
        "INSERT INTO royalty.dirty_accounts AS dirty (pseudonym, earliest, latest, since_ms)
         SELECT pseudonym, earliest, latest, $4
         FROM unnest($1::UUID[], $2::UUID[], $3::UUID[]) AS account (pseudonym, earliest, latest)
         ORDER BY pseudonym
         ON CONFLICT (pseudonym) DO UPDATE
         SET earliest = least(dirty.earliest, excluded.earliest), latest = greatest(dirty.latest, excluded.latest)",
    )
    .bind(pseudonyms)
    .bind(earliest)
    .bind(latest)
    .bind(now.0)
    .execute(tx)
    .await?;
    Ok(())
}

/// Sends to quarantine what claims a stored play for another listener or track. Only a leaked key could make such a ticket.
async fn part_strangers(tx: &mut PgConnection, mut sorted: Sorted) -> Result<Sorted, RoyaltyError> {
    let plays: Vec<Uuid> = sorted.plays.keys().map(|play| play.uuid()).collect();
    let (low, high) = range(&plays);
    let known: Vec<(Uuid, Uuid, Uuid)> = sqlx::query_as(
        "SELECT play, pseudonym, track FROM royalty.plays
         WHERE play = ANY ($1) AND play BETWEEN $2 AND $3",
    )
    .bind(&plays)
    .bind(low)
    .bind(high)
    .fetch_all(tx)
    .await?;
    for (play, pseudonym, track) in known {
        let play = PlayId(play);
        let same = |claims: &PlayClaims| claims.pseudonym.uuid() == pseudonym && claims.track.uuid() == track;
        if sorted.plays.get(&play).is_none_or(same) {
            continue;
        }
        sorted.plays.remove(&play);
        let strange: Vec<EventName> = sorted.candidates.keys().filter(|name| name.play == play).cloned().collect();
        for name in strange {
            for copy in sorted.candidates.remove(&name).unwrap_or_default() {
                let record = refuse("ticket_of_another_play", &name, &copy)?;
                sorted.quarantined.push(record);
            }
        }
    }
    Ok(sorted)
}

fn refuse(reason: &'static str, name: &EventName, copy: &Copy) -> Result<Quarantined, RoyaltyError> {
    Ok(Quarantined {
        reason,
        play: Some(name.play),
        period: period_of(name.play)?,
        received_at: copy.received_at,
        record: name.record(copy),
    })
}

fn period_of(play: PlayId) -> Result<Period, RoyaltyError> {
    Period::of(play.minted_at()).map_err(|error| RoyaltyError::Invariant(format!("play {play}: {error}")))
}

/// A batch whose records have all found their place.
#[derive(Default)]
struct Settled {
    plays: BTreeMap<PlayId, PlayChange>,
    quarantined: Vec<Quarantined>,
    tallies: BTreeMap<Period, Tally>,
}

struct PlayChange {
    claims: PlayClaims,
    new_events: i64,
    last_received_at: UnixMs,
}

/// Writes what is new and tells for every copy of every name whether it was counted, a duplicate, or another event under that name.
async fn merge_events(tx: &mut PgConnection, sorted: Sorted) -> Result<Settled, RoyaltyError> {
    let inserted = insert_events(tx, &sorted.candidates).await?;
    let old: Vec<&EventName> = sorted.candidates.keys().filter(|name| !inserted.contains(*name)).collect();
    let stored = stored_events(tx, &old).await?;
    let mut settled = Settled { quarantined: sorted.quarantined, ..Settled::default() };
    for (period, acked) in &sorted.acked {
        settled.tallies.entry(*period).or_default().acked = *acked;
    }
    for refused in &settled.quarantined {
        settled.tallies.entry(refused.period).or_default().quarantined += 1;
    }
    let mut earlier = Vec::new();
    for (name, copies) in &sorted.candidates {
        let is_new = inserted.contains(name);
        let (content, received_at) = match (stored.get(name), copies.first()) {
            (Some(stored), _) => *stored,
            (None, Some(first)) if is_new => (first.content, first.received_at),
            _ => return Err(RoyaltyError::Invariant(format!("event {name:?} is neither new nor stored"))),
        };
        let tally = settled.tallies.entry(period_of(name.play)?).or_default();
        let (same, other): (Vec<&Copy>, Vec<&Copy>) = copies.iter().partition(|copy| copy.content == content);
        let same_count = i64::try_from(same.len()).unwrap_or(i64::MAX);
        tally.counted += i64::from(is_new);
        tally.duplicate += same_count - i64::from(is_new);
        for copy in other {
            tally.quarantined += 1;
            settled.quarantined.push(refuse("other_content_under_this_name", name, copy)?);
        }
        if let (Some(first), Some(last)) = (same.first(), same.last())
            && let Some(claims) = sorted.plays.get(&name.play)
        {
            if first.received_at < received_at {
                earlier.push((name, first.received_at));
            }
            let change = settled.plays.entry(name.play).or_insert_with(|| PlayChange {
                claims: *claims,
                new_events: 0,
                last_received_at: last.received_at,
            });
            change.new_events += i64::from(is_new);
            change.last_received_at = change.last_received_at.max(last.received_at);
        }
    }
    move_receipts_back(tx, &earlier).await?;
    Ok(settled)
}

async fn insert_events(tx: &mut PgConnection, candidates: &BTreeMap<EventName, Vec<Copy>>) -> Result<BTreeSet<EventName>, RoyaltyError> {
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

async fn stored_events(tx: &mut PgConnection, names: &[&EventName]) -> Result<BTreeMap<EventName, (Content, UnixMs)>, RoyaltyError> {
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
async fn move_receipts_back(tx: &mut PgConnection, earlier: &[(&EventName, UnixMs)]) -> Result<(), sqlx::Error> {
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

async fn upsert_plays(tx: &mut PgConnection, settled: &Settled) -> Result<(), sqlx::Error> {
    let plays = || settled.plays.iter();
    sqlx::query(
        "INSERT INTO royalty.plays AS known
                (play, pseudonym, track, version, territory, plan, duration_ms, minted_at_ms, last_received_at_ms, events)
         SELECT play, pseudonym, track, version, territory, plan, duration_ms, minted_at_ms, last_received_at_ms, events
         FROM unnest($1::UUID[], $2::UUID[], $3::UUID[], $4::UUID[], $5::TEXT[], $6::TEXT[], $7::BIGINT[], $8::BIGINT[], $9::BIGINT[], $10::BIGINT[])
              AS play (play, pseudonym, track, version, territory, plan, duration_ms, minted_at_ms, last_received_at_ms, events)
         ORDER BY play
         ON CONFLICT (play) DO UPDATE
         SET last_received_at_ms = greatest(known.last_received_at_ms, excluded.last_received_at_ms),
             events = known.events + excluded.events",
    )
    .bind(plays().map(|(play, _)| play.uuid()).collect::<Vec<_>>())
    .bind(plays().map(|(_, change)| change.claims.pseudonym.uuid()).collect::<Vec<_>>())
    .bind(plays().map(|(_, change)| change.claims.track.uuid()).collect::<Vec<_>>())
    .bind(plays().map(|(_, change)| Uuid::from_bytes(change.claims.version.0)).collect::<Vec<_>>())
    .bind(plays().map(|(_, change)| change.claims.territory.to_string()).collect::<Vec<_>>())
    .bind(plays().map(|(_, change)| change.claims.plan.name().to_owned()).collect::<Vec<_>>())
    .bind(plays().map(|(_, change)| i64::from(change.claims.duration_ms)).collect::<Vec<_>>())
    .bind(plays().map(|(play, _)| play.minted_at().0).collect::<Vec<_>>())
    .bind(plays().map(|(_, change)| change.last_received_at.0).collect::<Vec<_>>())
    .bind(plays().map(|(_, change)| change.new_events).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

async fn quarantine(tx: &mut PgConnection, key: &BatchKey, records: &[Quarantined]) -> Result<(), sqlx::Error> {
    if records.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO royalty.quarantine (buffer, epoch, number, reason, play, received_at_ms, record)
         SELECT $1, $2, $3, reason, play, received_at_ms, record
         FROM unnest($4::TEXT[], $5::UUID[], $6::BIGINT[], $7::TEXT[]) AS record (reason, play, received_at_ms, record)",
    )
    .bind(&key.buffer)
    .bind(&key.epoch)
    .bind(key.number)
    .bind(records.iter().map(|record| record.reason.to_owned()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.play.map(PlayId::uuid)).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.received_at.0).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.record.clone()).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes what became of the records. That nothing is lost is not computed here: `acked` was counted when the batch came in, and the
/// database refuses the row when the rest does not add up to it.
async fn count(tx: &mut PgConnection, key: &BatchKey, settled: &Settled) -> Result<Tally, sqlx::Error> {
    let tallies = || settled.tallies.iter();
    sqlx::query(
        "INSERT INTO royalty.batch_counts (buffer, epoch, number, period, acked, counted, duplicate, quarantined)
         SELECT $1, $2, $3, period, acked, counted, duplicate, quarantined
         FROM unnest($4::TEXT[], $5::BIGINT[], $6::BIGINT[], $7::BIGINT[], $8::BIGINT[])
              AS tally (period, acked, counted, duplicate, quarantined)",
    )
    .bind(&key.buffer)
    .bind(&key.epoch)
    .bind(key.number)
    .bind(tallies().map(|(period, _)| period.to_string()).collect::<Vec<_>>())
    .bind(tallies().map(|(_, tally)| tally.acked).collect::<Vec<_>>())
    .bind(tallies().map(|(_, tally)| tally.counted).collect::<Vec<_>>())
    .bind(tallies().map(|(_, tally)| tally.duplicate).collect::<Vec<_>>())
    .bind(tallies().map(|(_, tally)| tally.quarantined).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(tallies().fold(Tally::default(), |total, (_, tally)| Tally {
        acked: total.acked + tally.acked,
        counted: total.counted + tally.counted,
        duplicate: total.duplicate + tally.duplicate,
        quarantined: total.quarantined + tally.quarantined,
    }))
}

/// The span of some plays, which tells PostgreSQL the partitions to look into.
fn range(plays: &[Uuid]) -> (Uuid, Uuid) {
    let none = play_floor(UnixMs(0));
    (plays.iter().min().copied().unwrap_or(none), plays.iter().max().copied().unwrap_or(none))
}

fn narrow(number: i64) -> Result<u32, RoyaltyError> {
    u32::try_from(number).map_err(|_| RoyaltyError::Invariant(format!("{number} was stored where a u32 was written")))
}
