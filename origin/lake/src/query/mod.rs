//! SQL over the newest snapshot, by DataFusion. Read-only, in bounded memory and time, nothing spilt to disk.
//!
//! ```text
//!  manifest (one snapshot) ─► play_revisions, likes ─► views plays, skips ─► SELECT … ─► Answer
//!                                    └─ ranges of objects, as columns and days are needed
//! ```
//! `plays` has each play once, as it was last judged; `play_revisions` has every version that was written.

mod held;
mod objects;
mod table;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::{
    error::DataFusionError,
    execution::{
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::GreedyMemoryPool,
        runtime_env::RuntimeEnvBuilder,
    },
    prelude::{SQLOptions, SessionConfig, SessionContext},
};
use futures::StreamExt as _;

pub use self::held::{Held, held};
use self::{objects::LakeObjects, table::LakeTable};
use crate::{Lake, LakeError, manifest, rows::Kind};

/// What a query may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Memory for what it holds on to.
    pub memory_bytes: usize,
    /// Time.
    pub time: Duration,
    /// Rows of the answer; more are not read.
    pub rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 512 << 20, time: Duration::from_secs(60), rows: 10_000 }
    }
}

/// Files read at once.
const PARTITIONS: usize = 2;

/// Why there is no answer. Each says what can be done.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The SQL is wrong, or does more than read.
    #[error("{0}")]
    Sql(String),
    /// It needs more memory than it may take.
    #[error("the query needs more than {0} MiB of memory: select fewer days or columns, or allow more with --memory-mib")]
    TooLarge(usize),
    /// It takes longer than it may.
    #[error("the query took longer than {0} s: select fewer days, or allow more with --seconds")]
    TooLong(u64),
    /// A file that the snapshot names is gone: the query took longer than replaced files are kept.
    #[error("the lake was rewritten while the query read it: run it again")]
    Rewritten,
    /// The lake cannot be read.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The engine failed.
    #[error("the query failed: {0}")]
    Failed(String),
}

/// Rows that were asked for.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The snapshot that was read.
    pub snapshot: i64,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    /// Whether there were more rows than [`Limits::rows`].
    pub cut: bool,
}

impl Answer {
    /// The names of the columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.schema.fields().iter().map(|field| field.name().as_str())
    }

    /// Each row as text, with nothing where there is no value.
    ///
    /// # Errors
    /// When a value has no text.
    pub fn rows(&self) -> Result<Vec<Vec<String>>, QueryError> {
        let options = FormatOptions::default();
        let failed = |error: arrow::error::ArrowError| QueryError::Failed(error.to_string());
        let mut rows = Vec::new();
        for batch in &self.batches {
            let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
            let columns = columns.collect::<Result<Vec<_>, _>>().map_err(failed)?;
            for row in 0..batch.num_rows() {
                let cells = columns.iter().map(|column| column.value(row).try_to_string().map_err(failed));
                rows.push(cells.collect::<Result<_, _>>()?);
            }
        }
        Ok(rows)
    }

    /// The rows as a JSON array of objects.
    ///
    /// # Errors
    /// When a value has no JSON.
    pub fn json(&self) -> Result<serde_json::Value, QueryError> {
        let failed = |error: arrow::error::ArrowError| QueryError::Failed(error.to_string());
        let mut writer = arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, arrow::json::writer::JsonArray>(Vec::new());
        writer.write_batches(&self.batches.iter().collect::<Vec<_>>()).map_err(failed)?;
        writer.finish().map_err(failed)?;
        let text = writer.into_inner();
        if text.is_empty() {
            return Ok(serde_json::Value::Array(Vec::new()));
        }
        serde_json::from_slice(&text).map_err(|error| QueryError::Failed(error.to_string()))
    }
}

/// Each play once: the version with the highest revision. `day` belongs to the play, so a filter on it reaches the files.
const PLAYS: &str = "CREATE VIEW plays AS
    SELECT day, started_at, play, listener, track, version, territory, plan, duration_ms, played_ms, state, reason, skipped, corroborated,
           rule_version, settled_in, revision
    FROM (SELECT *, row_number() OVER (PARTITION BY day, play ORDER BY revision DESC) AS age FROM play_revisions) AS versions
    WHERE age = 1";
const SKIPS: &str = "CREATE VIEW skips AS
    SELECT day, started_at, play, listener, track, territory, plan, duration_ms, played_ms FROM plays WHERE skipped";

impl Lake {
    /// Answers a SELECT over `plays`, `skips`, `likes` and `play_revisions`.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn query(&self, sql: &str, limits: Limits) -> Result<Answer, QueryError> {
        let answered = tokio::time::timeout(limits.time, self.answer(sql, limits)).await;
        answered.unwrap_or_else(|_| Err(QueryError::TooLong(limits.time.as_secs())))
    }

    async fn answer(&self, sql: &str, limits: Limits) -> Result<Answer, QueryError> {
        let gone = Arc::new(AtomicBool::new(false));
        // The Parquet reader makes text of what the store told it, so the store is asked itself.
        let failed = |error| if gone.load(Ordering::Relaxed) { QueryError::Rewritten } else { told(error, limits) };
        let snapshot = manifest::newest(&self.pool).await?;
        let context = self.session(&snapshot, limits, &gone).await.map_err(failed)?;
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let frame = context.sql_with_options(sql, read_only).await.map_err(failed)?;
        let mut stream = frame.execute_stream().await.map_err(failed)?;
        let mut answer = Answer { snapshot: snapshot.number, schema: stream.schema(), batches: Vec::new(), cut: false };
        let mut room = limits.rows;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(failed)?;
            if batch.num_rows() > room {
                answer.cut = true;
                answer.batches.push(batch.slice(0, room));
                break;
            }
            room -= batch.num_rows();
            answer.batches.push(batch);
        }
        Ok(answer)
    }

    async fn session(
        &self,
        snapshot: &manifest::Snapshot,
        limits: Limits,
        gone: &Arc<AtomicBool>,
    ) -> Result<SessionContext, DataFusionError> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(limits.memory_bytes)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        let config = SessionConfig::new().with_target_partitions(PARTITIONS).with_information_schema(true);
        let context = SessionContext::new_with_config_rt(config, runtime);
        let store = LakeObjects::new(self.objects.clone(), self.bucket.clone(), snapshot, Arc::clone(gone));
        context.register_object_store(table::store_url()?.as_ref(), Arc::new(store));
        for (name, kind) in [("play_revisions", Kind::Play), ("likes", Kind::Like)] {
            context.register_table(name, Arc::new(LakeTable::new(kind, snapshot, PARTITIONS)?))?;
        }
        for view in [PLAYS, SKIPS] {
            context.sql(view).await?;
        }
        Ok(context)
    }
}

/// The engine's errors by what a caller can do about them.
fn told(error: DataFusionError, limits: Limits) -> QueryError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => QueryError::TooLarge(limits.memory_bytes >> 20),
        DataFusionError::SQL(error, _) => QueryError::Sql(format!("this is no SQL that can be read: {error}")),
        DataFusionError::Plan(said) if said.contains("not supported") => {
            QueryError::Sql(format!("the lake can only be read, by one SELECT: {said}"))
        }
        DataFusionError::Plan(said) => QueryError::Sql(said.clone()),
        DataFusionError::SchemaError(said, _) => QueryError::Sql(said.to_string()),
        DataFusionError::NotImplemented(said) => QueryError::Sql(format!("this is not available: {said}")),
        root => QueryError::Failed(root.to_string()),
    }
}
