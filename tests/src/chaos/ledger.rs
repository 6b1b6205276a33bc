//! What the database has of plays whose every event was acknowledged, hop by hop: merged, counted, judged.

use std::time::Duration;

use anyhow::{Result, ensure};
use protocol::PlayId;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::{System, eventually};

/// A buffer that could not reach its origin tries again after half a minute at the latest.
const SETTLES_WITHIN: Duration = Duration::from_secs(120);

/// What became of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Acknowledged and not stored.
    pub lost: i64,
    /// Counted beyond what is stored, or stored without having been sent.
    pub twice: i64,
    /// Not judged yet.
    pub waiting: i64,
    /// Copies of events that were there already.
    pub delivered_again: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    play: Uuid,
    stored: i64,
    counted: i64,
    judged: i64,
}

impl Ledger {
    /// Waits until every event of `plays` (each with its number of events) is stored, counted and judged.
    ///
    /// # Errors
    /// When some are not in time, when some are counted twice, or when the numbers of two hops disagree.
    pub async fn settled(system: &System, plays: &[(PlayId, u32)]) -> Result<Self> {
        let ledger = eventually("every acknowledged event is counted", SETTLES_WITHIN, async || {
            let mut database = PgConnection::connect(&system.run.database).await?;
            let ledger = Self::of(&mut database, plays).await?;
            ensure!(ledger.lost == 0 && ledger.waiting == 0, "{ledger:?}");
            Ok(ledger)
        })
        .await?;
        ensure!(ledger.twice == 0, "{ledger:?}");
        hops_agree(system).await?;
        Ok(ledger)
    }

    async fn of(database: &mut PgConnection, plays: &[(PlayId, u32)]) -> Result<Self> {
        let ids: Vec<Uuid> = plays.iter().map(|(play, _)| play.uuid()).collect();
        // `seq` is the number of each event, so that a strange one cannot stand in for one that is missing.
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT sent.play,
                    coalesce(stored.events, 0) AS stored,
                    coalesce(plays.events, 0) AS counted,
                    coalesce(plays.folded, 0) AS judged
             FROM unnest($1::UUID[], $2::BIGINT[]) AS sent (play, events)
             LEFT JOIN royalty.plays USING (play)
             LEFT JOIN LATERAL (SELECT count(*) FROM royalty.events WHERE events.play = sent.play AND seq < sent.events) AS stored (events) ON TRUE",
        )
        .bind(ids)
        .bind(plays.iter().map(|(_, events)| i64::from(*events)).collect::<Vec<_>>())
        .fetch_all(&mut *database)
        .await?;
        ensure!(rows.len() == plays.len(), "{} of {} plays", rows.len(), plays.len());
        let mut ledger = Self::default();
        let mut sent: Vec<(Uuid, i64)> = plays.iter().map(|(play, events)| (play.uuid(), i64::from(*events))).collect();
        sent.sort_unstable();
        for Row { play, stored, counted, judged } in rows {
            let sent =
                sent.binary_search_by_key(&play, |(play, _)| *play).ok().and_then(|at| sent.get(at)).map_or(0, |(_, events)| *events);
            ledger.lost += sent - stored;
            ledger.twice += (counted - stored).max(0);
            ledger.waiting += (stored - judged).max(0);
        }
        ledger.delivered_again =
            sqlx::query_scalar("SELECT coalesce(sum(duplicate), 0)::BIGINT FROM royalty.batch_counts").fetch_one(database).await?;
        Ok(ledger)
    }
}

/// Every hop's numbers: a batch's against the rows it made (which the database refuses to write otherwise), all batches' against all events, and
/// each buffer's batches against their numbers, of which none may be missing. The gateway's own numbers may: what was not merged was not
/// acknowledged.
async fn hops_agree(system: &System) -> Result<()> {
    eventually("the numbers of all hops agree", SETTLES_WITHIN, async || {
        let mut database = PgConnection::connect(&system.run.database).await?;
        let (batches, events, plays): (i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT coalesce(sum(counted), 0)::BIGINT FROM royalty.batch_counts),
                    (SELECT count(*) FROM royalty.events),
                    (SELECT coalesce(sum(events), 0)::BIGINT FROM royalty.plays)",
        )
        .fetch_one(&mut database)
        .await?;
        ensure!(batches == events && events == plays, "batches counted {batches}, there are {events} events, plays have {plays}");
        let gaps: Vec<(String, String, i64, i64)> = sqlx::query_as(
            "SELECT buffer, epoch, max(number), count(*) FROM royalty.batches
             WHERE buffer <> 'gateway' GROUP BY buffer, epoch HAVING max(number) <> count(*)",
        )
        .fetch_all(&mut database)
        .await?;
        ensure!(gaps.is_empty(), "batches are missing: {gaps:?}");
        Ok(())
    })
    .await
}
