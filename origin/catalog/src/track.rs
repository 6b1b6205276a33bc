//! A published track, as it comes out of [`crate::store::tracks`] and goes to listeners ([`TrackPage`]), to the edge (a protocol
//! `Card`), and to the other services ([`TrackDoc`], in the outbox).

use platform::feed::{ArtistDoc, TrackDoc, TrackState};
use protocol::{
    AccountId, ArtistId, MediaVersion, Territory, TrackId, UnixMs,
    sheet::{Card, CardState, Loudness},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::publication::RungLine;

/// Everything the catalogue knows of a track that is played.
#[derive(Debug, Clone)]
pub struct Track {
    /// The track.
    pub id: TrackId,
    /// Its title.
    pub title: String,
    /// Its main artist.
    pub artist: ArtistRef,
    /// The title of its release.
    pub album: Option<String>,
    /// The recording's ISRC.
    pub isrc: Option<String>,
    /// Its genre.
    pub genre: Option<String>,
    /// Whether the lyrics need a warning.
    pub explicit: bool,
    /// How long it is.
    pub duration_ms: i64,
    /// Who is paid for it unless a split says otherwise.
    pub owner: AccountId,
    /// The artist whose members have a say in it; its owner alone has when there is none.
    pub acts_for: Option<ArtistId>,
    /// What is played now.
    pub version: MediaVersion,
    /// Whether it may be heard.
    pub state: TrackState,
    /// Where and from when.
    pub rights: Rights,
    /// When it was first published.
    pub published_at: UnixMs,
    /// Of the recording.
    pub loudness: Loudness,
    /// What it can be played as.
    pub rungs: Vec<RungLine>,
    /// How many accounts like it; follows the likes within seconds.
    pub likes: i64,
}

/// An artist where it is only named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ArtistRef {
    /// The artist.
    #[schema(value_type = uuid::Uuid)]
    pub id: ArtistId,
    /// Its name.
    pub name: String,
}

/// Where and from when something may be heard. `None`: no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// An allow list.
    pub territories: Option<Vec<Territory>>,
    /// The start of the window.
    pub release_at: Option<UnixMs>,
}

impl Rights {
    /// What both deals allow: a track's own and its release's.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let territories = match (self.territories, other.territories) {
            (Some(ours), Some(theirs)) => Some(ours.into_iter().filter(|territory| theirs.contains(territory)).collect()),
            (ours, theirs) => ours.or(theirs),
        };
        Self { territories, release_at: self.release_at.max(other.release_at) }
    }
}

impl From<Track> for TrackDoc {
    fn from(track: Track) -> Self {
        Self {
            id: track.id,
            title: track.title,
            artist: ArtistDoc { id: track.artist.id, name: track.artist.name },
            album: track.album,
            isrc: track.isrc,
            genre: track.genre,
            duration_ms: track.duration_ms,
            owner: track.owner,
            acts_for: track.acts_for,
            version: track.version,
            state: track.state,
            territories: track.rights.territories,
            release_at_ms: track.rights.release_at,
            published_at_ms: track.published_at,
        }
    }
}

impl From<Track> for Card {
    fn from(track: Track) -> Self {
        let state = match track.state {
            TrackState::Published => CardState::Published,
            TrackState::TakenDown => CardState::TakenDown,
        };
        Self {
            track: track.id,
            state,
            version: track.version,
            title: track.title,
            territories: track.rights.territories,
            release_at_ms: track.rights.release_at,
            // Albums are not measured as a whole yet: a player uses the track's own gain.
            album_gain_cdb: None,
        }
    }
}

/// A track as a listener sees it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct TrackPage {
    #[schema(value_type = uuid::Uuid)]
    id: TrackId,
    title: String,
    artist: ArtistRef,
    /// The title of its release.
    album: Option<String>,
    duration_ms: i64,
    /// Whether the lyrics need a warning.
    explicit: bool,
    isrc: Option<String>,
    loudness: PageLoudness,
    /// A picture's URL.
    art: Option<String>,
    rungs: Vec<RungLine>,
    /// How many accounts like it; follows the likes within seconds.
    likes: i64,
}

/// EBU R128, in the units people read.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PageLoudness {
    integrated_lufs: f64,
    true_peak_dbtp: f64,
}

impl From<Track> for TrackPage {
    fn from(track: Track) -> Self {
        let loudness = PageLoudness {
            integrated_lufs: f64::from(track.loudness.integrated_clufs) / 100.0,
            true_peak_dbtp: f64::from(track.loudness.true_peak_cdbtp) / 100.0,
        };
        Self {
            id: track.id,
            title: track.title,
            artist: track.artist,
            album: track.album,
            duration_ms: track.duration_ms,
            explicit: track.explicit,
            isrc: track.isrc,
            loudness,
            art: None,
            rungs: track.rungs,
            likes: track.likes,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rights(territories: Option<&[&str]>, release_at: Option<i64>) -> Rights {
        let territories = territories.map(|codes| codes.iter().map(|code| code.parse().unwrap()).collect());
        Rights { territories, release_at: release_at.map(UnixMs) }
    }

    #[test]
    fn a_track_may_be_heard_where_both_its_deals_allow_it() {
        assert_eq!(rights(None, None).and(rights(Some(&["DE"]), Some(5))), rights(Some(&["DE"]), Some(5)));
        assert_eq!(rights(Some(&["DE", "FR"]), Some(9)).and(rights(Some(&["FR", "GB"]), Some(5))), rights(Some(&["FR"]), Some(9)));
        assert_eq!(rights(Some(&["DE"]), None).and(rights(Some(&["GB"]), None)), rights(Some(&[]), None), "nowhere, not everywhere");
    }
}
