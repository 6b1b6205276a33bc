//! What can be found: tracks, and the artists and albums that tracks name. Made from the catalogue's track documents, kept whole in the index.

use platform::feed::{ArtistDoc, TrackDoc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::fold;

/// Kinds of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A track.
    Track,
    /// An artist with at least one track.
    Artist,
    /// An album with at least one track.
    Album,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Track, Self::Artist, Self::Album];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Artist => "artist",
            Self::Album => "album",
        }
    }
}

/// One thing that can be found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) id: Uuid,
    pub(crate) title: String,
    /// None for an artist, whose name is the title.
    pub(crate) artist: Option<ArtistDoc>,
    pub(crate) album: Option<String>,
    pub(crate) duration_ms: Option<i64>,
    /// The release instant; zero when it is out already.
    pub(crate) visible_from_ms: i64,
}

impl Entry {
    pub(crate) fn track(doc: &TrackDoc) -> Self {
        Self {
            kind: Kind::Track,
            id: doc.id.uuid(),
            title: doc.title.clone(),
            artist: Some(doc.artist.clone()),
            album: doc.album.clone(),
            duration_ms: Some(doc.duration_ms),
            visible_from_ms: doc.release_at_ms.map_or(0, |at| at.0),
        }
    }

    /// The artist of a track.
    pub(crate) fn artist_of(track: &Self) -> Option<Self> {
        let artist = track.artist.as_ref()?;
        Some(Self {
            kind: Kind::Artist,
            id: artist.id.uuid(),
            title: artist.name.clone(),
            artist: None,
            album: None,
            duration_ms: None,
            ..track.clone()
        })
    }

    /// The album of a track.
    pub(crate) fn album_of(track: &Self) -> Option<Self> {
        Some(Self {
            kind: Kind::Album,
            id: track.album_id()?,
            title: track.album.clone()?,
            album: None,
            duration_ms: None,
            ..track.clone()
        })
    }

    /// The album's id, made from artist and folded title: the catalogue's documents name albums by title alone, and one album must have one id
    /// each time the index is made anew (UUIDv8, RFC 9562 section 5.8).
    pub(crate) fn album_id(&self) -> Option<Uuid> {
        let (artist, album) = (self.artist.as_ref()?, self.album.as_deref()?);
        let mut hash = Sha256::new();
        hash.update(artist.id.uuid().as_bytes());
        hash.update(fold::spaced(&fold::words(album)).as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let (bytes, _) = digest.split_first_chunk::<16>()?;
        Some(uuid::Builder::from_custom_bytes(*bytes).into_uuid())
    }
}
