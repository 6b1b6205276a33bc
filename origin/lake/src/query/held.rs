//! What the files hold, hour by hour, counted in the files themselves: what reconciliation holds against the ledger.

use std::time::Duration;

use protocol::UnixMs;

use super::{Limits, QueryError};
use crate::{Lake, rows::day_of};

/// What the files hold of one hour.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Held {
    /// When the hour of the mint began.
    pub hour_ms: i64,
    /// Plays, each once.
    pub plays: i64,
    /// Of these, valid listens.
    pub valid: i64,
    /// The sum of their credited time.
    pub played_ms: i64,
}

const DAY_MS: i64 = 86_400_000;
/// For all days together: whoever reconciles waits for it.
const WITHIN: Duration = Duration::from_secs(20);

/// Counts plays of whole hours. A day at a time, since the newest version of each play is held in memory until all of its day are read.
///
/// # Errors
/// [`QueryError`].
pub async fn held(lake: &Lake, from: UnixMs, until: UnixMs) -> Result<Vec<Held>, QueryError> {
    let days = from.day()..=until.plus_ms(-1).day();
    let counted = async {
        let mut hours = Vec::new();
        for day in days {
            hours.extend(of_day(lake, day, from, until).await?);
        }
        Ok(hours)
    };
    tokio::time::timeout(WITHIN, counted).await.unwrap_or_else(|_| Err(QueryError::TooLong(WITHIN.as_secs())))
}

async fn of_day(lake: &Lake, day: i64, from: UnixMs, until: UnixMs) -> Result<Vec<Held>, QueryError> {
    let day = day_of(UnixMs(day * DAY_MS));
    let (from, until) = (from.0, until.0);
    let sql = format!(
        "SELECT hour_ms, count(*) AS plays, count(*) FILTER (WHERE state IN ('provisional', 'final')) AS valid, sum(played_ms) AS played_ms
         FROM (SELECT CAST(started_at AS BIGINT) / 3600000 * 3600000 AS hour_ms, state, played_ms FROM plays
               WHERE day = DATE '{day}' AND CAST(started_at AS BIGINT) >= {from} AND CAST(started_at AS BIGINT) < {until}) AS hours
         GROUP BY hour_ms ORDER BY hour_ms"
    );
    let answer = lake.query(&sql, Limits::default()).await?.json()?;
    serde_json::from_value(answer).map_err(|error| QueryError::Failed(error.to_string()))
}
