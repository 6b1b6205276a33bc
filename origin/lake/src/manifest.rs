//! Which files are the lake, and how far the feeds are in it. Everything that changes what a reader sees goes through [`Commit`]: one
//! transaction that holds only if the snapshot is still the one that the commit was planned on.

use platform::activity::Place;
use protocol::UnixMs;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::{LakeError, rows::Kind};

/// A file of the lake, or one that is to become it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its key in the bucket.
    pub object: String,
    /// What is in it.
    pub kind: Kind,
    /// The UTC day of all its rows, `YYYY-MM-DD`.
    pub day: String,
    /// How often its rows were merged.
    pub level: i16,
    /// Rows.
    pub rows: i64,
    /// Older revisions that its merge left out.
    pub superseded: i64,
    /// Bytes.
    pub bytes: i64,
    /// Of its bytes.
    pub sha256: Vec<u8>,
}

#[derive(sqlx::FromRow)]
struct FileRow {
    object: String,
    kind: String,
    day: String,
    level: i16,
    rows: i64,
    superseded: i64,
    bytes: i64,
    sha256: Vec<u8>,
}

impl TryFrom<FileRow> for File {
    type Error = LakeError;

    fn try_from(row: FileRow) -> Result<Self, LakeError> {
        let kind = Kind::parse(&row.kind).ok_or_else(|| LakeError::Contradiction(format!("a file of kind {}", row.kind)))?;
        let FileRow { object, day, level, rows, superseded, bytes, sha256, .. } = row;
        Ok(Self { object, kind, day, level, rows, superseded, bytes, sha256 })
    }
}

/// The lake at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The number of the commit that made it.
    pub number: i64,
    /// Its files, by day.
    pub files: Vec<File>,
}

/// The newest snapshot: one statement, so that no commit falls between number and files.
///
/// # Errors
/// Those of the database.
pub async fn newest(pool: &PgPool) -> Result<Snapshot, LakeError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        number: i64,
        #[sqlx(flatten)]
        file: FileRow,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT number, object, kind, day, level, rows, superseded, bytes, sha256
         FROM lake.files CROSS JOIN lake.snapshot
         WHERE removed_in IS NULL
         ORDER BY day, kind, added_in",
    )
    .fetch_all(pool)
    .await?;
    let number = match rows.first() {
        Some(row) => row.number,
        None => number(pool).await?,
    };
    Ok(Snapshot { number, files: rows.into_iter().map(|row| row.file.try_into()).collect::<Result<_, _>>()? })
}

/// The number of the newest commit.
///
/// # Errors
/// Those of the database.
pub async fn number(pool: &PgPool) -> Result<i64, LakeError> {
    Ok(sqlx::query_scalar("SELECT number FROM lake.snapshot").fetch_one(pool).await?)
}

/// The newest commit and how far a feed is in it.
///
/// # Errors
/// Those of the database.
pub async fn position(pool: &PgPool, kind: Kind) -> Result<(i64, Place), LakeError> {
    let (number, position): (i64, Option<String>) =
        sqlx::query_as("SELECT number, position FROM lake.snapshot LEFT JOIN lake.cursors ON source = $1")
            .bind(kind.name())
            .fetch_one(pool)
            .await?;
    let place = position.map(|text| text.parse().map_err(|_| LakeError::Contradiction(format!("the position {text} of {kind:?}"))));
    Ok((number, place.transpose()?.unwrap_or_default()))
}

/// The files that a merge may take: of one day, at most `rows_max` rows each.
///
/// # Errors
/// Those of the database.
pub async fn small_files(pool: &PgPool, rows_max: i64) -> Result<Vec<(File, UnixMs)>, LakeError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        added_at_ms: i64,
        #[sqlx(flatten)]
        file: FileRow,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT object, kind, day, level, rows, superseded, bytes, sha256, added_at_ms
         FROM lake.files
         WHERE removed_in IS NULL AND rows <= $1
           AND (kind, day) IN (SELECT kind, day FROM lake.files WHERE removed_in IS NULL AND rows <= $1
                               GROUP BY kind, day HAVING count(*) > 1)
         ORDER BY kind, day, level, added_in, object
         LIMIT 10000",
    )
    .bind(rows_max)
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(|row| Ok((row.file.try_into()?, UnixMs(row.added_at_ms)))).collect()
}

/// Writes down the names of objects that are about to be stored, so that whatever happens they can be found.
///
/// # Errors
/// Those of the database.
pub async fn announce(pool: &PgPool, objects: &[String], now: UnixMs) -> Result<(), LakeError> {
    sqlx::query("INSERT INTO lake.pending (object, since_ms) SELECT object, $2 FROM unnest($1::TEXT[]) AS object")
        .bind(objects)
        .bind(now.0)
        .execute(pool)
        .await?;
    Ok(())
}

/// What came of the rows of one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Rows that the feed told.
    pub rows_in: i64,
    /// Rows that were written.
    pub rows_out: i64,
    /// Rows of accounts that had been forgotten since.
    pub forgotten: i64,
}

/// A commit under way. Dropped without [`Commit::finish`], it has changed nothing.
pub struct Commit {
    tx: Transaction<'static, Postgres>,
    number: i64,
    now: UnixMs,
}

impl Commit {
    /// Begins the commit that follows `base`.
    ///
    /// # Errors
    /// [`LakeError::Overtaken`] when another one has; else those of the database.
    pub async fn after(pool: &PgPool, base: i64, now: UnixMs) -> Result<Self, LakeError> {
        let mut tx = pool.begin().await?;
        let raised = sqlx::query("UPDATE lake.snapshot SET number = number + 1, at_ms = $2 WHERE number = $1")
            .bind(base)
            .bind(now.0)
            .execute(&mut *tx)
            .await?;
        if raised.rows_affected() != 1 {
            return Err(LakeError::Overtaken);
        }
        Ok(Self { tx, number: base + 1, now })
    }

    /// Adds files that have been stored.
    ///
    /// # Errors
    /// [`LakeError::Overtaken`] when one of them has been given up as abandoned meanwhile; else those of the database.
    pub async fn add(&mut self, files: &[File]) -> Result<(), LakeError> {
        let objects: Vec<&str> = files.iter().map(|file| file.object.as_str()).collect();
        let known =
            sqlx::query("DELETE FROM lake.pending WHERE object = ANY ($1) AND NOT condemned").bind(&objects).execute(&mut *self.tx).await?;
        if known.rows_affected() != u64::try_from(files.len()).unwrap_or(u64::MAX) {
            return Err(LakeError::Overtaken);
        }
        sqlx::query(
            "INSERT INTO lake.files (object, kind, day, level, rows, superseded, bytes, sha256, added_in, added_at_ms)
             SELECT object, kind, day, level, rows, superseded, bytes, sha256, $9, $10
             FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::SMALLINT[], $5::BIGINT[], $6::BIGINT[], $7::BIGINT[], $8::BYTEA[])
                  AS file (object, kind, day, level, rows, superseded, bytes, sha256)",
        )
        .bind(&objects)
        .bind(files.iter().map(|file| file.kind.name()).collect::<Vec<_>>())
        .bind(files.iter().map(|file| file.day.as_str()).collect::<Vec<_>>())
        .bind(files.iter().map(|file| file.level).collect::<Vec<_>>())
        .bind(files.iter().map(|file| file.rows).collect::<Vec<_>>())
        .bind(files.iter().map(|file| file.superseded).collect::<Vec<_>>())
        .bind(files.iter().map(|file| file.bytes).collect::<Vec<_>>())
        .bind(files.iter().map(|file| file.sha256.clone()).collect::<Vec<_>>())
        .bind(self.number)
        .bind(self.now.0)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Takes files out of the lake; their rows are in files that were added.
    ///
    /// # Errors
    /// [`LakeError::Overtaken`] when one of them is not in the lake; else those of the database.
    pub async fn remove(&mut self, objects: &[String]) -> Result<(), LakeError> {
        let removed = sqlx::query(
            "UPDATE lake.files SET removed_in = $2, removed_at_ms = $3
             WHERE object = ANY ($1) AND removed_in IS NULL",
        )
        .bind(objects)
        .bind(self.number)
        .bind(self.now.0)
        .execute(&mut *self.tx)
        .await?;
        if removed.rows_affected() == u64::try_from(objects.len()).unwrap_or(u64::MAX) { Ok(()) } else { Err(LakeError::Overtaken) }
    }

    /// Moves the place in a feed.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn move_to(&mut self, kind: Kind, place: Place) -> Result<(), LakeError> {
        sqlx::query(
            "INSERT INTO lake.cursors (source, position) VALUES ($1, $2)
             ON CONFLICT (source) DO UPDATE SET position = excluded.position",
        )
        .bind(kind.name())
        .bind(place.to_string())
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Adds to the counts of hours.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count(&mut self, kind: Kind, hours: impl Iterator<Item = (i64, Tally)>) -> Result<(), LakeError> {
        let (hours, tallies): (Vec<i64>, Vec<Tally>) = hours.unzip();
        sqlx::query(
            "INSERT INTO lake.hours AS known (kind, hour_ms, rows_in, rows_out, forgotten)
             SELECT $1, hour_ms, rows_in, rows_out, forgotten
             FROM unnest($2::BIGINT[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[]) AS hour (hour_ms, rows_in, rows_out, forgotten)
             ON CONFLICT (kind, hour_ms) DO UPDATE
             SET rows_in = known.rows_in + excluded.rows_in, rows_out = known.rows_out + excluded.rows_out,
                 forgotten = known.forgotten + excluded.forgotten",
        )
        .bind(kind.name())
        .bind(hours)
        .bind(tallies.iter().map(|tally| tally.rows_in).collect::<Vec<_>>())
        .bind(tallies.iter().map(|tally| tally.rows_out).collect::<Vec<_>>())
        .bind(tallies.iter().map(|tally| tally.forgotten).collect::<Vec<_>>())
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Makes it so; gives the snapshot's number.
    ///
    /// # Errors
    /// Those of the database. The commit may then have happened all the same: the next step sees whether it has.
    pub async fn finish(self) -> Result<i64, LakeError> {
        self.tx.commit().await?;
        Ok(self.number)
    }
}

/// Counts of one hour, as reconciliation reads them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Hour {
    /// `play` or `like`.
    pub kind: String,
    /// When the hour of the mint, or of the like, began.
    pub hour_ms: i64,
    /// Rows that the feed told, every version of a play.
    pub rows_in: i64,
    /// Rows that were written.
    pub rows_out: i64,
    /// Rows of accounts that had been forgotten since.
    pub forgotten: i64,
}

/// The hours from one instant until before another.
///
/// # Errors
/// Those of the database.
pub async fn hours(db: &mut PgConnection, from: UnixMs, until: UnixMs) -> Result<Vec<Hour>, LakeError> {
    Ok(sqlx::query_as(
        "SELECT kind, hour_ms, rows_in, rows_out, forgotten FROM lake.hours
         WHERE hour_ms >= $1 AND hour_ms < $2
         ORDER BY hour_ms, kind",
    )
    .bind(from.0)
    .bind(until.0)
    .fetch_all(db)
    .await?)
}
