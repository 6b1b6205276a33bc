//! Where buffers' batches come in: a frozen batch is made durable, and then merged.
//!
//! ```text
//!              ┌─ postgres ─ merged in the request ──────────────────────────────┐
//!  batch ─► accept                                                               ├─► [`merger`] ─► store::merge
//!              └─ kafka ─ parts, by account ─► the broker's disks ─► [`consumer`] ┘
//! ```
//! Both end in the same merge, which makes what a broker or a buffer delivers twice harmless. What is answered is what is true when the
//! answer leaves: `merged`, or `queued`.

mod consumer;
mod kafka;
mod merger;
pub mod part;
mod postgres;

use std::sync::Arc;

use async_trait::async_trait;
use platform::{Shutdown, config::IntakeKind};
use serde::Serialize;
use utoipa::ToSchema;

pub use self::{kafka::Kafka, merger::Merger, part::Frozen, postgres::Postgres};
use crate::{
    cells::{Cells, CellsError},
    error::RoyaltyError,
    period::Period,
    store::merge::{Outcome, Tally},
};

/// What became of a batch. It is durable: the buffer may forget it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Accepted {
    /// It is merged.
    Merged {
        /// By this call or an earlier one.
        outcome: Outcome,
        /// What became of its records.
        #[serde(flatten)]
        tally: Tally,
    },
    /// It is on the broker's disks; what becomes of its records is decided when it is merged.
    Queued {
        /// Says so.
        outcome: Queued,
        /// Its records.
        acked: i64,
        /// How many parts it was split into.
        parts: usize,
    },
}

/// The outcome of a batch that is not merged yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Queued {
    /// It will be.
    Queued,
}

/// A way in for batches.
#[async_trait]
pub trait EventIntake: Send + Sync + 'static {
    /// Makes a batch durable. Nothing is lost from then on, whatever dies.
    ///
    /// # Errors
    /// [`RoyaltyError`]; the batch may be durable all the same, and the same bytes may be sent again.
    async fn accept(&self, batch: Frozen) -> Result<Accepted, RoyaltyError>;

    /// How many records of `period` were accepted and are not merged yet.
    ///
    /// # Errors
    /// [`RoyaltyError`] when that cannot be told now.
    async fn waiting(&self, period: Period) -> Result<i64, RoyaltyError>;

    /// Up to where what was accepted has been merged: whatever it is, it differs once more has.
    ///
    /// # Errors
    /// Those of the database.
    async fn place(&self) -> Result<Vec<(String, i64)>, RoyaltyError>;

    /// What it lacks to accept anything, besides the database; for the service's readiness.
    async fn missing(&self) -> Option<String>;

    /// Merges what was accepted, until the stop.
    async fn run(&self, shutdown: Shutdown);
}

/// The intake that `config` names.
///
/// # Errors
/// [`CellsError`] for cells or partitions that are no fleet's.
pub fn of_config(config: &platform::config::Royalty, merger: Merger) -> Result<Arc<dyn EventIntake>, CellsError> {
    let cells = Cells::new(config.cells.count, &config.cells.own)?;
    match config.intake.kind {
        IntakeKind::Postgres if cells.all_owned() => Ok(Arc::new(Postgres::new(merger))),
        IntakeKind::Postgres => Err(CellsError::ApartWithoutLog),
        IntakeKind::Kafka if config.intake.brokers.is_empty() => Err(CellsError::NoBrokers),
        IntakeKind::Kafka => Ok(Arc::new(Kafka::new(&config.intake, &cells, merger)?)),
    }
}
