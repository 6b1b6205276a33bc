//! Why a source was refused, in words an artist can act on. Made by the media pipeline and the worker, stored with the upload,
//! shown by `GET /v1/ingest/tracks/{id}`.

use std::fmt;

/// The stable code of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectCode {
    /// The object has no bytes.
    Empty,
    /// It is not audio at all.
    NotAudio,
    /// It is a playlist: a list of addresses, not sound.
    PlaylistNotAudio,
    /// It is audio in a format that is not accepted.
    UnsupportedCodec,
    /// It ends before its own header says it does.
    Truncated,
    /// It is damaged: what it decodes to is not what was encoded.
    Corrupt,
    /// It lasts longer than the limit.
    TooLong,
    /// It is too short to be a track.
    TooShort,
    /// More bytes or fewer arrived than were declared.
    SizeMismatch,
    /// Other bytes arrived than were declared.
    DigestMismatch,
}

impl RejectCode {
    /// The code as clients see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotAudio => "not_audio",
            Self::PlaylistNotAudio => "playlist_not_audio",
            Self::UnsupportedCodec => "unsupported_codec",
            Self::Truncated => "truncated",
            Self::Corrupt => "corrupt",
            Self::TooLong => "too_long",
            Self::TooShort => "too_short",
            Self::SizeMismatch => "size_mismatch",
            Self::DigestMismatch => "digest_mismatch",
        }
    }
}

/// A refusal: the code for programs, the detail for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// What kind of fault.
    pub code: RejectCode,
    /// What was found and what to send instead.
    pub detail: String,
}

impl Rejection {
    /// A refusal of `code` because of `detail`.
    pub fn new(code: RejectCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.detail)
    }
}

impl std::error::Error for Rejection {}

/// Why the pipeline stopped.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The source will never be a track: tell the artist.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The job was taken from us or the process is stopping: say nothing, someone finishes it.
    #[error("interrupted")]
    Interrupted,
    /// Ours to fix: the job is tried again.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl From<std::io::Error> for MediaError {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}
