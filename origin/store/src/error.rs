//! Why the store refuses, in one enum, and the S3 error each becomes.

use s3s::{S3Error, S3ErrorCode, StdError};

/// A refusal. The message is for the client.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `If-None-Match: *` met an object.
    #[error("an object of this name exists already")]
    Exists,
    /// `If-Match` met another object, or none.
    #[error("the object is not the one named by If-Match")]
    NotTheOne,
    /// The body's length is not the declared one.
    #[error("{declared} bytes were declared, {actual} arrived")]
    Length {
        /// `Content-Length`.
        declared: u64,
        /// What came.
        actual: u64,
    },
    /// The length must be known before the first byte.
    #[error("declare the length: Content-Length is missing")]
    LengthMissing,
    /// The bytes do not hash to what was declared.
    #[error("the bytes do not have the {algorithm} that was declared")]
    Digest {
        /// Which of the declared digests.
        algorithm: &'static str,
    },
    /// More than the store takes in one object.
    #[error("an object may have {bytes_max} bytes at most")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// The client stopped sending.
    #[error("the upload stopped sending")]
    Stalled,
    /// The body ended before its time.
    #[error("the body ended early: {0}")]
    Cut(StdError),
    /// Something this store does not do.
    #[error("{0} is not offered by this store")]
    NotOffered(&'static str),
    /// The key is too long for this store.
    #[error("a key may have {max} bytes at most")]
    KeyTooLong {
        /// The limit.
        max: usize,
    },
    /// The key cannot be a file's name.
    #[error("keys are made of plain, non-empty parts between slashes")]
    KeyNotAllowed,
    /// No such bucket.
    #[error("there is no such bucket")]
    NoSuchBucket,
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Disk(#[from] std::io::Error),
}

impl From<StoreError> for S3Error {
    fn from(refusal: StoreError) -> Self {
        let code = match &refusal {
            StoreError::Exists | StoreError::NotTheOne => S3ErrorCode::PreconditionFailed,
            StoreError::Length { .. } | StoreError::Cut(_) => S3ErrorCode::IncompleteBody,
            StoreError::LengthMissing => S3ErrorCode::MissingContentLength,
            StoreError::Digest { .. } => S3ErrorCode::BadDigest,
            StoreError::TooLarge { .. } => S3ErrorCode::EntityTooLarge,
            StoreError::Stalled => S3ErrorCode::RequestTimeout,
            StoreError::NotOffered(_) => S3ErrorCode::NotImplemented,
            StoreError::KeyTooLong { .. } => S3ErrorCode::KeyTooLongError,
            StoreError::KeyNotAllowed => S3ErrorCode::InvalidRequest,
            StoreError::NoSuchBucket => S3ErrorCode::NoSuchBucket,
            StoreError::Disk(error) if error.kind() == std::io::ErrorKind::StorageFull => S3ErrorCode::ServiceUnavailable,
            StoreError::Disk(error) => {
                tracing::error!(%error, "the disk failed");
                // What the disk said is for the log, not for the client.
                return S3Error::new(S3ErrorCode::InternalError);
            }
        };
        S3Error::with_message(code, refusal.to_string())
    }
}
