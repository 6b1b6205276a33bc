//! From a player's post to its row: everything that runs between is counted, until the last event that was acknowledged is merged.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use sqlx::{Connection as _, PgConnection};

use super::{
    Effort,
    acks::END_EVERY,
    load,
    posts::Listeners,
    site::{Cpu, Site},
    stores::Edge,
};

/// A buffer for each measurement, so that batches can be told apart.
const SATURATED: u16 = 11;
const QUIET: u16 = 12;
const LISTENERS: u32 = 200;
/// A player beats every 15 s, and begins and ends a song of three and a half minutes.
const POSTS_PER_LISTENER_S: f64 = 1.0 / 15.0 + 2.0 / 210.0;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// What a stretch of posts became.
#[derive(Debug)]
pub(crate) struct Ridden {
    /// Posts acknowledged.
    pub(crate) posts: u64,
    /// Events merged.
    pub(crate) merged: u64,
    /// Requests to the origin they rode in.
    pub(crate) batches: u64,
    /// Acknowledged a second.
    pub(crate) per_s: f64,
    /// From the first post until the last was merged.
    pub(crate) elapsed: Duration,
    /// CPU meanwhile.
    pub(crate) cpu: Cpu,
}

/// Posts as fast as one buffer takes them.
///
/// # Errors
/// When what was acknowledged is not merged.
pub(crate) fn saturated(site: &Site, effort: Effort) -> Result<Ridden> {
    ride(site, SATURATED, 2_000, |edge| load::closed(edge, effort.connections, effort.window * 4))
}

/// 200 listeners of one shard, beating as players do.
///
/// # Errors
/// As [`saturated`].
pub(crate) fn listeners(site: &Site, effort: Effort) -> Result<Ridden> {
    ride(site, QUIET, LISTENERS, |edge| load::open(edge, 4, effort.listening, f64::from(LISTENERS) * POSTS_PER_LISTENER_S))
}

fn ride(site: &Site, shard: u16, accounts: u32, posting: impl Fn(&Edge<'_>) -> Result<load::Seen>) -> Result<Ridden> {
    let listeners = Arc::new(Listeners::new(&site.keys, accounts, shard, 2)?);
    let edge = Edge { site, listeners, end_every: END_EVERY };
    let buffer = format!("edge-{shard}");
    let before = site.cpu()?;
    let begun = Instant::now();
    let seen = posting(&edge)?;
    let posts = seen.latencies.len() as u64;
    let (merged, batches) = loop {
        let (merged, batches) = site.block_on(counted(&site.database, &buffer))?;
        if merged >= posts {
            break (merged, batches);
        }
        ensure!(begun.elapsed() < seen.elapsed + DRAIN_TIMEOUT, "{posts} posts were acknowledged and {merged} are merged");
        thread::sleep(Duration::from_millis(100));
    };
    ensure!(merged == posts, "{posts} posts were acknowledged and {merged} are merged");
    Ok(Ridden { posts, merged, batches, per_s: seen.per_s(), elapsed: begun.elapsed(), cpu: site.cpu()?.since(before) })
}

/// Events of `buffer` that are merged, and in how many batches.
async fn counted(database: &str, buffer: &str) -> Result<(u64, u64)> {
    let mut connection = PgConnection::connect(database).await?;
    let (merged, batches): (i64, i64) = sqlx::query_as(
        "SELECT coalesce(sum(counted), 0)::BIGINT, count(DISTINCT (epoch, number))
         FROM royalty.batch_counts WHERE buffer = $1",
    )
    .bind(buffer)
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok((merged.unsigned_abs(), batches.unsigned_abs()))
}
