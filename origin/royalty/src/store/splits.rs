//! Splits: who shares what a track earns. Rows are only added; a settlement freezes the id of the one it used.

use std::collections::BTreeMap;

use protocol::{AccountId, ArtistId, TrackId, UnixMs};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::error::RoyaltyError;

/// A split as its owner sets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The track.
    pub track: TrackId,
    /// Listens from here on.
    pub effective_from: UnixMs,
    /// Payees and their basis points, in the order of the payees.
    pub shares: BTreeMap<AccountId, u32>,
}

/// Who has a say in a track's splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Say {
    /// Who is paid while there is no split.
    pub owner: AccountId,
    /// The artist whose owners decide; `owner` alone does when there is none.
    pub acts_for: Option<ArtistId>,
}

/// Who has a say in the splits of `track`, if it is known.
///
/// # Errors
/// Those of the database.
pub async fn say(pool: &PgPool, track: TrackId) -> Result<Option<Say>, sqlx::Error> {
    let row: Option<(Uuid, Option<Uuid>)> =
        sqlx::query_as("SELECT owner, acts_for FROM royalty.tracks WHERE id = $1").bind(track.uuid()).fetch_optional(pool).await?;
    Ok(row.map(|(owner, acts_for)| Say { owner: AccountId(owner), acts_for: acts_for.map(ArtistId) }))
}

/// Adds a split, unless it is the one that holds already.
///
/// # Errors
/// Those of the database, which refuses shares that do not add up.
pub async fn put(pool: &PgPool, split: &Split, set_by: AccountId, now: UnixMs) -> Result<(), sqlx::Error> {
    let payees: Vec<Uuid> = split.shares.keys().map(|payee| payee.uuid()).collect();
    let basis_points: Vec<i32> = split.shares.values().map(|points| i32::try_from(*points).unwrap_or(i32::MAX)).collect();
    sqlx::query(
        "INSERT INTO royalty.splits (track, effective_from_ms, payees, basis_points, set_by, set_at_ms)
         SELECT $1, $2, $3, $4, $5, $6
         WHERE NOT EXISTS (
             SELECT FROM (SELECT payees, basis_points FROM royalty.splits
                          WHERE track = $1 AND effective_from_ms = $2 ORDER BY id DESC LIMIT 1) AS newest
             WHERE newest.payees = $3 AND newest.basis_points = $4)",
    )
    .bind(split.track.uuid())
    .bind(split.effective_from.0)
    .bind(payees)
    .bind(basis_points)
    .bind(set_by.uuid())
    .bind(now.0)
    .execute(pool)
    .await?;
    Ok(())
}

/// The shares of some splits.
///
/// # Errors
/// Those of the database.
pub async fn shares(tx: &mut PgConnection, ids: &[i64]) -> Result<BTreeMap<i64, Vec<(AccountId, u32)>>, RoyaltyError> {
    let rows: Vec<(i64, Vec<Uuid>, Vec<i32>)> =
        sqlx::query_as("SELECT id, payees, basis_points FROM royalty.splits WHERE id = ANY ($1)").bind(ids).fetch_all(tx).await?;
    rows.into_iter()
        .map(|(id, payees, basis_points)| {
            let points = basis_points
                .into_iter()
                .map(|points| u32::try_from(points).map_err(|_| RoyaltyError::Invariant(format!("split {id} has a share of {points}"))));
            let shares = payees.into_iter().map(AccountId).zip(points).map(|(payee, points)| Ok((payee, points?)));
            Ok((id, shares.collect::<Result<_, RoyaltyError>>()?))
        })
        .collect()
}
