//! The one exactly-once point: a batch becomes events and plays in one transaction, or not at all. Where the batch came through a log,
//! the place up to which the log is read moves in the same transaction.
//!
//! The order of locks is the same for everyone, so that merges, folds and settlements cannot deadlock: the place in the log, the batch's
//! key, the accounts (sorted), the events (sorted), the plays (sorted).

use std::collections::{BTreeMap, BTreeSet};

use protocol::{PlayId, UnixMs, heartbeat::Content, receipt::Proven, tally::Hour};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

pub(super) use super::events::clock;
use super::{
    counts,
    events::{insert_events, move_receipts_back, range, stored_events},
    log::{self, Place},
    partitions::Partitions,
};
use crate::{
    collector::{Copy, EventName, PlayClaims, Quarantined, ReceiptCounts, Sorted},
    error::RoyaltyError,
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
    /// Which part of it this is ([`crate::intake::part`]); empty for the whole.
    pub part: String,
    /// SHA-256 of the bytes of this part, hex.
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

impl Tally {
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            acked: self.acked + other.acked,
            counted: self.counted + other.counted,
            duplicate: self.duplicate + other.duplicate,
            quarantined: self.quarantined + other.quarantined,
        }
    }
}

/// Merges a sorted batch. `place` is where it stood in a log, which is read up to there when this returns.
///
/// # Errors
/// [`RoyaltyError::BatchConflict`] when the batch was merged with other bytes, [`RoyaltyError::PlaceMoved`] when another reader of the log
/// was quicker; otherwise those of the database. Nothing is written then.
pub async fn merge(
    pool: &PgPool,
    partitions: &Partitions,
    key: &BatchKey,
    sorted: Sorted,
    place: Option<&Place>,
    now: UnixMs,
) -> Result<(Outcome, Tally), RoyaltyError> {
    let days: BTreeSet<i64> = sorted.plays.keys().map(|play| play.minted_at().day()).collect();
    partitions.ensure(pool, days).await?;
    let mut tx = pool.begin().await?;
    if let Some(place) = place {
        log::advance(&mut tx, place).await?;
    }
    if !claim(&mut tx, key, now).await? {
        let tally = merged_before(&mut tx, key).await?;
        tx.commit().await?;
        return Ok((Outcome::AlreadyMerged, tally));
    }
    lock_accounts(&mut tx, &sorted.plays, now).await?;
    let mut sorted = part_strangers(&mut tx, sorted).await?;
    let report = sorted.report.take();
    let settled = merge_events(&mut tx, sorted).await?;
    upsert_plays(&mut tx, &settled).await?;
    quarantine(&mut tx, key, &settled.quarantined).await?;
    count_receipts(&mut tx, key, settled.receipts).await?;
    counts::write(&mut tx, key, &settled.tallies).await?;
    if let Some(report) = report {
        counts::write_report(&mut tx, key, &report).await?;
    }
    tx.commit().await?;
    Ok((Outcome::Merged, settled.tallies.values().copied().fold(Tally::default(), Tally::plus)))
}

/// What is stored under some names, before and after they were merged again.
pub(crate) struct Again {
    /// Events that were there before.
    pub(crate) before: BTreeMap<EventName, Content>,
    /// Events that are there now. A name that is missing here belongs to a play of somebody else.
    pub(crate) after: BTreeMap<EventName, Content>,
}

/// Merges records that were quarantined once, in the caller's transaction and by the same steps as a batch. What is to be written of it is the
/// caller's: the records have been counted as acknowledged already.
pub(crate) async fn merge_again(tx: &mut PgConnection, sorted: Sorted, now: UnixMs) -> Result<Again, RoyaltyError> {
    let names: Vec<EventName> = sorted.candidates.keys().cloned().collect();
    let names: Vec<&EventName> = names.iter().collect();
    let contents =
        |events: BTreeMap<EventName, (Content, UnixMs)>| events.into_iter().map(|(name, (content, _))| (name, content)).collect();
    lock_accounts(tx, &sorted.plays, now).await?;
    let sorted = part_strangers(tx, sorted).await?;
    let strange: BTreeSet<EventName> =
        names.iter().filter(|name| !sorted.candidates.contains_key(**name)).map(|name| (*name).clone()).collect();
    let before: BTreeMap<EventName, Content> = contents(stored_events(tx, &names).await?);
    let settled = merge_events(tx, sorted).await?;
    upsert_plays(tx, &settled).await?;
    let mut after: BTreeMap<EventName, Content> = contents(stored_events(tx, &names).await?);
    after.retain(|name, _| !strange.contains(name));
    Ok(Again { before, after })
}

/// Takes the batch's key; false when it is taken. Waits for a concurrent attempt at the same batch to end.
async fn claim(tx: &mut PgConnection, key: &BatchKey, now: UnixMs) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query(
        "INSERT INTO royalty.batches (buffer, epoch, number, part, sha256, frozen_at_ms, merged_at_ms)
         VALUES ($1, $2, $3, $4, decode($5, 'hex'), $6, $7)
         ON CONFLICT DO NOTHING",
    )
    .bind(&key.buffer)
    .bind(&key.epoch)
    .bind(key.number)
    .bind(&key.part)
    .bind(&key.sha256)
    .bind(key.frozen_at.0)
    .bind(now.0)
    .execute(tx)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

async fn merged_before(tx: &mut PgConnection, key: &BatchKey) -> Result<Tally, RoyaltyError> {
    let sha256: String = sqlx::query_scalar(
        "SELECT encode(sha256, 'hex') FROM royalty.batches WHERE buffer = $1 AND epoch = $2 AND number = $3 AND part = $4",
    )
    .bind(&key.buffer)
    .bind(&key.epoch)
    .bind(key.number)
    .bind(&key.part)
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
         FROM royalty.batch_counts WHERE buffer = $1 AND epoch = $2 AND number = $3 AND part = $4",
    )
    .bind(&key.buffer)
    .bind(&key.epoch)
    .bind(key.number)
    .bind(&key.part)
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
        sorted.proven.remove(&play);
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
        hour: Hour::of(name.play.minted_at()),
        received_at: copy.received_at,
        record: name.record(copy),
    })
}

/// A batch whose records have all found their place.
#[derive(Default)]
struct Settled {
    plays: BTreeMap<PlayId, PlayChange>,
    quarantined: Vec<Quarantined>,
    tallies: BTreeMap<Hour, Tally>,
    receipts: ReceiptCounts,
}

struct PlayChange {
    claims: PlayClaims,
    new_events: i64,
    last_received_at: UnixMs,
    proven: Proven,
}

/// Writes what is new and tells for every copy of every name whether it was counted, a duplicate, or another event under that name.
async fn merge_events(tx: &mut PgConnection, sorted: Sorted) -> Result<Settled, RoyaltyError> {
    let inserted = insert_events(tx, &sorted.candidates).await?;
    let old: Vec<&EventName> = sorted.candidates.keys().filter(|name| !inserted.contains(*name)).collect();
    let stored = stored_events(tx, &old).await?;
    let mut settled = Settled { quarantined: sorted.quarantined, receipts: sorted.receipts, ..Settled::default() };
    for (hour, acked) in &sorted.acked {
        settled.tallies.entry(*hour).or_default().acked = *acked;
    }
    for refused in &settled.quarantined {
        settled.tallies.entry(refused.hour).or_default().quarantined += 1;
    }
    let mut earlier = Vec::new();
    for (name, copies) in &sorted.candidates {
        let is_new = inserted.contains(name);
        let (content, received_at) = match (stored.get(name), copies.first()) {
            (Some(stored), _) => *stored,
            (None, Some(first)) if is_new => (first.content, first.received_at),
            _ => return Err(RoyaltyError::Invariant(format!("event {name:?} is neither new nor stored"))),
        };
        let tally = settled.tallies.entry(Hour::of(name.play.minted_at())).or_default();
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
                proven: Proven::default(),
            });
            change.new_events += i64::from(is_new);
            change.last_received_at = change.last_received_at.max(last.received_at);
        }
    }
    for (play, proven) in sorted.proven {
        if let Some(claims) = sorted.plays.get(&play) {
            // A segment's receipt does not say when anything was heard: only events move the time of the play.
            let unheard = || PlayChange { claims: *claims, new_events: 0, last_received_at: play.minted_at(), proven: Proven::default() };
            settled.plays.entry(play).or_insert_with(unheard).proven = proven;
        }
    }
    move_receipts_back(tx, &earlier).await?;
    Ok(settled)
}

async fn upsert_plays(tx: &mut PgConnection, settled: &Settled) -> Result<(), sqlx::Error> {
    let plays = || settled.plays.iter();
    sqlx::query(
        "INSERT INTO royalty.plays AS known
                (play, pseudonym, track, version, territory, plan, duration_ms, minted_at_ms, last_received_at_ms, events, proven)
         SELECT play, pseudonym, track, version, territory, plan, duration_ms, minted_at_ms, last_received_at_ms, events,
                proven::INT8MULTIRANGE
         FROM unnest($1::UUID[], $2::UUID[], $3::UUID[], $4::UUID[], $5::TEXT[], $6::TEXT[], $7::BIGINT[], $8::BIGINT[], $9::BIGINT[],
                     $10::BIGINT[], $11::TEXT[])
              AS play (play, pseudonym, track, version, territory, plan, duration_ms, minted_at_ms, last_received_at_ms, events, proven)
         ORDER BY play
         ON CONFLICT (play) DO UPDATE
         SET last_received_at_ms = greatest(known.last_received_at_ms, excluded.last_received_at_ms),
             events = known.events + excluded.events,
             proven = known.proven + excluded.proven",
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
    .bind(plays().map(|(_, change)| multirange(&change.proven)).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

/// As PostgreSQL writes it.
fn multirange(proven: &Proven) -> String {
    let parts: Vec<String> = proven.parts().map(|(from, to)| format!("[{from},{to})")).collect();
    format!("{{{}}}", parts.join(","))
}

async fn count_receipts(tx: &mut PgConnection, key: &BatchKey, receipts: ReceiptCounts) -> Result<(), sqlx::Error> {
    if receipts.echoed == 0 {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO royalty.receipt_counts (buffer, epoch, number, part, echoed, believed, dropped)
         VALUES ($1, $2, $3, $4, $5, $6, $5 - $6)",
    )
    .bind(&key.buffer)
    .bind(&key.epoch)
    .bind(key.number)
    .bind(&key.part)
    .bind(receipts.echoed)
    .bind(receipts.believed)
    .execute(tx)
    .await?;
    Ok(())
}

async fn quarantine(tx: &mut PgConnection, key: &BatchKey, records: &[Quarantined]) -> Result<(), sqlx::Error> {
    if records.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO royalty.quarantine (buffer, epoch, number, part, reason, play, hour, received_at_ms, record)
         SELECT $1, $2, $3, $4, reason, play, hour, received_at_ms, record
         FROM unnest($5::TEXT[], $6::UUID[], $7::BIGINT[], $8::BIGINT[], $9::TEXT[]) AS record (reason, play, hour, received_at_ms, record)",
    )
    .bind(&key.buffer)
    .bind(&key.epoch)
    .bind(key.number)
    .bind(&key.part)
    .bind(records.iter().map(|record| record.reason.to_owned()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.play.map(PlayId::uuid)).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.hour.0).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.received_at.0).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.record.clone()).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}
