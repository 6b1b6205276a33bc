//! Statements: what a settlement pays one payee, track by track. Read only by the payee, whose id every query demands.

use protocol::{AccountId, TrackId, UnixMs};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::plays::TrackRef;
use crate::{error::RoyaltyError, settle::Payee, settlement::StatementDraft, sum_tree::Leaf};

/// Stores the statements of a settlement, in the order of the sum tree's leaves.
///
/// # Errors
/// Those of the database.
pub async fn insert(tx: &mut PgConnection, settlement: Uuid, statements: &[StatementDraft]) -> Result<(), sqlx::Error> {
    let name = |payee: Payee| match payee {
        Payee::Account(account) => ("payee", account.uuid()),
        Payee::Unclaimed(track) => ("unclaimed", track.uuid()),
    };
    sqlx::query(
        "INSERT INTO royalty.statements (id, settlement, leaf, kind, payee, listens, micros, salt)
         SELECT id, $1, leaf, kind, payee, listens, micros, decode(salt, 'hex')
         FROM unnest($2::UUID[], $3::INTEGER[], $4::TEXT[], $5::UUID[], $6::BIGINT[], $7::BIGINT[], $8::TEXT[])
              AS statement (id, leaf, kind, payee, listens, micros, salt)",
    )
    .bind(settlement)
    .bind(statements.iter().map(|statement| statement.id).collect::<Vec<_>>())
    .bind(statements.iter().zip(0i32..).map(|(_, leaf)| leaf).collect::<Vec<_>>())
    .bind(statements.iter().map(|statement| name(statement.leaf.payee).0).collect::<Vec<_>>())
    .bind(statements.iter().map(|statement| name(statement.leaf.payee).1).collect::<Vec<_>>())
    .bind(statements.iter().map(|statement| i64::try_from(statement.listens).unwrap_or(i64::MAX)).collect::<Vec<_>>())
    .bind(statements.iter().map(|statement| statement.leaf.micros).collect::<Vec<_>>())
    .bind(statements.iter().map(|statement| hex::encode(statement.leaf.salt)).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await?;
    let lines = || statements.iter().flat_map(|statement| statement.lines.iter().map(move |line| (statement.id, line)));
    sqlx::query(
        "INSERT INTO royalty.statement_lines (statement, track, listens, micros)
         SELECT statement, track, listens, micros
         FROM unnest($1::UUID[], $2::UUID[], $3::BIGINT[], $4::BIGINT[]) AS line (statement, track, listens, micros)",
    )
    .bind(lines().map(|(statement, _)| statement).collect::<Vec<_>>())
    .bind(lines().map(|(_, line)| line.track.uuid()).collect::<Vec<_>>())
    .bind(lines().map(|(_, line)| i64::try_from(line.listens).unwrap_or(i64::MAX)).collect::<Vec<_>>())
    .bind(lines().map(|(_, line)| line.micros).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

/// A statement without its lines.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StatementRow {
    /// Its id.
    pub id: Uuid,
    /// Its settlement.
    pub settlement: Uuid,
    /// Its place in the sum tree.
    pub leaf: i32,
    /// The month.
    pub period: String,
    /// How the pool was shared.
    pub model: String,
    /// ISO 4217.
    pub currency: String,
    /// Listens behind it.
    pub listens: i64,
    /// The exact sum of its lines.
    pub micros: i64,
    /// When it was posted.
    pub settled_at_ms: i64,
}

/// The payee's statements before `before`, newest first.
///
/// # Errors
/// Those of the database.
pub async fn of_payee(pool: &PgPool, payee: AccountId, before: Option<Uuid>, rows: i64) -> Result<Vec<StatementRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT statements.id, settlement, leaf, period, model, currency, statements.listens, statements.micros, settled_at_ms
         FROM royalty.statements JOIN royalty.settlements ON settlements.id = statements.settlement
         WHERE kind = 'payee' AND payee = $1 AND statements.id < $2
         ORDER BY statements.id DESC
         LIMIT $3",
    )
    .bind(payee.uuid())
    .bind(before.unwrap_or(Uuid::max()))
    .bind(rows)
    .fetch_all(pool)
    .await
}

/// One statement of the payee.
///
/// # Errors
/// [`RoyaltyError::NotFound`] when it is not there or another's.
pub async fn one(pool: &PgPool, payee: AccountId, id: Uuid) -> Result<StatementRow, RoyaltyError> {
    let row = sqlx::query_as(
        "SELECT statements.id, settlement, leaf, period, model, currency, statements.listens, statements.micros, settled_at_ms
         FROM royalty.statements JOIN royalty.settlements ON settlements.id = statements.settlement
         WHERE kind = 'payee' AND payee = $1 AND statements.id = $2",
    )
    .bind(payee.uuid())
    .bind(id)
    .fetch_optional(pool)
    .await?;
    row.ok_or(RoyaltyError::NotFound("statement"))
}

/// What one track earned the payee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineRow {
    /// The track.
    pub track: TrackRef,
    /// Its recording's code, for statements that leave the house.
    pub isrc: Option<String>,
    /// Listens in which the payee has a share.
    pub listens: i64,
    /// How much.
    pub micros: i64,
}

type LineTuple = (Uuid, Option<String>, Option<Uuid>, Option<String>, Option<String>, i64, i64);

/// The lines of a statement, most money first.
///
/// # Errors
/// Those of the database.
pub async fn lines(pool: &PgPool, statement: Uuid) -> Result<Vec<LineRow>, sqlx::Error> {
    let rows: Vec<LineTuple> = sqlx::query_as(
        "SELECT track, title, artist_id, artist_name, isrc, listens, micros
         FROM royalty.statement_lines LEFT JOIN royalty.tracks ON tracks.id = statement_lines.track
         WHERE statement = $1
         ORDER BY micros DESC, track",
    )
    .bind(statement)
    .fetch_all(pool)
    .await?;
    let line = |(track, title, artist_id, artist_name, isrc, listens, micros): LineTuple| LineRow {
        track: TrackRef::of(track, title, artist_id, artist_name),
        isrc,
        listens,
        micros,
    };
    Ok(rows.into_iter().map(line).collect())
}

/// The leaves of a settlement's sum tree, and its root.
///
/// # Errors
/// Those of the database.
pub async fn leaves(pool: &PgPool, settlement: Uuid) -> Result<(Vec<Leaf>, String), RoyaltyError> {
    let rows: Vec<(String, Uuid, i64, Vec<u8>)> =
        sqlx::query_as("SELECT kind, payee, micros, salt FROM royalty.statements WHERE settlement = $1 ORDER BY leaf")
            .bind(settlement)
            .fetch_all(pool)
            .await?;
    let root: String =
        sqlx::query_scalar("SELECT encode(root, 'hex') FROM royalty.settlements WHERE id = $1").bind(settlement).fetch_one(pool).await?;
    let leaf = |(kind, payee, micros, salt): (String, Uuid, i64, Vec<u8>)| {
        let payee = if kind == "payee" { Payee::Account(AccountId(payee)) } else { Payee::Unclaimed(TrackId(payee)) };
        let salt = salt.try_into().map_err(|_| RoyaltyError::Invariant("a leaf's salt is not 16 bytes".to_owned()))?;
        Ok(Leaf { salt, payee, micros })
    };
    Ok((rows.into_iter().map(leaf).collect::<Result<_, RoyaltyError>>()?, root))
}

impl StatementRow {
    /// When it was posted.
    #[must_use]
    pub const fn settled_at(&self) -> UnixMs {
        UnixMs(self.settled_at_ms)
    }
}
