//! Routes, one file per resource, and the shape they share.

pub(crate) mod recommendations;
pub(crate) mod similar;

use platform::feed::TrackDoc;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::shelf::Pick;

const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 200;

/// How many.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    limit: Option<usize>,
}

impl Limit {
    fn rows(&self) -> usize {
        self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
    }
}

/// A recommendation.
#[derive(Serialize, ToSchema)]
pub(crate) struct Recommendation {
    /// What to hear.
    track: Track,
    /// Why.
    reason: String,
}

/// A track as a list shows it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Track {
    /// Its id.
    id: String,
    /// Its title.
    title: String,
    /// Who made it.
    artist: Artist,
    /// Its album.
    album: Option<String>,
    /// Its length.
    duration_ms: i64,
}

/// An artist as a list shows them.
#[derive(Serialize, ToSchema)]
pub(crate) struct Artist {
    /// Their id.
    id: String,
    /// Their name.
    name: String,
}

impl From<Pick> for Recommendation {
    fn from(pick: Pick) -> Self {
        let TrackDoc { id, title, artist, album, duration_ms, .. } = pick.track;
        let artist = Artist { id: artist.id.to_string(), name: artist.name };
        Self { track: Track { id: id.to_string(), title, artist, album, duration_ms }, reason: pick.reason }
    }
}
