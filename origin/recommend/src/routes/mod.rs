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

/// Recommendations, and why there are none when there are none.
#[derive(Serialize, ToSchema)]
pub(crate) struct Recommendations {
    /// What to hear, best first.
    items: Vec<Recommendation>,
    /// Always null: the list is given whole.
    next_cursor: Option<String>,
    /// Why the list is empty; left out when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl From<Vec<Pick>> for Recommendations {
    fn from(picks: Vec<Pick>) -> Self {
        let reason = picks.is_empty().then_some("there is nothing yet that could be played here");
        Self { items: picks.into_iter().map(Recommendation::from).collect(), next_cursor: None, reason }
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
