//! What a settlement reads (listens that are due, revenue) and what it leaves behind (itself, its frozen inputs).

use std::collections::BTreeMap;

use protocol::{AccountId, TrackId, UnixMs, token::Pseudonym};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    error::RoyaltyError,
    money::{Currency, Money},
    period::Period,
    settle::Listens,
    settlement::Settlement,
};

#[derive(sqlx::FromRow)]
struct ListensRow {
    pseudonym: Uuid,
    track: Uuid,
    split: Option<i64>,
    owner: Option<Uuid>,
    listens: i64,
}

impl ListensRow {
    fn listens(self) -> Result<Listens, RoyaltyError> {
        Ok(Listens {
            listener: Pseudonym(self.pseudonym.into_bytes()),
            track: TrackId(self.track),
            split: self.split,
            owner: self.owner.map(AccountId),
            listens: count(self.listens)?,
        })
    }
}

fn count(number: i64) -> Result<u64, RoyaltyError> {
    u64::try_from(number).map_err(|_| RoyaltyError::Invariant(format!("{number} listens")))
}

/// Provisional listens that the settlement of a period would take, with the split and the owner that apply to them: those of the
/// period, and late ones of earlier periods that are settled already.
///
/// # Errors
/// Those of the database.
pub async fn due_listens(tx: &mut PgConnection, period: Period) -> Result<Vec<Listens>, RoyaltyError> {
    let (low, high) = period.plays();
    let rows: Vec<ListensRow> = sqlx::query_as(
        "WITH due AS (
             SELECT pseudonym, track, minted_at_ms FROM royalty.plays
             WHERE state = 'provisional' AND play < $2
               AND (play >= $1 OR to_char(to_timestamp(minted_at_ms / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM')
                                  IN (SELECT period FROM royalty.settlements))
         )
         SELECT due.pseudonym, due.track, split.id AS split, tracks.owner, count(*) AS listens
         FROM due
         LEFT JOIN royalty.tracks ON tracks.id = due.track
         LEFT JOIN LATERAL (
             SELECT id FROM royalty.splits
             WHERE splits.track = due.track AND effective_from_ms <= due.minted_at_ms
             ORDER BY effective_from_ms DESC, id DESC LIMIT 1
         ) AS split ON TRUE
         GROUP BY due.pseudonym, due.track, split.id, tracks.owner",
    )
    .bind(low)
    .bind(high)
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(ListensRow::listens).collect()
}

/// Makes the due listens final, in the order of their ids (the order every writer of plays locks in), and tells them. A play that
/// becomes valid at the same moment is either among them or stays provisional for the next settlement.
///
/// # Errors
/// Those of the database.
pub async fn close(tx: &mut PgConnection, period: Period) -> Result<Vec<Listens>, RoyaltyError> {
    let (low, high) = period.plays();
    let rows: Vec<ListensRow> = sqlx::query_as(
        "WITH due AS (
             SELECT play FROM royalty.plays
             WHERE state = 'provisional' AND play < $2
               AND (play >= $1 OR to_char(to_timestamp(minted_at_ms / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM')
                                  IN (SELECT period FROM royalty.settlements))
             ORDER BY play
             FOR UPDATE
         ), closed AS (
             UPDATE royalty.plays SET state = 'final', settled_in = $3
             FROM due WHERE plays.play = due.play AND plays.play < $2
             RETURNING plays.pseudonym, plays.track, plays.minted_at_ms
         )
         SELECT closed.pseudonym, closed.track, split.id AS split, tracks.owner, count(*) AS listens
         FROM closed
         LEFT JOIN royalty.tracks ON tracks.id = closed.track
         LEFT JOIN LATERAL (
             SELECT id FROM royalty.splits
             WHERE splits.track = closed.track AND effective_from_ms <= closed.minted_at_ms
             ORDER BY effective_from_ms DESC, id DESC LIMIT 1
         ) AS split ON TRUE
         GROUP BY closed.pseudonym, closed.track, split.id, tracks.owner",
    )
    .bind(low)
    .bind(high)
    .bind(period.to_string())
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(ListensRow::listens).collect()
}

/// Keeps what the settlement was computed from.
///
/// # Errors
/// Those of the database.
pub async fn freeze(tx: &mut PgConnection, settlement: Uuid, listens: &[Listens]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO royalty.settlement_inputs (settlement, pseudonym, track, split, owner, listens)
         SELECT $1, pseudonym, track, split, owner, listens
         FROM unnest($2::UUID[], $3::UUID[], $4::BIGINT[], $5::UUID[], $6::BIGINT[]) AS heard (pseudonym, track, split, owner, listens)",
    )
    .bind(settlement)
    .bind(listens.iter().map(|heard| heard.listener.uuid()).collect::<Vec<_>>())
    .bind(listens.iter().map(|heard| heard.track.uuid()).collect::<Vec<_>>())
    .bind(listens.iter().map(|heard| heard.split).collect::<Vec<_>>())
    .bind(listens.iter().map(|heard| heard.owner.map(AccountId::uuid)).collect::<Vec<_>>())
    .bind(listens.iter().map(|heard| i64::try_from(heard.listens).unwrap_or(i64::MAX)).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

/// The listens of a settlement as they were frozen.
///
/// # Errors
/// Those of the database.
pub async fn frozen_listens(tx: &mut PgConnection, settlement: Uuid) -> Result<Vec<Listens>, RoyaltyError> {
    let rows: Vec<ListensRow> =
        sqlx::query_as("SELECT pseudonym, track, split, owner, listens FROM royalty.settlement_inputs WHERE settlement = $1")
            .bind(settlement)
            .fetch_all(tx)
            .await?;
    rows.into_iter().map(ListensRow::listens).collect()
}

/// What each listener paid for the period.
///
/// # Errors
/// Those of the database.
pub async fn revenue(tx: &mut PgConnection, period: Period, currency: Currency) -> Result<BTreeMap<Pseudonym, i64>, RoyaltyError> {
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT pseudonym, sum(micros)::BIGINT FROM royalty.revenue
         WHERE period = $1 AND currency = $2
         GROUP BY pseudonym",
    )
    .bind(period.to_string())
    .bind(currency.to_string())
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|(pseudonym, micros)| (Pseudonym(pseudonym.into_bytes()), micros)).collect())
}

#[derive(sqlx::FromRow)]
struct SettlementRow {
    id: Uuid,
    model: String,
    rule_version: i32,
    listens: i64,
    carried_in_micros: i64,
    pool_micros: i64,
    paid_micros: i64,
    remainder_micros: i64,
    root: String,
    inputs_sha256: String,
}

/// The settlement that closed a period.
///
/// # Errors
/// Those of the database.
pub async fn of_period(tx: &mut PgConnection, period: Period, currency: Currency) -> Result<Option<Settlement>, RoyaltyError> {
    let row: Option<SettlementRow> = sqlx::query_as(
        "SELECT id, model, rule_version, listens, carried_in_micros, pool_micros, paid_micros, remainder_micros,
                encode(root, 'hex') AS root, encode(inputs_sha256, 'hex') AS inputs_sha256
         FROM royalty.settlements WHERE period = $1 AND currency = $2",
    )
    .bind(period.to_string())
    .bind(currency.to_string())
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let money = |micros| Money { micros, currency };
    Ok(Some(Settlement {
        id: Some(row.id),
        period,
        currency,
        model: row.model.parse().map_err(RoyaltyError::Invariant)?,
        rule_version: u16::try_from(row.rule_version).unwrap_or(u16::MAX),
        listens: count(row.listens)?,
        pool: money(row.pool_micros),
        carried_in: money(row.carried_in_micros),
        paid: money(row.paid_micros),
        remainder: money(row.remainder_micros),
        root: row.root,
        inputs_sha256: row.inputs_sha256,
    }))
}

/// Stores a settlement, which closes its period.
///
/// # Errors
/// Those of the database, which refuses a second one and one that does not add up.
pub async fn insert(tx: &mut PgConnection, id: Uuid, settlement: &Settlement, now: UnixMs) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO royalty.settlements
                (id, period, currency, model, rule_version, listens, carried_in_micros, pool_micros, paid_micros, remainder_micros,
                 root, inputs_sha256, settled_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, decode($11, 'hex'), decode($12, 'hex'), $13)",
    )
    .bind(id)
    .bind(settlement.period.to_string())
    .bind(settlement.currency.to_string())
    .bind(settlement.model.name())
    .bind(i32::from(settlement.rule_version))
    .bind(i64::try_from(settlement.listens).unwrap_or(i64::MAX))
    .bind(settlement.carried_in.micros)
    .bind(settlement.pool.micros)
    .bind(settlement.paid.micros)
    .bind(settlement.remainder.micros)
    .bind(&settlement.root)
    .bind(&settlement.inputs_sha256)
    .bind(now.0)
    .execute(tx)
    .await?;
    Ok(())
}
