//! What exactly-once costs: batches merged by royalty, beside COPY of the same rows, in as many commits of the same size, into a table with the same
//! columns and the same key, and into one without any. The merge verifies tickets, parses JSON, tells duplicates, counts, and marks accounts for
//! folding; COPY does nothing but write.

use std::{
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use protocol::PlayId;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{
    Effort, cpu,
    posts::{Listeners, SENDER},
    site::Site,
};
use crate::{client::Client, machine};

/// Events in a batch: what a shard at its peak gathers in two seconds.
pub(crate) const BATCH_EVENTS: usize = 1_000;
const ACCOUNTS: u32 = 5_000;
/// COPY is fast: it gets so many times the rows, so that its time can be told.
const COPY_TIMES: usize = 4;
/// What the merge left to fold is folded before COPY has its turn.
const SETTLE: Duration = Duration::from_millis(1_500);

const SCHEMA: &str = "CREATE SCHEMA IF NOT EXISTS bench;
    DROP TABLE IF EXISTS bench.keyed, bench.bare;
    CREATE TABLE bench.keyed (LIKE royalty.events INCLUDING ALL);
    CREATE TABLE bench.bare (LIKE royalty.events);";

/// One line: events, and what they cost.
#[derive(Debug)]
pub(crate) struct Written {
    /// Which way.
    pub(crate) name: &'static str,
    /// Events per second of CPU, a round each: PostgreSQL's and the writer's.
    pub(crate) per_core: Vec<f64>,
    /// The same of PostgreSQL's CPU alone.
    pub(crate) per_postgres_core: Vec<f64>,
    /// Events per second of time, a round each.
    pub(crate) per_s: Vec<f64>,
}

impl Written {
    fn new(name: &'static str) -> Self {
        Self { name, per_core: Vec::new(), per_postgres_core: Vec::new(), per_s: Vec::new() }
    }

    fn take(&mut self, turn: &Turn) {
        let events = turn.events as f64;
        self.per_core.push(events / (turn.writer + turn.postgres).as_secs_f64());
        self.per_postgres_core.push(events / turn.postgres.as_secs_f64());
        self.per_s.push(events / turn.elapsed.as_secs_f64());
    }
}

struct Turn {
    events: usize,
    writer: Duration,
    postgres: Duration,
    elapsed: Duration,
}

/// Merge, COPY with a key, COPY without, in turn.
///
/// # Errors
/// When a batch is not merged.
pub(crate) fn measure(site: &Site, effort: Effort) -> Result<[Written; 3]> {
    let listeners = Listeners::new(&site.keys, ACCOUNTS, 1, 3)?;
    let mut lines = [Written::new("merge (royalty)"), Written::new("COPY, same key"), Written::new("COPY, no key")];
    let mut database = site.block_on(PgConnection::connect(&site.database))?;
    site.block_on(database.execute(SCHEMA))?;
    let mut number = 0;
    merge(site, &listeners, 2, &mut number)?;
    for _ in 0..effort.rounds {
        let [merged, keyed, bare] = &mut lines;
        merged.take(&merge(site, &listeners, effort.batches, &mut number)?);
        thread::sleep(SETTLE);
        keyed.take(&copy(site, &mut database, &listeners, "bench.keyed", effort.batches * COPY_TIMES)?);
        bare.take(&copy(site, &mut database, &listeners, "bench.bare", effort.batches * COPY_TIMES)?);
    }
    Ok(lines)
}

fn merge(site: &Site, listeners: &Listeners, batches: usize, number: &mut u64) -> Result<Turn> {
    let bodies: Vec<Value> = (0..batches)
        .map(|_| {
            *number += 1;
            let posts: Vec<Value> = (0..BATCH_EVENTS).map(|_| listeners.stored()).collect();
            json!({ "buffer": "bench", "epoch": "bench", "number": *number, "frozen_at_ms": machine::unix_now(), "posts": posts })
        })
        .collect();
    let mut royalty = Client::new(&site.royalty)?;
    let (writer, postgres, begun) = (site.royalty_cpu()?, site.postgres_cpu()?, Instant::now());
    for body in &bodies {
        let answer = royalty.post("/internal/batches", body)?;
        ensure!(answer.status == 200, "a batch: {} {:.300}", answer.status, String::from_utf8_lossy(&answer.body));
        ensure!(answer.json()?.get("counted").and_then(Value::as_u64) == Some(BATCH_EVENTS as u64), "not all of a batch is counted");
    }
    Ok(Turn {
        events: batches * BATCH_EVENTS,
        elapsed: begun.elapsed(),
        writer: site.royalty_cpu()?.saturating_sub(writer),
        postgres: site.postgres_cpu()?.saturating_sub(postgres),
    })
}

fn copy(site: &Site, database: &mut PgConnection, listeners: &Listeners, table: &str, batches: usize) -> Result<Turn> {
    let rows: Vec<String> = (0..batches).map(|_| batch_of_rows(listeners)).collect();
    let statement = format!("COPY {table} (play, sender, seq, kind, from_ms, to_ms, muted, background, received_at_ms) FROM STDIN");
    let (writer, postgres, begun) = (cpu::of_this_thread(), site.postgres_cpu()?, Instant::now());
    for text in &rows {
        site.block_on(async {
            let mut sink = database.copy_in_raw(&statement).await?;
            sink.send(text.as_bytes()).await?;
            sink.finish().await
        })?;
    }
    Ok(Turn {
        events: batches * BATCH_EVENTS,
        elapsed: begun.elapsed(),
        writer: cpu::of_this_thread().saturating_sub(writer),
        postgres: site.postgres_cpu()?.saturating_sub(postgres),
    })
}

/// Rows as the merge writes them, in the text format of COPY.
fn batch_of_rows(listeners: &Listeners) -> String {
    let mut text = String::with_capacity(BATCH_EVENTS * 140);
    for _ in 0..BATCH_EVENTS {
        let (play, _, event): (PlayId, _, Value) = listeners.beat("progress");
        let number = |name: &str| event.get(name).and_then(Value::as_u64).unwrap_or_default();
        let (seq, from, to, now) = (number("seq"), number("from_ms"), number("to_ms"), machine::unix_now().0);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{play}\t{SENDER}\t{seq}\tprogress\t{from}\t{to}\tf\tf\t{now}");
    }
    text
}
