//! Plays: what a fold reads and writes, and what a listener and the search index are shown.

use std::collections::BTreeMap;

use protocol::{
    ArtistId, PlayId, TrackId, UnixMs,
    heartbeat::EventKind,
    listen::{Heard, Listen, ListenState, PlayEvidence, RULE_VERSION, Uncorroborated},
    token::Pseudonym,
};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::merge;
use crate::{collector::PLAY_LIFE_MS, error::RoyaltyError, period::play_floor};

/// Plays whose times are further apart than this cannot compete: the rule's slack of 2 s is what 1.05 x this gap pays back.
const APART_MS: i64 = 2_000;

/// An account that must be folded, and the plays that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Dirty {
    pseudonym: Uuid,
    earliest: Uuid,
    latest: Uuid,
}

/// Takes the accounts, `at_most` so many, that have waited longest and that nobody else works on. They stay locked until the transaction ends.
///
/// # Errors
/// Those of the database.
pub async fn take_dirty(tx: &mut PgConnection, at_most: i64) -> Result<Vec<Dirty>, sqlx::Error> {
    sqlx::query_as(
        "SELECT pseudonym, earliest, latest FROM royalty.dirty_accounts
         ORDER BY since_ms, pseudonym LIMIT $1
         FOR UPDATE SKIP LOCKED",
    )
    .bind(at_most)
    .fetch_all(tx)
    .await
}

/// As [`take_dirty`], but waits for whoever works on the account, and takes only what was there at `until`. `None` may also mean that
/// the other one finished: see [`is_dirty`].
///
/// # Errors
/// Those of the database.
pub async fn await_dirty(tx: &mut PgConnection, until: UnixMs) -> Result<Option<Dirty>, sqlx::Error> {
    sqlx::query_as(
        "SELECT pseudonym, earliest, latest FROM royalty.dirty_accounts
         WHERE since_ms <= $1
         ORDER BY since_ms, pseudonym LIMIT 1
         FOR UPDATE",
    )
    .bind(until.0)
    .fetch_optional(tx)
    .await
}

/// Whether an account waits since `until` or longer.
///
/// # Errors
/// Those of the database.
pub async fn is_dirty(pool: &PgPool, until: UnixMs) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM royalty.dirty_accounts WHERE since_ms <= $1)").bind(until.0).fetch_one(pool).await
}

/// Has the plays judged again that another policy on uncorroborated listens decided otherwise.
///
/// # Errors
/// Those of the database.
pub async fn judge_again(pool: &PgPool, uncorroborated: Uncorroborated, now: UnixMs) -> Result<(), sqlx::Error> {
    let otherwise = match uncorroborated {
        Uncorroborated::Count => {
            "INSERT INTO royalty.dirty_accounts AS dirty (pseudonym, earliest, latest, since_ms)
             SELECT pseudonym, min(play::TEXT)::UUID, max(play::TEXT)::UUID, $1 FROM royalty.plays
             WHERE state = 'void' AND reason = 'uncorroborated'
             GROUP BY pseudonym ORDER BY pseudonym
             ON CONFLICT (pseudonym) DO UPDATE
             SET earliest = least(dirty.earliest, excluded.earliest), latest = greatest(dirty.latest, excluded.latest)"
        }
        Uncorroborated::Void => {
            "INSERT INTO royalty.dirty_accounts AS dirty (pseudonym, earliest, latest, since_ms)
             SELECT pseudonym, min(play::TEXT)::UUID, max(play::TEXT)::UUID, $1 FROM royalty.plays
             WHERE state = 'provisional' AND NOT corroborated
             GROUP BY pseudonym ORDER BY pseudonym
             ON CONFLICT (pseudonym) DO UPDATE
             SET earliest = least(dirty.earliest, excluded.earliest), latest = greatest(dirty.latest, excluded.latest)"
        }
    };
    sqlx::query(otherwise).bind(now.0).execute(pool).await?;
    Ok(())
}

/// The accounts are as folded as their events.
///
/// # Errors
/// Those of the database.
pub async fn clear_dirty(tx: &mut PgConnection, accounts: &[Dirty]) -> Result<(), sqlx::Error> {
    let accounts: Vec<Uuid> = accounts.iter().map(|dirty| dirty.pseudonym).collect();
    sqlx::query("DELETE FROM royalty.dirty_accounts WHERE pseudonym = ANY ($1)").bind(accounts).execute(tx).await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct PlayRow {
    pseudonym: Uuid,
    play: Uuid,
    duration_ms: i64,
    minted_at_ms: i64,
    last_received_at_ms: i64,
    proven_from_ms: Vec<i64>,
    proven_to_ms: Vec<i64>,
}

/// The plays that a change of `accounts` can reach, account by account, with all their events; locked in the order of their ids, which is
/// the order of everybody who locks plays of several accounts, so that nobody waits in a circle.
///
/// A play competes with those of its account whose times touch its own, and those with others: the set is widened until it touches nothing
/// else. It begins with all until `now`, since what has just been merged was received just now, and mostly ends there. It is one set for all
/// accounts, so that a query serves them all; what it holds beyond need touches nothing and changes no verdict. A play takes events for
/// [`PLAY_LIFE_MS`] at most, which bounds every look back.
///
/// # Errors
/// Those of the database.
pub async fn evidence(tx: &mut PgConnection, accounts: &[Dirty], now: UnixMs) -> Result<Vec<Vec<PlayEvidence>>, RoyaltyError> {
    let pseudonyms: Vec<Uuid> = accounts.iter().map(|dirty| dirty.pseudonym).collect();
    let minted = |play: Uuid| PlayId(play).minted_at();
    let (Some(mut low), Some(mut high)) =
        (accounts.iter().map(|dirty| minted(dirty.earliest)).min(), accounts.iter().map(|dirty| minted(dirty.latest).max(now)).max())
    else {
        return Ok(Vec::new());
    };
    let plays = loop {
        let plays: Vec<PlayRow> = sqlx::query_as(
            "SELECT pseudonym, play, duration_ms, minted_at_ms, last_received_at_ms,
                    ARRAY(SELECT lower(part) FROM unnest(proven) AS part ORDER BY part) AS proven_from_ms,
                    ARRAY(SELECT upper(part) FROM unnest(proven) AS part ORDER BY part) AS proven_to_ms
             FROM royalty.plays
             WHERE pseudonym = ANY ($1) AND play >= $2 AND play < $3 AND last_received_at_ms >= $4
             ORDER BY play
             FOR UPDATE",
        )
        .bind(&pseudonyms)
        .bind(play_floor(low.plus_ms(-PLAY_LIFE_MS - APART_MS)))
        .bind(play_floor(high.plus_ms(APART_MS + 1)))
        .bind(low.plus_ms(-APART_MS).0)
        .fetch_all(&mut *tx)
        .await?;
        let earliest = plays.iter().map(|play| UnixMs(play.minted_at_ms)).min().map_or(low, |at| at.min(low));
        let latest = plays.iter().map(|play| UnixMs(play.last_received_at_ms)).max().map_or(high, |at| at.max(high));
        if (earliest, latest) == (low, high) {
            break plays;
        }
        (low, high) = (earliest, latest);
    };
    let mut events = events_of(tx, &plays).await?;
    let mut by_account: BTreeMap<Uuid, Vec<PlayEvidence>> = BTreeMap::new();
    for row in plays {
        let proven = row.proven_from_ms.iter().zip(&row.proven_to_ms).map(|(from, to)| Ok((narrow(*from)?, narrow(*to)?)));
        by_account.entry(row.pseudonym).or_default().push(PlayEvidence {
            play: PlayId(row.play),
            duration_ms: narrow(row.duration_ms)?,
            events: events.remove(&row.play).unwrap_or_default(),
            proven: proven.collect::<Result<_, RoyaltyError>>()?,
        });
    }
    Ok(by_account.into_values().collect())
}

#[derive(sqlx::FromRow)]
struct HeardRow {
    play: Uuid,
    sender: String,
    seq: i64,
    kind: String,
    from_ms: i64,
    to_ms: i64,
    clock_at_ms: Option<i64>,
    clock_playing: Option<bool>,
    clock_position_ms: Option<i64>,
    received_at_ms: i64,
}

async fn events_of(tx: &mut PgConnection, plays: &[PlayRow]) -> Result<BTreeMap<Uuid, Vec<Heard>>, RoyaltyError> {
    let names: Vec<Uuid> = plays.iter().map(|row| row.play).collect();
    let (Some(low), Some(high)) = (names.iter().min().copied(), names.iter().max().copied()) else {
        return Ok(BTreeMap::new());
    };
    let rows: Vec<HeardRow> = sqlx::query_as(
        "SELECT play, sender, seq, kind, from_ms, to_ms, clock_at_ms, clock_playing, clock_position_ms, received_at_ms FROM royalty.events
         WHERE play = ANY ($1) AND play BETWEEN $2 AND $3",
    )
    .bind(names)
    .bind(low)
    .bind(high)
    .fetch_all(tx)
    .await?;
    let mut events: BTreeMap<Uuid, Vec<Heard>> = BTreeMap::new();
    for row in rows {
        let kind = EventKind::parse(&row.kind).ok_or_else(|| RoyaltyError::Invariant(format!("event kind {}", row.kind)))?;
        let heard = Heard {
            sender: row.sender,
            seq: narrow(row.seq)?,
            kind,
            from_ms: narrow(row.from_ms)?,
            to_ms: narrow(row.to_ms)?,
            clock: merge::clock(row.clock_at_ms, row.clock_playing, row.clock_position_ms)?,
            received_at: UnixMs(row.received_at_ms),
        };
        events.entry(row.play).or_default().push(heard);
    }
    Ok(events)
}

/// Stores what the rule found. A final listen is not touched: that it would be judged otherwise now is written beside it.
///
/// # Errors
/// Those of the database.
pub async fn store(tx: &mut PgConnection, listens: &[Listen], now: UnixMs) -> Result<(), sqlx::Error> {
    let (Some(low), Some(high)) = (listens.iter().map(|listen| listen.play).min(), listens.iter().map(|listen| listen.play).max()) else {
        return Ok(());
    };
    let plays: Vec<Uuid> = listens.iter().map(|listen| listen.play.uuid()).collect();
    let reasons: Vec<Option<String>> = listens
        .iter()
        .map(|listen| match listen.state {
            ListenState::Void(reason) => Some(reason.code().to_owned()),
            ListenState::Open | ListenState::Provisional => None,
        })
        .collect();
    sqlx::query(
        "UPDATE royalty.plays
         SET folded = events,
             state = CASE WHEN plays.state = 'final' THEN 'final' ELSE found.state END,
             reason = CASE WHEN plays.state = 'final' THEN NULL ELSE found.reason END,
             played_ms = CASE WHEN plays.state = 'final' THEN plays.played_ms ELSE found.played_ms END,
             corroborated = CASE WHEN plays.state = 'final' THEN plays.corroborated ELSE found.corroborated END,
             rule_version = CASE WHEN plays.state = 'final' THEN plays.rule_version ELSE $5 END
         FROM unnest($1::UUID[], $2::TEXT[], $3::TEXT[], $4::BIGINT[], $8::BOOLEAN[])
              AS found (play, state, reason, played_ms, corroborated)
         WHERE plays.play = found.play AND plays.play BETWEEN $6 AND $7
           AND (plays.folded, plays.state, plays.reason, plays.played_ms, plays.corroborated, plays.rule_version)
               IS DISTINCT FROM (plays.events, found.state, found.reason, found.played_ms, found.corroborated, $5)",
    )
    .bind(&plays)
    .bind(listens.iter().map(|listen| state_name(listen.state).to_owned()).collect::<Vec<_>>())
    .bind(&reasons)
    .bind(listens.iter().map(|listen| i64::from(listen.played_ms)).collect::<Vec<_>>())
    .bind(i32::from(RULE_VERSION))
    .bind(low.uuid())
    .bind(high.uuid())
    .bind(listens.iter().map(|listen| listen.corroborated).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO royalty.late_findings (play, settled_in, rule_version, reason, found_at_ms)
         SELECT plays.play, plays.settled_in, $3, found.reason, $4
         FROM royalty.plays JOIN unnest($1::UUID[], $2::TEXT[]) AS found (play, reason) USING (play)
         WHERE plays.state = 'final' AND found.reason IS NOT NULL AND plays.play BETWEEN $5 AND $6
         ON CONFLICT DO NOTHING",
    )
    .bind(&plays)
    .bind(&reasons)
    .bind(i32::from(RULE_VERSION))
    .bind(now.0)
    .bind(low.uuid())
    .bind(high.uuid())
    .execute(tx)
    .await?;
    Ok(())
}

const fn state_name(state: ListenState) -> &'static str {
    match state {
        ListenState::Open => "open",
        ListenState::Provisional => "provisional",
        ListenState::Void(_) => "void",
    }
}

fn narrow(number: i64) -> Result<u32, RoyaltyError> {
    u32::try_from(number).map_err(|_| RoyaltyError::Invariant(format!("{number} was stored where a u32 was written")))
}

/// A track as history and statements show it; `title` and `artist` are null until the catalogue has told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct TrackRef {
    /// The track.
    #[schema(value_type = uuid::Uuid)]
    pub id: TrackId,
    /// Its title.
    pub title: Option<String>,
    /// Its artist.
    pub artist: Option<ArtistRef>,
}

/// An artist as history and statements show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ArtistRef {
    /// The artist.
    #[schema(value_type = uuid::Uuid)]
    pub id: ArtistId,
    /// Their name.
    pub name: String,
}

impl TrackRef {
    pub(crate) fn of(id: Uuid, title: Option<String>, artist_id: Option<Uuid>, artist_name: Option<String>) -> Self {
        let artist = artist_id.zip(artist_name).map(|(id, name)| ArtistRef { id: ArtistId(id), name });
        Self { id: TrackId(id), title, artist }
    }
}

/// A play as its listener sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct HistoryItem {
    /// The play.
    #[schema(value_type = uuid::Uuid)]
    pub play_id: PlayId,
    /// What was played.
    pub track: TrackRef,
    /// When the play was permitted.
    #[serde(with = "protocol::time::rfc3339")]
    #[schema(value_type = String, example = "2026-11-24T21:38:00.000Z")]
    pub started_at: UnixMs,
    /// Media time that is credited so far.
    pub played_ms: i64,
    /// `open`, `provisional`, `final` or `void`.
    pub state: String,
    /// Why it is void.
    pub reason: Option<String>,
    /// Whether the player's receipts show that enough of what was heard was also fetched.
    pub corroborated: bool,
}

type HistoryRow = (Uuid, Uuid, i64, i64, String, Option<String>, bool, Option<String>, Option<Uuid>, Option<String>);

/// The account's plays before `before`, newest first.
///
/// # Errors
/// Those of the database.
pub async fn history(pool: &PgPool, pseudonym: Pseudonym, before: Option<PlayId>, rows: i64) -> Result<Vec<HistoryItem>, sqlx::Error> {
    let rows: Vec<HistoryRow> = sqlx::query_as(
        "SELECT play, track, minted_at_ms, played_ms, plays.state, reason, corroborated, title, artist_id, artist_name
         FROM royalty.plays LEFT JOIN royalty.tracks ON tracks.id = plays.track
         WHERE pseudonym = $1 AND play < $2
         ORDER BY play DESC
         LIMIT $3",
    )
    .bind(pseudonym.uuid())
    .bind(before.map_or(Uuid::max(), PlayId::uuid))
    .bind(rows)
    .fetch_all(pool)
    .await?;
    let item = |(play, track, started_at, played_ms, state, reason, corroborated, title, artist_id, artist_name): HistoryRow| HistoryItem {
        play_id: PlayId(play),
        track: TrackRef::of(track, title, artist_id, artist_name),
        started_at: UnixMs(started_at),
        played_ms,
        state,
        reason,
        corroborated,
    };
    Ok(rows.into_iter().map(item).collect())
}

/// How often a track was listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Popularity {
    /// The track.
    #[schema(value_type = uuid::Uuid)]
    pub track: TrackId,
    /// Valid listens.
    pub listens: i64,
}

/// The tracks with most valid listens since `since`, most first.
///
/// # Errors
/// Those of the database.
pub async fn popularity(pool: &PgPool, since: UnixMs, limit: i64) -> Result<Vec<Popularity>, sqlx::Error> {
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT track, count(*) FROM royalty.plays
         WHERE play >= $1 AND state IN ('provisional', 'final')
         GROUP BY track
         ORDER BY count(*) DESC, track
         LIMIT $2",
    )
    .bind(play_floor(since))
    .bind(limit)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|(track, listens)| Popularity { track: TrackId(track), listens }).collect())
}
