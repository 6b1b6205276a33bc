//! What every hop has counted, read from one snapshot: a merge that commits meanwhile is in all of it or in none.

use std::collections::BTreeMap;

use platform::activity::Place;
use protocol::tally::Hour;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::period::Period;

/// One life of a buffer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// The buffer.
    pub buffer: String,
    /// Which life of it.
    pub epoch: String,
}

/// What a buffer says of an hour, in its newest report of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Events in posts that were answered.
    pub offered: i64,
    /// Refused by the front.
    pub refused: i64,
    /// Known to be there.
    pub duplicate: i64,
    /// Stored, and so acknowledged.
    pub stored: i64,
    /// In a batch.
    pub frozen: i64,
}

/// What the collector made of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Merged {
    /// Records of batches whose buffer told of them.
    pub acked: i64,
    /// Records of batches that carried no report.
    pub unreported: i64,
    /// New events.
    pub counted: i64,
    /// Known events.
    pub duplicate: i64,
    /// The rest.
    pub quarantined: i64,
}

/// What became of an hour's plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listened {
    /// Events that are there, one by one.
    pub rows: i64,
    /// Events by the word of their plays.
    pub events: i64,
    /// Those the rule has seen.
    pub folded: i64,
    /// Plays by state.
    pub open: i64,
    /// Plays by state.
    pub provisional: i64,
    /// Plays by state.
    pub final_: i64,
    /// Plays by state.
    pub void: i64,
    /// Plays that last changed before the place up to which the lake was written.
    pub told: i64,
}

/// Numbers of a life that are not there, and what stands before and behind them.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Gap {
    /// The buffer.
    pub buffer: String,
    /// Which life of it.
    pub epoch: String,
    /// The first number that is missing.
    pub first: i64,
    /// The last one.
    pub last: i64,
    /// Those of them that the buffer still holds because the origin refused them, by its newest report.
    pub set_aside: Vec<i64>,
}

/// A batch whose buffer put another number of an hour's events into it, or into those before it, than the collector got.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Uneven {
    /// The buffer.
    pub buffer: String,
    /// Which life of it.
    pub epoch: String,
    /// The batch.
    pub number: i64,
    /// The batch before it that told of the same hour; 0 for none.
    pub previous: i64,
    /// The hour.
    pub hour: i64,
    /// Events since that batch, by the buffer's word.
    pub sent: i64,
    /// Events in this batch, by the collector's.
    pub received: i64,
    /// Whether it came through a log, in parts.
    pub in_parts: bool,
}

/// A batch of whose parts one is there without the other.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Torn {
    /// The buffer.
    pub buffer: String,
    /// Which life of it.
    pub epoch: String,
    /// The batch.
    pub number: i64,
    /// Its events.
    pub events: i64,
}

/// A play that says it has another number of events than there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Uncounted {
    /// The play.
    pub play: Uuid,
    /// By the play's word.
    pub events: i64,
    /// Rows.
    pub rows: i64,
}

/// Everything, from one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By life and hour.
    pub told: BTreeMap<(Life, Hour), Told>,
    /// Lives whose newest report says that no post waits, with its number: what they stored is in a batch.
    pub drained: BTreeMap<Life, i64>,
    /// By life and hour.
    pub merged: BTreeMap<(Life, Hour), Merged>,
    /// New events and duplicates that came out of quarantine, by hour.
    pub replayed: BTreeMap<Hour, (i64, i64)>,
    /// By hour.
    pub listened: BTreeMap<Hour, Listened>,
    /// Missing numbers.
    pub gaps: Vec<Gap>,
    /// Batches whose two counts differ.
    pub uneven: Vec<Uneven>,
    /// Batches that are counted and have no key.
    pub keyless: Vec<Torn>,
    /// Plays whose two counts differ. Looked for only where an hour's do.
    pub uncounted: Vec<Uncounted>,
}

/// Findings of a kind that are listed; with so many, more help nobody.
const FINDINGS_MAX: i64 = 200;

/// Reads the snapshot of a period. `lake` is the place in the feed of plays up to which the lake has been written.
///
/// # Errors
/// Those of the database.
pub async fn read(pool: &PgPool, period: Period, lake: Option<Place>) -> Result<Snapshot, sqlx::Error> {
    let mut tx = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let (first, end) = period.hours();
    let hours = (first.0, end.0);
    let mut snapshot = Snapshot {
        told: told(&mut tx, hours).await?,
        drained: drained(&mut tx, hours).await?,
        merged: merged(&mut tx, hours).await?,
        replayed: replayed(&mut tx, hours).await?,
        listened: listened(&mut tx, period, lake).await?,
        gaps: gaps(&mut tx, period).await?,
        uneven: uneven(&mut tx, hours).await?,
        keyless: keyless(&mut tx, hours).await?,
        uncounted: Vec::new(),
    };
    if snapshot.listened.values().any(|hour| hour.rows != hour.events) {
        snapshot.uncounted = uncounted(&mut tx, period).await?;
    }
    tx.rollback().await?;
    Ok(snapshot)
}

type ToldRow = (String, String, i64, i64, i64, i64, i64, i64);

/// Of a buffer that acknowledges before it sends, the newest report of each hour holds the sums; of one that does not, each report is of its batch.
async fn told(tx: &mut PgConnection, (first, end): (i64, i64)) -> Result<BTreeMap<(Life, Hour), Told>, sqlx::Error> {
    let rows: Vec<ToldRow> = sqlx::query_as(
        "SELECT buffer, epoch, hour, offered, refused, duplicate, stored, frozen
         FROM (SELECT DISTINCT ON (buffer, epoch, hour) buffer, epoch, hour, offered, refused, duplicate, stored, frozen
               FROM royalty.buffer_hours JOIN royalty.buffer_reports USING (buffer, epoch, number)
               WHERE since = 'epoch' AND hour >= $1 AND hour < $2
               ORDER BY buffer, epoch, hour, number DESC) AS newest
         UNION ALL
         SELECT buffer, epoch, hour, sum(offered)::BIGINT, sum(refused)::BIGINT, sum(duplicate)::BIGINT, sum(stored)::BIGINT, sum(frozen)::BIGINT
         FROM royalty.buffer_hours JOIN royalty.buffer_reports USING (buffer, epoch, number)
         WHERE since = 'batch' AND hour >= $1 AND hour < $2
         GROUP BY buffer, epoch, hour",
    )
    .bind(first)
    .bind(end)
    .fetch_all(tx)
    .await?;
    let told = |(buffer, epoch, hour, offered, refused, duplicate, stored, frozen): ToldRow| {
        ((Life { buffer, epoch }, Hour(hour)), Told { offered, refused, duplicate, stored, frozen })
    };
    Ok(rows.into_iter().map(told).collect())
}

async fn drained(tx: &mut PgConnection, (first, end): (i64, i64)) -> Result<BTreeMap<Life, i64>, sqlx::Error> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT buffer, epoch, number
         FROM (SELECT DISTINCT ON (buffer, epoch) buffer, epoch, number, posts_waiting
               FROM royalty.buffer_reports
               WHERE since = 'epoch'
                 AND (buffer, epoch) IN (SELECT buffer, epoch FROM royalty.buffer_hours WHERE hour >= $1 AND hour < $2)
               ORDER BY buffer, epoch, number DESC) AS newest
         WHERE posts_waiting = 0",
    )
    .bind(first)
    .bind(end)
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|(buffer, epoch, number)| (Life { buffer, epoch }, number)).collect())
}

async fn merged(tx: &mut PgConnection, (first, end): (i64, i64)) -> Result<BTreeMap<(Life, Hour), Merged>, sqlx::Error> {
    type Row = (String, String, i64, i64, i64, i64, i64, i64);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT buffer, epoch, hour,
                coalesce(sum(acked) FILTER (WHERE since IS NOT NULL), 0)::BIGINT,
                coalesce(sum(acked) FILTER (WHERE since IS NULL), 0)::BIGINT,
                sum(counted)::BIGINT, sum(duplicate)::BIGINT, sum(quarantined)::BIGINT
         FROM royalty.batch_hours LEFT JOIN royalty.buffer_reports USING (buffer, epoch, number)
         WHERE hour >= $1 AND hour < $2
         GROUP BY buffer, epoch, hour",
    )
    .bind(first)
    .bind(end)
    .fetch_all(tx)
    .await?;
    let merged = |(buffer, epoch, hour, acked, unreported, counted, duplicate, quarantined): Row| {
        ((Life { buffer, epoch }, Hour(hour)), Merged { acked, unreported, counted, duplicate, quarantined })
    };
    Ok(rows.into_iter().map(merged).collect())
}

async fn replayed(tx: &mut PgConnection, (first, end): (i64, i64)) -> Result<BTreeMap<Hour, (i64, i64)>, sqlx::Error> {
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
        "SELECT hour, sum(counted)::BIGINT, sum(duplicate)::BIGINT
         FROM royalty.replayed WHERE hour >= $1 AND hour < $2 GROUP BY hour",
    )
    .bind(first)
    .bind(end)
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|(hour, counted, duplicate)| (Hour(hour), (counted, duplicate))).collect())
}

async fn listened(tx: &mut PgConnection, period: Period, lake: Option<Place>) -> Result<BTreeMap<Hour, Listened>, sqlx::Error> {
    type Row = (i64, i64, i64, i64, i64, i64, i64, i64, i64);
    let (low, high) = period.plays();
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT hour, coalesce(rows, 0)::BIGINT, coalesce(events, 0)::BIGINT, coalesce(folded, 0)::BIGINT,
                coalesce(open, 0)::BIGINT, coalesce(provisional, 0)::BIGINT, coalesce(final, 0)::BIGINT, coalesce(void, 0)::BIGINT,
                coalesce(told, 0)::BIGINT
         FROM (SELECT royalty.play_hour(play) AS hour, count(*) AS rows
               FROM royalty.events WHERE play >= $1 AND play < $2 GROUP BY 1) AS one_by_one
         FULL JOIN (SELECT royalty.play_hour(play) AS hour, sum(events) AS events, sum(folded) AS folded,
                           count(*) FILTER (WHERE state = 'open') AS open,
                           count(*) FILTER (WHERE state = 'provisional') AS provisional,
                           count(*) FILTER (WHERE state = 'final') AS final,
                           count(*) FILTER (WHERE state = 'void') AS void,
                           count(*) FILTER (WHERE (revision, play) <= ($3, $4)) AS told
                    FROM royalty.plays WHERE play >= $1 AND play < $2 GROUP BY 1) AS by_play USING (hour)",
    )
    .bind(low)
    .bind(high)
    .bind(lake.map(|place| place.revision))
    .bind(lake.map(|place| place.name))
    .fetch_all(tx)
    .await?;
    let listened = |(hour, rows, events, folded, open, provisional, final_, void, told): Row| {
        (Hour(hour), Listened { rows, events, folded, open, provisional, final_, void, told })
    };
    Ok(rows.into_iter().map(listened).collect())
}

/// Numbers that a life has used and that never arrived. A gap is looked for beside what was frozen in the period; a sender that acknowledges nothing
/// before the merge has lost nothing by a number that is missing.
async fn gaps(tx: &mut PgConnection, period: Period) -> Result<Vec<Gap>, sqlx::Error> {
    sqlx::query_as(
        "WITH lives AS (
             SELECT DISTINCT buffer, epoch FROM royalty.batches WHERE frozen_at_ms >= $1 AND frozen_at_ms < $2
         ), arrived AS (
             SELECT buffer, epoch, number, min(frozen_at_ms) AS frozen_at_ms
             FROM royalty.batches JOIN lives USING (buffer, epoch)
             WHERE NOT EXISTS (SELECT FROM royalty.buffer_reports AS alone
                               WHERE alone.buffer = batches.buffer AND alone.epoch = batches.epoch AND alone.number = batches.number
                                 AND alone.since = 'batch')
             GROUP BY buffer, epoch, number
         ), beside AS (
             SELECT buffer, epoch, number, frozen_at_ms,
                    lag(number, 1, 0::BIGINT) OVER life AS previous, lag(frozen_at_ms, 1, 0::BIGINT) OVER life AS previous_at_ms
             FROM arrived WINDOW life AS (PARTITION BY buffer, epoch ORDER BY number)
         )
         SELECT buffer, epoch, previous + 1 AS first, number - 1 AS last,
                ARRAY(SELECT held FROM unnest((SELECT set_aside FROM royalty.buffer_reports AS newest
                                               WHERE newest.buffer = beside.buffer AND newest.epoch = beside.epoch
                                               ORDER BY newest.number DESC LIMIT 1)) AS held
                      WHERE held > previous AND held < number ORDER BY held) AS set_aside
         FROM beside
         WHERE number > previous + 1 AND frozen_at_ms >= $1 AND previous_at_ms < $2
         ORDER BY buffer, epoch, number
         LIMIT $3",
    )
    .bind(period.starts_at().0)
    .bind(period.ends_at().0)
    .bind(FINDINGS_MAX)
    .fetch_all(tx)
    .await
}

async fn uneven(tx: &mut PgConnection, (first, end): (i64, i64)) -> Result<Vec<Uneven>, sqlx::Error> {
    sqlx::query_as(
        "WITH received AS (
             SELECT buffer, epoch, number, hour, sum(acked)::BIGINT AS acked, bool_or(part <> '') AS in_parts
             FROM royalty.batch_hours WHERE hour >= $1 AND hour < $2
             GROUP BY buffer, epoch, number, hour
         ), sent AS (
             SELECT buffer, epoch, number, hour,
                    CASE since WHEN 'epoch' THEN lag(number, 1, 0::BIGINT) OVER life ELSE number - 1 END AS previous,
                    CASE since WHEN 'epoch' THEN frozen - lag(frozen, 1, 0::BIGINT) OVER life ELSE frozen END AS events
             FROM royalty.buffer_hours JOIN royalty.buffer_reports USING (buffer, epoch, number)
             WHERE hour >= $1 AND hour < $2
             WINDOW life AS (PARTITION BY buffer, epoch, hour ORDER BY number)
         )
         SELECT buffer, epoch, number, previous, hour, events AS sent, coalesce(acked, 0) AS received, coalesce(in_parts, FALSE) AS in_parts
         FROM sent LEFT JOIN received USING (buffer, epoch, number, hour)
         WHERE events <> coalesce(acked, 0)
         ORDER BY buffer, epoch, number, hour
         LIMIT $3",
    )
    .bind(first)
    .bind(end)
    .bind(FINDINGS_MAX)
    .fetch_all(tx)
    .await
}

async fn keyless(tx: &mut PgConnection, (first, end): (i64, i64)) -> Result<Vec<Torn>, sqlx::Error> {
    sqlx::query_as(
        "SELECT buffer, epoch, number, sum(acked)::BIGINT AS events
         FROM royalty.batch_hours
         WHERE hour >= $1 AND hour < $2
           AND NOT EXISTS (SELECT FROM royalty.batches
                           WHERE (batches.buffer, batches.epoch, batches.number) = (batch_hours.buffer, batch_hours.epoch, batch_hours.number))
         GROUP BY buffer, epoch, number
         ORDER BY buffer, epoch, number
         LIMIT $3",
    )
    .bind(first)
    .bind(end)
    .bind(FINDINGS_MAX)
    .fetch_all(tx)
    .await
}

async fn uncounted(tx: &mut PgConnection, period: Period) -> Result<Vec<Uncounted>, sqlx::Error> {
    let (low, high) = period.plays();
    sqlx::query_as(
        "SELECT play, coalesce(plays.events, 0) AS events, coalesce(found.rows, 0) AS rows
         FROM royalty.plays
         FULL JOIN (SELECT play, count(*) AS rows FROM royalty.events WHERE play >= $1 AND play < $2 GROUP BY play) AS found USING (play)
         WHERE play >= $1 AND play < $2 AND coalesce(plays.events, 0) <> coalesce(found.rows, 0)
         ORDER BY play
         LIMIT $3",
    )
    .bind(low)
    .bind(high)
    .bind(FINDINGS_MAX)
    .fetch_all(tx)
    .await
}
