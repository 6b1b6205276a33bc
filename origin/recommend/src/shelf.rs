//! Tracks and how often they were validly heard, and the two orders they are recommended in. Fed by [`crate::follow`], read by the routes.

use std::collections::HashMap;

use platform::feed::TrackDoc;
use protocol::{Territory, TrackId, UnixMs};

/// Everything that may be recommended.
#[derive(Debug, Default)]
pub struct Shelf {
    tracks: HashMap<TrackId, TrackDoc>,
    listens: HashMap<TrackId, i64>,
    /// All tracks, best first; made anew by [`Self::arrange`] so that a request sorts nothing.
    arranged: Vec<TrackId>,
}

/// Who is to hear it, when and where: nobody is recommended what they may not play.
#[derive(Debug, Clone, Copy)]
pub struct Audience {
    /// Now.
    pub now: UnixMs,
    /// The listener's country; `None` for a stranger, whose country the manifest will know.
    pub country: Option<Territory>,
}

impl Audience {
    fn may_play(&self, track: &TrackDoc) -> bool {
        let out = track.release_at_ms.is_none_or(|at| at <= self.now);
        let here = match (&track.territories, &self.country) {
            (Some(territories), Some(country)) => territories.contains(country),
            _ => true,
        };
        out && here
    }
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

    /// Forgets every track: the outbox begins anew.
    pub fn clear(&mut self) {
        self.tracks.clear();
    }

    /// Puts all tracks in order. Call it once after a batch of changes; until then answers keep the order before.
    pub fn arrange(&mut self) {
        let mut tracks: Vec<&TrackDoc> = self.tracks.values().collect();
        tracks.sort_by_key(|track| self.order(track));
        self.arranged = tracks.into_iter().map(|track| track.id).collect();
    }

    /// The most heard, then the newest.
    #[must_use]
    pub fn popular(&self, audience: Audience, limit: usize) -> Vec<Pick> {
        self.playable(audience)
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
    pub fn similar(&self, to: TrackId, audience: Audience, limit: usize) -> Option<Vec<Pick>> {
        let seed = self.tracks.get(&to)?;
        let others = self.playable(audience).filter(|track| track.id != to);
        let mut tracks: Vec<(u8, &TrackDoc)> = others.map(|track| (closeness(seed, track), track)).collect();
        // A stable sort: among equally close ones the arranged order stays.
        tracks.sort_by_key(|(closeness, _)| *closeness);
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

    fn playable(&self, audience: Audience) -> impl Iterator<Item = &TrackDoc> {
        self.arranged.iter().filter_map(|id| self.tracks.get(id)).filter(move |track| audience.may_play(track))
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
    use platform::feed::{ArtistDoc, TrackState};
    use protocol::{AccountId, ArtistId, MediaVersion, UnixMs};

    use super::*;

    const ANYONE: Audience = Audience { now: UnixMs(1_000), country: None };

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
            acts_for: None,
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
        shelf.arrange();
        (shelf, tracks)
    }

    #[test]
    fn what_is_heard_most_comes_first_then_what_is_new() {
        let (shelf, _) = shelf();
        let titles: Vec<_> = shelf.popular(ANYONE, 10).into_iter().map(|pick| pick.track.title).collect();
        assert_eq!(titles, ["Track 4", "Track 1", "Track 3", "Track 2"]);
    }

    #[test]
    fn similar_tracks_share_the_artist_then_the_genre() {
        let (mut shelf, tracks) = shelf();
        let found = shelf.similar(tracks[0].id, ANYONE, 10).unwrap();
        let reasons: Vec<_> = found.iter().map(|pick| (pick.track.title.as_str(), pick.reason.as_str())).collect();
        assert_eq!(reasons, [("Track 2", "also by Artist 1"), ("Track 3", "also folk"), ("Track 4", "popular")]);
        shelf.remove(tracks[1].id);
        assert_eq!(shelf.similar(tracks[0].id, ANYONE, 1).unwrap()[0].track.title, "Track 3");
        assert_eq!(shelf.similar(tracks[1].id, ANYONE, 1), None);
    }

    #[test]
    fn nobody_is_recommended_what_they_may_not_play() {
        let (mut shelf, mut tracks) = shelf();
        tracks[3].territories = Some(vec!["FR".parse().unwrap()]);
        tracks[0].release_at_ms = Some(UnixMs(1_001));
        tracks.iter().cloned().for_each(|track| shelf.put(track));
        shelf.arrange();
        let titles = |country: &str, now| {
            let audience = Audience { now: UnixMs(now), country: Some(country.parse().unwrap()) };
            shelf.popular(audience, 10).into_iter().map(|pick| pick.track.title).collect::<Vec<_>>()
        };
        assert_eq!(titles("DE", 1_000), ["Track 3", "Track 2"]);
        assert_eq!(titles("FR", 1_001), ["Track 4", "Track 1", "Track 3", "Track 2"]);
    }
}
