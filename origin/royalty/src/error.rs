//! What can go wrong with money, and what the caller can do about it: one enum, one mapping to problem+json.

use axum::http::StatusCode;
use platform::Problem;

use crate::{money::Currency, period::Period, settle::Model};

/// Why royalty refuses, or cannot.
#[derive(Debug, thiserror::Error)]
pub enum RoyaltyError {
    /// The batch's name is not one that can be stored.
    #[error("{0}")]
    BadBatch(String),
    /// The same batch was merged with other bytes.
    #[error("batch {number} of buffer {buffer} was merged with other content: a frozen batch must be sent again byte for byte")]
    BatchConflict {
        /// The buffer.
        buffer: String,
        /// The batch.
        number: u64,
    },
    /// The log in front of the merge does not take batches now.
    #[error("batches cannot be kept now: {0}")]
    IntakeAway(String),
    /// A place before the first or behind the last record of a log.
    #[error("the log has no such place")]
    OutOfLog,
    /// Another process read the log on.
    #[error("another process merges {0} too: each cell belongs to one process")]
    PlaceMoved(String),
    /// The cause was posted with other content.
    #[error("{cause} {id} was accepted with other content: use another source_id")]
    EntryConflict {
        /// What kind of cause.
        cause: &'static str,
        /// Which one.
        id: String,
    },
    /// A request item that cannot be taken.
    #[error("{detail}")]
    BadItem {
        /// Where it is in the body (RFC 6901).
        pointer: String,
        /// What is wrong.
        detail: String,
    },
    /// The period is settled.
    #[error("period {0} is settled and takes no more revenue")]
    PeriodClosed(Period),
    /// Another model was posted.
    #[error("period {period} is settled by {settled_by}; ask for that model, or for a dry run of another")]
    SettledOtherwise {
        /// The period.
        period: Period,
        /// The model that posted.
        settled_by: Model,
    },
    /// Not the currency of this deployment.
    #[error("this deployment settles in {ours}, not in {asked}")]
    OtherCurrency {
        /// What is configured.
        ours: Currency,
        /// What was asked for.
        asked: Currency,
    },
    /// Shares of a split that do not make a whole.
    #[error("the shares add up to {0} basis points, and must add up to 10000")]
    SplitsDoNotAddUp(i64),
    /// Not there, or not the caller's.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Something that must hold does not. Nothing was written.
    #[error("an invariant does not hold: {0}")]
    Invariant(String),
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<crate::settle::SettleError> for RoyaltyError {
    fn from(error: crate::settle::SettleError) -> Self {
        Self::Invariant(error.to_string())
    }
}

impl From<RoyaltyError> for Problem {
    fn from(error: RoyaltyError) -> Self {
        let detail = error.to_string();
        match error {
            RoyaltyError::BadBatch(_) => Self::new(StatusCode::BAD_REQUEST, "bad_batch", detail),
            RoyaltyError::BatchConflict { .. } => Self::new(StatusCode::CONFLICT, "batch_conflict", detail),
            RoyaltyError::IntakeAway(_) | RoyaltyError::OutOfLog | RoyaltyError::PlaceMoved(_) => {
                tracing::warn!(%detail, "a batch is not taken");
                let detail = "batches cannot be made durable now: keep the batch and send the same bytes again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "intake_away", detail).retry_after(2)
            }
            RoyaltyError::EntryConflict { .. } => Self::new(StatusCode::CONFLICT, "source_conflict", detail),
            RoyaltyError::BadItem { pointer, detail } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_item", detail.clone()).with_errors(vec![(pointer, detail)])
            }
            RoyaltyError::PeriodClosed(_) => Self::new(StatusCode::CONFLICT, "period_closed", detail),
            RoyaltyError::SettledOtherwise { .. } => Self::new(StatusCode::CONFLICT, "settled_otherwise", detail),
            RoyaltyError::OtherCurrency { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "currency_not_supported", detail),
            RoyaltyError::SplitsDoNotAddUp(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "splits_do_not_add_up", detail),
            RoyaltyError::NotFound(what) => {
                let code = match what {
                    "track" => "no_such_track",
                    "record" => "no_such_record",
                    _ => "no_such_statement",
                };
                Self::new(StatusCode::NOT_FOUND, code, detail)
            }
            RoyaltyError::Invariant(_) => {
                tracing::error!(%detail, "refused to write");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "invariant_broken", "the request was not carried out and nothing was written")
            }
            RoyaltyError::Database(error) => Self::from(error),
        }
    }
}
