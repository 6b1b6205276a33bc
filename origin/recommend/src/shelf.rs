//! Tracks and how often they were validly heard, and the two orders they are recommended in. Fed by [`crate::follow`], read by the routes.

use std::collections::HashMap;

use platform::feed::TrackDoc;
use protocol::TrackId;

/// Everything that may be recommended.
#[derive(Debug, Default)]
pub struct Shelf {
    tracks: HashMap<TrackId, TrackDoc>,
    listens: HashMap<TrackId, i64>,
}

/// A track and why it is recommended.
#[derive(Debug, Clone, PartialEq)]
pub struct Pick {
    /// The track.
    pub track: TrackDoc,
    /// Why, for a person.
    pub reason: String,
}

impl Shelf {
    /// Adds or replaces a track.
    pub fn put(&mut self, track: TrackDoc) {
        self.tracks.insert(track.id, track);
    }

    /// Takes a track away.
    pub fn remove(&mut self, track: TrackId) {
        self.tracks.remove(&track);
    }

    /// Replaces the ranking.
    pub fn rank(&mut self, listens: HashMap<TrackId, i64>) {
        self.listens = listens;
    }

    /// The most heard, then the newest.
    #[must_use]
    pub fn popular(&self, limit: usize) -> Vec<Pick> {
        let mut tracks: Vec<&TrackDoc> = self.tracks.values().collect();
        tracks.sort_by_key(|track| self.order(track));
        tracks
            .into_iter()
            .take(limit)
            .map(|track| {
                let reason = match self.heard(track.id) {
                    0 => "new here".to_owned(),
                    1 => "heard once this month".to_owned(),
                    times => format!("heard {times} times this month"),
                };
                Pick { track: track.clone(), reason }
            })
            .collect()
    }

    /// Around a track: the same artist, then the same genre, then what is popular. `None` when the track is not known.
    #[must_use]
    pub fn similar(&self, to: TrackId, limit: usize) -> Option<Vec<Pick>> {
        let seed = self.tracks.get(&to)?;
        let mut tracks: Vec<(u8, &TrackDoc)> =
            self.tracks.values().filter(|track| track.id != to).map(|track| (closeness(seed, track), track)).collect();
        tracks.sort_by_key(|(closeness, track)| (*closeness, self.order(track)));
        let pick = |(closeness, track): (u8, &TrackDoc)| {
            let reason = match closeness {
                0 => format!("also by {}", track.artist.name),
                1 => format!("also {}", track.genre.as_deref().unwrap_or_default()),
                _ => "popular".to_owned(),
            };
            Pick { track: track.clone(), reason }
        };
        Some(tracks.into_iter().take(limit).map(pick).collect())
    }

    /// A total order, so that equal inputs give equal answers.
    fn order(&self, track: &TrackDoc) -> (i64, i64, TrackId) {
        (-self.heard(track.id), -track.published_at_ms.0, track.id)
    }

    fn heard(&self, track: TrackId) -> i64 {
        self.listens.get(&track).copied().unwrap_or(0)
    }
}

fn closeness(seed: &TrackDoc, track: &TrackDoc) -> u8 {
    if seed.artist.id == track.artist.id {
        0
    } else if seed.genre.is_some() && seed.genre == track.genre {
        1
    } else {
        2
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

    use platform::feed::{ArtistDoc, TrackState};
    use protocol::{AccountId, ArtistId, MediaVersion, UnixMs};

    use super::*;

    fn track(n: u8, artist: u8, genre: &str) -> TrackDoc {
        TrackDoc {
            id: TrackId::v7(UnixMs(1_000), [n; 10]),
            title: format!("Track {n}"),
            artist: ArtistDoc { id: ArtistId::v7(UnixMs(1_000), [artist; 10]), name: format!("Artist {artist}") },
            album: None,
            isrc: None,
            genre: Some(genre.to_owned()),
            duration_ms: 1_000,
            owner: AccountId::v7(UnixMs(1_000), [artist; 10]),
            version: MediaVersion([n; 16]),
            state: TrackState::Published,
            territories: None,
            release_at_ms: None,
            published_at_ms: UnixMs(i64::from(n)),
        }
    }

    fn shelf() -> (Shelf, Vec<TrackDoc>) {
        let tracks = vec![track(1, 1, "folk"), track(2, 1, "jazz"), track(3, 2, "folk"), track(4, 3, "metal")];
        let mut shelf = Shelf::default();
        tracks.iter().cloned().for_each(|track| shelf.put(track));
        shelf.rank([(tracks[0].id, 5), (tracks[3].id, 9)].into());
        (shelf, tracks)
    }

    #[test]
    fn what_is_heard_most_comes_first_then_what_is_new() {
        let (shelf, _) = shelf();
        let titles: Vec<_> = shelf.popular(10).into_iter().map(|pick| pick.track.title).collect();
        assert_eq!(titles, ["Track 4", "Track 1", "Track 3", "Track 2"]);
    }

    #[test]
    fn similar_tracks_share_the_artist_then_the_genre() {
        let (mut shelf, tracks) = shelf();
        let found = shelf.similar(tracks[0].id, 10).unwrap();
        let reasons: Vec<_> = found.iter().map(|pick| (pick.track.title.as_str(), pick.reason.as_str())).collect();
        assert_eq!(reasons, [("Track 2", "also by Artist 1"), ("Track 3", "also folk"), ("Track 4", "popular")]);
        shelf.remove(tracks[1].id);
        assert_eq!(shelf.similar(tracks[0].id, 1).unwrap()[0].track.title, "Track 3");
        assert_eq!(shelf.similar(tracks[1].id, 1), None);
    }
}
