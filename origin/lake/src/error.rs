//! Why a step of the lake did not happen. Whatever it is, nothing was committed and the step is tried again.

use platform::objects::ObjectsError;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// PostgreSQL.
    #[error("the lake's database: {0}")]
    Database(#[from] sqlx::Error),
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// Royalty or the catalogue does not tell what happened.
    #[error("a feed does not answer: {0}")]
    Feed(String),
    /// A file could not be written or read as Parquet.
    #[error("Parquet: {0}")]
    Parquet(String),
    /// Another keeper committed first; the step begins anew.
    #[error("another commit came first")]
    Overtaken,
    /// What the lake holds is not what it must be. Nothing is changed; a person has to look.
    #[error("the lake contradicts itself: {0}")]
    Contradiction(String),
}

impl From<arrow::error::ArrowError> for LakeError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::Parquet(error.to_string())
    }
}

impl From<parquet::errors::ParquetError> for LakeError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::Parquet(error.to_string())
    }
}

impl From<reqwest::Error> for LakeError {
    fn from(error: reqwest::Error) -> Self {
        Self::Feed(platform::feed::describe(&error.without_url()))
    }
}

impl From<LakeError> for platform::Problem {
    fn from(error: LakeError) -> Self {
        match error {
            LakeError::Database(error) => error.into(),
            LakeError::Objects(error) => error.into(),
            error => {
                tracing::error!(%error, "the lake failed");
                Self::internal()
            }
        }
    }
}
