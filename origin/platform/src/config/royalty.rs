//! `[royalty]`: money, and where the heartbeats that earn it come in.

use serde::{Deserialize, Serialize};

/// `[royalty]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Royalty {
    /// The currency that revenue comes in, ISO 4217.
    pub currency: String,
    /// What becomes of listens that no receipts corroborate: `count` pays for them, `void` does not. A change judges the open periods anew.
    pub uncorroborated: protocol::listen::Uncorroborated,
    /// Which accounts this process merges.
    pub cells: Cells,
    /// Where batches are made durable.
    pub intake: Intake,
}

impl Default for Royalty {
    fn default() -> Self {
        Self {
            currency: "EUR".to_owned(),
            uncorroborated: protocol::listen::Uncorroborated::Count,
            cells: Cells::default(),
            intake: Intake::default(),
        }
    }
}

/// `[royalty.cells]`: how collectors divide accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cells {
    /// How many cells the fleet has; the same in every process.
    pub count: u32,
    /// The cells that this process merges, from 0. More than one process needs a log in front.
    pub own: Vec<u32>,
}

impl Default for Cells {
    fn default() -> Self {
        Self { count: 1, own: vec![0] }
    }
}

/// What makes batches durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntakeKind {
    /// The merge itself, in the request.
    #[default]
    Postgres,
    /// A log in front of the merge.
    Kafka,
}

/// `[royalty.intake]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Intake {
    /// `postgres` or `kafka`.
    pub kind: IntakeKind,
    /// Kafka: some brokers of the cluster, host:port each.
    pub brokers: Vec<String>,
    /// Kafka: the topic, which must exist.
    pub topic: String,
    /// Kafka: how many partitions the topic has, a multiple of `cells.count`.
    pub partitions: u32,
}

impl Default for Intake {
    fn default() -> Self {
        Self { kind: IntakeKind::Postgres, brokers: Vec::new(), topic: "antiphon.heartbeats".to_owned(), partitions: 8 }
    }
}
