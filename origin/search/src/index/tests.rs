//! The index on a real disk, fed with events as the catalogue sends them.

use platform::feed::{ArtistDoc, TrackDoc};
use protocol::{AccountId, ArtistId, MediaVersion, TrackId, UnixMs};

use super::*;
use crate::{entry::Kind, index::open, rank::Wanted};

const NOW: UnixMs = UnixMs(1_795_556_280_000);

fn event(seq: i64, track: u8, title: &str, artist: (u8, &str), album: Option<&str>, there: bool) -> OutboxEvent {
    let (kind, state) =
        if there { (OutboxKind::TrackPublished, TrackState::Published) } else { (OutboxKind::TrackTakenDown, TrackState::TakenDown) };
    let track = TrackDoc {
        id: TrackId::v7(NOW.plus_ms(i64::from(track)), [track; 10]),
        title: title.to_owned(),
        artist: ArtistDoc { id: ArtistId::v7(NOW, [artist.0; 10]), name: artist.1.to_owned() },
        album: album.map(str::to_owned),
        isrc: None,
        genre: None,
        duration_ms: 1000,
        owner: AccountId::v7(NOW, [9; 10]),
        acts_for: None,
        version: MediaVersion([1; 16]),
        state,
        territories: None,
        release_at_ms: None,
        published_at_ms: NOW,
    };
    OutboxEvent { seq, kind, at_ms: NOW, track }
}

fn found(catalogue: &Catalogue, query: &str, kinds: &[Kind], now: UnixMs) -> Vec<String> {
    let wanted = Wanted::from(query).unwrap();
    let mut titles: Vec<_> =
        catalogue.candidates(&wanted, &kinds.to_vec(), &[], 50, now).unwrap().into_iter().map(|entry| entry.title).collect();
    titles.sort();
    titles
}

#[test]
fn a_track_is_found_with_its_artist_and_album_and_gone_when_taken_down() {
    let dir = tempfile::tempdir().unwrap();
    let (catalogue, mut writer) = open(dir.path()).unwrap();
    writer
        .apply(&[event(1, 1, "Jóga", (1, "Björk"), Some("Homogenic"), true), event(2, 2, "Hunter", (1, "Björk"), Some("Homogenic"), true)])
        .unwrap();
    assert_eq!(found(&catalogue, "bjork", &Kind::ALL, NOW), ["Björk", "Homogenic", "Hunter", "Jóga"]);
    assert_eq!(found(&catalogue, "joga", &Kind::ALL, NOW), ["Jóga"]);

    writer.apply(&[event(3, 1, "Jóga", (1, "Björk"), Some("Homogenic"), false)]).unwrap();
    assert_eq!(found(&catalogue, "bjork", &Kind::ALL, NOW), ["Björk", "Homogenic", "Hunter"]);
    writer.apply(&[event(4, 2, "Hunter", (1, "Björk"), Some("Homogenic"), false)]).unwrap();
    assert!(found(&catalogue, "bjork", &Kind::ALL, NOW).is_empty(), "nobody is named by no track");
}

#[test]
fn a_track_that_changes_hands_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (catalogue, mut writer) = open(dir.path()).unwrap();
    writer.apply(&[event(1, 1, "Song", (1, "Wrong Name"), Some("Demo"), true)]).unwrap();
    // Published, taken down and published again within one batch: the last word counts.
    writer
        .apply(&[event(2, 1, "Song", (1, "Wrong Name"), Some("Demo"), false), event(3, 1, "Song", (2, "Right Name"), None, true)])
        .unwrap();
    assert!(found(&catalogue, "wrong", &Kind::ALL, NOW).is_empty());
    assert!(found(&catalogue, "demo", &Kind::ALL, NOW).is_empty());
    assert_eq!(found(&catalogue, "right", &Kind::ALL, NOW), ["Right Name", "Song"]);
}

#[test]
fn the_position_is_on_disk_with_what_it_stands_for() {
    let dir = tempfile::tempdir().unwrap();
    let (_, mut writer) = open(dir.path()).unwrap();
    writer.apply(&[event(7, 1, "One", (1, "A"), None, true)]).unwrap();
    // Written and not committed, as when the process is killed here.
    writer.write(&[event(8, 2, "Two", (1, "A"), None, true)]).unwrap();
    assert_eq!(writer.position_on_disk(), 7);
    drop(writer);

    let (catalogue, mut writer) = open(dir.path()).unwrap();
    assert_eq!(writer.position(), 7);
    assert!(found(&catalogue, "two", &Kind::ALL, NOW).is_empty());
    let again = [event(7, 1, "One", (1, "A"), None, true), event(8, 2, "Two", (1, "A"), None, true)];
    writer.apply(&again).unwrap();
    assert_eq!(writer.position(), 8);
    assert_eq!(catalogue.browse(&Kind::ALL.to_vec(), None, 50, NOW).unwrap().len(), 3, "two tracks and their artist, each once");
}

#[test]
fn a_damaged_index_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("meta.json"), "not json").unwrap();
    let (_, writer) = open(dir.path()).unwrap();
    assert_eq!(writer.position(), 0);
}

#[test]
fn pages_lead_through_the_whole_catalogue_newest_first_and_once_each() {
    let dir = tempfile::tempdir().unwrap();
    let (catalogue, mut writer) = open(dir.path()).unwrap();
    let events: Vec<_> = (1..=25).map(|n| event(i64::from(n), n, &format!("Track {n:02}"), (1, "A"), None, true)).collect();
    writer.apply(&events).unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = catalogue.browse(&vec![Kind::Track], after, 10, NOW).unwrap();
        after = page.last().map(|entry| entry.id);
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|entry| entry.title));
    }
    let expected: Vec<_> = (1..=25).rev().map(|n| format!("Track {n:02}")).collect();
    assert_eq!(seen, expected);
}

#[test]
fn what_is_not_out_yet_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let (catalogue, mut writer) = open(dir.path()).unwrap();
    let mut later = event(1, 1, "Tomorrow", (1, "A"), None, true);
    later.track.release_at_ms = Some(NOW.plus_ms(1000));
    writer.apply(&[later]).unwrap();
    assert!(found(&catalogue, "tomorrow", &Kind::ALL, NOW).is_empty());
    assert_eq!(found(&catalogue, "tomorrow", &Kind::ALL, NOW.plus_ms(1000)), ["Tomorrow"]);
    writer.apply(&[event(2, 2, "Today", (1, "A"), None, true)]).unwrap();
    assert_eq!(found(&catalogue, "a", &[Kind::Artist], NOW), ["A"], "one track that is out makes the artist visible");
}
