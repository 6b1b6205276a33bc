//! The default: a batch is merged in the request that brings it, so that durable and merged are the same moment.

use async_trait::async_trait;
use platform::Shutdown;

use super::{Accepted, EventIntake, Frozen, Merger};
use crate::{error::RoyaltyError, period::Period};

/// Merges at once.
pub struct Postgres {
    merger: Merger,
}

impl Postgres {
    /// Over the database of `merger`.
    #[must_use]
    pub const fn new(merger: Merger) -> Self {
        Self { merger }
    }
}

#[async_trait]
impl EventIntake for Postgres {
    async fn accept(&self, batch: Frozen) -> Result<Accepted, RoyaltyError> {
        let (outcome, tally) = self.merger.merge(&batch, None).await?;
        Ok(Accepted::Merged { outcome, tally })
    }

    async fn waiting(&self, _: Period) -> Result<i64, RoyaltyError> {
        Ok(0)
    }

    async fn place(&self) -> Result<Vec<(String, i64)>, RoyaltyError> {
        Ok(Vec::new())
    }

    async fn missing(&self) -> Option<String> {
        None
    }

    async fn run(&self, shutdown: Shutdown) {
        shutdown.requested().await;
    }
}
