//! What the buffer counts, by the hour its plays were minted in (`protocol::tally`): kept beside the posts, changed in the transaction that stores
//! or freezes them, and told inside each batch. The origin holds it against what it merged.

use std::{borrow::Cow, collections::BTreeMap};

use protocol::{
    UnixMs,
    tally::{HOURS_MAX, Hour, HourTally, Report, SET_ASIDE_MAX, Since},
};
use serde::{Deserialize, de::IgnoredAny};
use worker::{SqlStorage, SqlStorageValue as Value};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS hours (
         hour INTEGER PRIMARY KEY,
         offered INTEGER NOT NULL DEFAULT 0,
         refused INTEGER NOT NULL DEFAULT 0,
         duplicate INTEGER NOT NULL DEFAULT 0,
         stored INTEGER NOT NULL DEFAULT 0,
         frozen INTEGER NOT NULL DEFAULT 0,
         changed INTEGER NOT NULL DEFAULT 1
     )";
/// No play takes events for so many hours: such an hour has been told and will not change.
const KEPT_HOURS: i64 = 24 * 14;

/// What became of the events of one post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    /// The hour of its play.
    pub(crate) hour: Hour,
    /// Events in it, refused ones too.
    pub(crate) offered: usize,
    /// Refused by the Worker, or because their names are taken by other content.
    pub(crate) refused: usize,
    /// Known to be stored.
    pub(crate) duplicate: usize,
    /// Stored with it.
    pub(crate) stored: usize,
}

/// As much of a stored post as counts.
#[derive(Deserialize)]
struct Kept<'a> {
    #[serde(borrow)]
    ticket: Cow<'a, str>,
    received_at_ms: UnixMs,
    events: Vec<IgnoredAny>,
}

/// Makes the table. Posts from before it was there are counted now, so that whatever is frozen was stored.
pub(crate) fn open(sql: &SqlStorage) -> worker::Result<()> {
    #[derive(Deserialize)]
    struct Known {
        tables: usize,
    }
    #[derive(Deserialize)]
    struct Row {
        body: String,
    }
    let known: Vec<Known> = sql.exec("SELECT COUNT(*) AS tables FROM sqlite_master WHERE name = 'hours'", None)?.to_array()?;
    sql.exec(SCHEMA, None)?;
    if known.first().is_none_or(|known| known.tables > 0) {
        return Ok(());
    }
    let rows: Vec<Row> = sql.exec("SELECT body FROM posts", None)?.to_array()?;
    let posts = rows.iter().map(|row| serde_json::from_str::<Kept<'_>>(&row.body)).collect::<Result<Vec<_>, _>>()?;
    let told = |(hour, events)| Told { hour, offered: events, refused: 0, duplicate: 0, stored: events };
    count(sql, events_by_hour(&posts).into_iter().map(told))
}

/// Adds what became of some posts, in the transaction of their rows: one statement an hour, however many posts share it.
pub(crate) fn count(sql: &SqlStorage, posts: impl IntoIterator<Item = Told>) -> worker::Result<()> {
    let mut hours: BTreeMap<Hour, [usize; 4]> = BTreeMap::new();
    for Told { hour, offered, refused, duplicate, stored } in posts {
        let sums = hours.entry(hour).or_default();
        sums.iter_mut().zip([offered, refused, duplicate, stored]).for_each(|(sum, more)| *sum += more);
    }
    for (hour, sums) in hours.into_iter().filter(|(_, sums)| sums.iter().any(|sum| *sum > 0)) {
        let values = [hour.0].into_iter().chain(sums.map(integer)).map(Value::Integer).collect::<Vec<_>>();
        sql.exec(
            "INSERT INTO hours (hour, offered, refused, duplicate, stored) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (hour) DO UPDATE
             SET offered = offered + excluded.offered, refused = refused + excluded.refused, duplicate = duplicate + excluded.duplicate,
                 stored = stored + excluded.stored, changed = 1",
            values,
        )?;
    }
    Ok(())
}

/// Counts the events of `posts`, a JSON array that is frozen now, in the posts themselves, and tells what has changed since the batch before.
pub(crate) fn freeze(sql: &SqlStorage, posts: &str, posts_waiting: usize, now: UnixMs) -> worker::Result<Report> {
    for (hour, events) in events_by_hour(&serde_json::from_str::<Vec<Kept<'_>>>(posts)?) {
        let values = vec![Value::Integer(hour.0), Value::Integer(integer(events))];
        sql.exec("INSERT INTO hours (hour, frozen) VALUES (?, ?) ON CONFLICT (hour) DO UPDATE SET frozen = frozen + excluded.frozen, changed = 1", values)?;
    }
    #[derive(Deserialize)]
    struct Number {
        number: u64,
    }
    let changed = "SELECT hour, offered, refused, duplicate, stored, frozen FROM hours WHERE changed = 1 ORDER BY hour DESC LIMIT ?";
    let hours: Vec<HourTally> = sql.exec(changed, vec![Value::Integer(integer(HOURS_MAX))])?.to_array()?;
    for tally in &hours {
        sql.exec("UPDATE hours SET changed = 0 WHERE hour = ?", vec![Value::Integer(tally.hour.0)])?;
    }
    let over = Value::Integer(Hour::of(now).0 - KEPT_HOURS);
    sql.exec("DELETE FROM hours WHERE hour < ? AND changed = 0 AND stored = frozen", vec![over])?;
    let aside = "SELECT number FROM set_aside ORDER BY number LIMIT ?";
    let aside: Vec<Number> = sql.exec(aside, vec![Value::Integer(integer(SET_ASIDE_MAX))])?.to_array()?;
    Ok(Report {
        since: Since::Epoch,
        hours,
        posts_waiting: u64::try_from(posts_waiting).unwrap_or(u64::MAX),
        set_aside: aside.into_iter().map(|aside| aside.number).collect(),
    })
}

fn events_by_hour(posts: &[Kept<'_>]) -> BTreeMap<Hour, usize> {
    let mut hours: BTreeMap<Hour, usize> = BTreeMap::new();
    for Kept { ticket, received_at_ms, events } in posts.iter().filter(|post| !post.events.is_empty()) {
        *hours.entry(Hour::of_ticket(ticket).unwrap_or_else(|| Hour::of(*received_at_ms))).or_default() += events.len();
    }
    hours
}

fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
