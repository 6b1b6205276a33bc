//! The buffer's tables. Rows come from [`Store::append`] and leave as frozen batches; statements that follow each other without an
//! await are one transaction (the platform's rule), so a batch is frozen whole or not at all.

use std::cell::Cell;

use protocol::{UnixMs, heartbeat::Batch};
use serde::{Deserialize, Serialize};
use worker::{SqlStorage, SqlStorageValue as Value};

use super::tally::{self, Told};

const SCHEMA: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS identity (
         one INTEGER PRIMARY KEY CHECK (one = 1),
         epoch TEXT NOT NULL,
         buffer TEXT NOT NULL,
         next_number INTEGER NOT NULL
     )",
    "CREATE TABLE IF NOT EXISTS posts (
         id INTEGER PRIMARY KEY,
         body TEXT NOT NULL
     )",
    "CREATE TABLE IF NOT EXISTS batches (
         number INTEGER PRIMARY KEY,
         sha256 TEXT NOT NULL,
         body TEXT NOT NULL
     )",
    "CREATE TABLE IF NOT EXISTS set_aside (
         number INTEGER PRIMARY KEY,
         sha256 TEXT NOT NULL,
         body TEXT NOT NULL,
         status INTEGER NOT NULL,
         tried_at_ms INTEGER NOT NULL
     )",
];

/// A batch whose bytes will never change.
#[derive(Deserialize)]
pub(crate) struct Frozen {
    /// Its number within the epoch.
    pub(crate) number: i64,
    /// SHA-256 of `body`, hex.
    pub(crate) sha256: String,
    /// `protocol::heartbeat::Batch` as JSON.
    pub(crate) body: String,
}

/// A batch whose bytes the origin refused.
pub(crate) struct SetAside {
    /// It, as it was frozen.
    pub(crate) batch: Frozen,
    /// When it was sent last.
    pub(crate) tried_at: UnixMs,
}

/// What a buffer holds, as an operator asks for it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Held {
    /// Posts that are in no batch yet.
    pub(crate) posts: usize,
    /// Batches on their way: frozen, not acknowledged.
    pub(crate) batches: usize,
    /// Batches the origin refused.
    pub(crate) set_aside: usize,
    /// Bytes of all of them.
    pub(crate) bytes: usize,
    /// Receipt of the oldest event the origin does not have, those set aside left out.
    pub(crate) since_ms: Option<i64>,
}

/// The tables, with running totals so that a post costs no count.
pub(crate) struct Store {
    sql: SqlStorage,
    pending_posts: Cell<usize>,
    pending_bytes: Cell<usize>,
    frozen_bytes: Cell<usize>,
}

/// As [`Batch`], without the posts, which follow as they were stored, and the report.
#[derive(Serialize)]
struct Freezing<'a> {
    buffer: &'a str,
    epoch: &'a str,
    number: i64,
    frozen_at_ms: UnixMs,
}

#[derive(Deserialize)]
struct Identity {
    epoch: String,
    buffer: String,
    next_number: i64,
}

#[derive(Deserialize)]
struct Gathered {
    last: Option<i64>,
    rows: usize,
    bytes: usize,
    posts: Option<String>,
}

#[derive(Deserialize)]
struct Total {
    rows: usize,
    bytes: usize,
}

impl Store {
    /// Makes the tables when they are missing and counts what is in them.
    pub(crate) fn open(sql: SqlStorage) -> worker::Result<Self> {
        for statement in SCHEMA {
            sql.exec(statement, None)?;
        }
        tally::open(&sql)?;
        let total = |table: &str| -> worker::Result<Total> {
            let totals = sql.exec(&format!("SELECT COUNT(*) AS rows, COALESCE(SUM(LENGTH(body)), 0) AS bytes FROM {table}"), None)?;
            first(totals.to_array()?)
        };
        let (posts, batches, aside) = (total("posts")?, total("batches")?, total("set_aside")?);
        Ok(Self {
            sql,
            pending_posts: Cell::new(posts.rows),
            pending_bytes: Cell::new(posts.bytes),
            frozen_bytes: Cell::new(batches.bytes + aside.bytes),
        })
    }

    /// Posts not frozen yet.
    pub(crate) fn pending_posts(&self) -> usize {
        self.pending_posts.get()
    }

    /// Their bytes.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes.get()
    }

    /// Bytes of everything the origin does not have yet.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.pending_bytes.get() + self.frozen_bytes.get()
    }

    /// What the origin does not have yet.
    pub(crate) fn held(&self) -> worker::Result<Held> {
        let held = "SELECT (SELECT COUNT(*) FROM posts) AS posts,
                           (SELECT COUNT(*) FROM batches) AS batches,
                           (SELECT COUNT(*) FROM set_aside) AS set_aside,
                           (SELECT body ->> '$.posts[0].received_at_ms' FROM batches ORDER BY number LIMIT 1) AS frozen_since_ms,
                           (SELECT body ->> '$.received_at_ms' FROM posts ORDER BY id LIMIT 1) AS waiting_since_ms";
        #[derive(Deserialize)]
        struct Row {
            posts: usize,
            batches: usize,
            set_aside: usize,
            frozen_since_ms: Option<i64>,
            waiting_since_ms: Option<i64>,
        }
        let Row { posts, batches, set_aside, frozen_since_ms, waiting_since_ms } = first(self.sql.exec(held, None)?.to_array()?)?;
        Ok(Held { posts, batches, set_aside, bytes: self.stored_bytes(), since_ms: frozen_since_ms.or(waiting_since_ms) })
    }

    /// One post (a `StoredPost` as JSON), one row. The first one also gives the buffer its name and its epoch, which live as long as its storage.
    pub(crate) fn append(&self, shard: u16, body: String) -> worker::Result<()> {
        let bytes = body.len();
        if self.pending_posts.get() == 0 {
            let epoch = uuid::Builder::from_random_bytes(random()?).into_uuid().simple().to_string();
            self.sql.exec(
                "INSERT OR IGNORE INTO identity (one, epoch, buffer, next_number) VALUES (1, ?, ?, 1)",
                vec![Value::String(epoch), Value::String(format!("edge-{shard}"))],
            )?;
        }
        self.sql.exec("INSERT INTO posts (body) VALUES (?)", vec![Value::String(body)])?;
        self.pending_posts.set(self.pending_posts.get() + 1);
        self.pending_bytes.set(self.pending_bytes.get() + bytes);
        Ok(())
    }

    /// Counts what became of some posts: with the rows that were appended since the last await, so that both are one transaction.
    pub(crate) fn count(&self, posts: impl IntoIterator<Item = Told>) -> worker::Result<()> {
        tally::count(&self.sql, posts)
    }

    /// The oldest batch that was frozen and is neither acknowledged nor set aside.
    pub(crate) fn oldest_frozen(&self) -> worker::Result<Option<Frozen>> {
        let frozen: Vec<Frozen> = self.sql.exec("SELECT number, sha256, body FROM batches ORDER BY number LIMIT 1", None)?.to_array()?;
        Ok(frozen.into_iter().next())
    }

    /// Freezes the oldest posts under the next number: at most `posts_max` and, beyond the first, `bytes_max` bytes.
    pub(crate) fn freeze(&self, now: UnixMs, posts_max: usize, bytes_max: usize) -> worker::Result<Option<Frozen>> {
        // Put together by SQLite: a row that came to us would be parsed twice on its way through. The posts are JSON as they are.
        let gathered = "SELECT MAX(id) AS last, COUNT(*) AS rows, COALESCE(SUM(LENGTH(body)), 0) AS bytes, GROUP_CONCAT(body) AS posts
                        FROM (SELECT id, body, SUM(LENGTH(body)) OVER (ORDER BY id) AS upto FROM posts ORDER BY id LIMIT ?)
                        WHERE upto <= ? OR id = (SELECT MIN(id) FROM posts)";
        let limit = |most: usize| Value::Integer(i64::try_from(most).unwrap_or(i64::MAX));
        let Gathered { last, rows, bytes, posts } = first(self.sql.exec(gathered, vec![limit(posts_max), limit(bytes_max)])?.to_array()?)?;
        let (Some(last), Some(posts)) = (last, posts) else { return Ok(None) };
        let identity: Identity = first(self.sql.exec("SELECT epoch, buffer, next_number FROM identity", None)?.to_array()?)?;
        let number = identity.next_number;
        let head = serde_json::to_string(&Freezing { buffer: &identity.buffer, epoch: &identity.epoch, number, frozen_at_ms: now })?;
        let posts = format!("[{posts}]");
        let report = tally::freeze(&self.sql, &posts, self.pending_posts.get().saturating_sub(rows), now)?;
        let body =
            format!("{},\"posts\":{posts},\"report\":{}}}", head.strip_suffix('}').unwrap_or(&head), serde_json::to_string(&report)?);
        let batch = Frozen { number, sha256: Batch::digest(body.as_bytes()), body };

        self.sql.exec(
            "INSERT INTO batches (number, sha256, body) VALUES (?, ?, ?)",
            vec![Value::Integer(number), Value::String(batch.sha256.clone()), Value::String(batch.body.clone())],
        )?;
        self.sql.exec("UPDATE identity SET next_number = ?", vec![Value::Integer(number + 1)])?;
        self.sql.exec("DELETE FROM posts WHERE id <= ?", vec![Value::Integer(last)])?;
        self.pending_posts.set(self.pending_posts.get().saturating_sub(rows));
        self.pending_bytes.set(self.pending_bytes.get().saturating_sub(bytes));
        self.frozen_bytes.set(self.frozen_bytes.get() + batch.body.len());
        Ok(Some(batch))
    }

    /// The one that was sent longest ago of those that were set aside.
    pub(crate) fn oldest_set_aside(&self) -> worker::Result<Option<SetAside>> {
        #[derive(Deserialize)]
        struct Row {
            number: i64,
            sha256: String,
            body: String,
            tried_at_ms: i64,
        }
        let query = "SELECT number, sha256, body, tried_at_ms FROM set_aside ORDER BY tried_at_ms, number LIMIT 1";
        let rows: Vec<Row> = self.sql.exec(query, None)?.to_array()?;
        Ok(rows.into_iter().next().map(|Row { number, sha256, body, tried_at_ms }| SetAside {
            batch: Frozen { number, sha256, body },
            tried_at: UnixMs(tried_at_ms),
        }))
    }

    /// After the origin refused its bytes with `status`. Its number stays its own.
    pub(crate) fn set_aside(&self, batch: &Frozen, status: u16, now: UnixMs) -> worker::Result<()> {
        self.sql.exec(
            "INSERT OR REPLACE INTO set_aside (number, sha256, body, status, tried_at_ms) VALUES (?, ?, ?, ?, ?)",
            vec![
                Value::Integer(batch.number),
                Value::String(batch.sha256.clone()),
                Value::String(batch.body.clone()),
                Value::Integer(status.into()),
                Value::Integer(now.0),
            ],
        )?;
        self.sql.exec("DELETE FROM batches WHERE number = ?", vec![Value::Integer(batch.number)])?;
        Ok(())
    }

    /// After the origin's 200, and only then.
    pub(crate) fn delete_batch(&self, batch: &Frozen) -> worker::Result<()> {
        self.sql.exec("DELETE FROM batches WHERE number = ?", vec![Value::Integer(batch.number)])?;
        self.sql.exec("DELETE FROM set_aside WHERE number = ?", vec![Value::Integer(batch.number)])?;
        self.frozen_bytes.set(self.frozen_bytes.get().saturating_sub(batch.body.len()));
        Ok(())
    }
}

fn first<T>(rows: Vec<T>) -> worker::Result<T> {
    rows.into_iter().next().ok_or_else(|| worker::Error::RustError("a row is missing".to_owned()))
}

fn random() -> worker::Result<[u8; 16]> {
    crate::random().map_err(|problem| worker::Error::RustError(problem.detail))
}
