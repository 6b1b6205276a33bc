//! A publication: what ingest says about a track whose artefacts are all in the object store. It comes from
//! `POST /internal/publications`; what it changes is in [`crate::store::publish`].

use protocol::{AccountId, ArtistId, MediaVersion, Rung, Territory, TrackId, UnixMs, sheet::Sheet};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The longest title, name or genre, in characters.
const TEXT_CHARS_MAX: usize = 500;

/// A track to be published, with the sheet of the version that is to be played from now on.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// The track; ingest chose its id when the upload began.
    #[schema(value_type = uuid::Uuid)]
    pub track: TrackId,
    /// The account that is paid for it unless a split says otherwise.
    #[schema(value_type = uuid::Uuid)]
    pub owner: AccountId,
    /// The artist whose members have a say in it, as identity knows it; its owner alone has when absent.
    #[serde(default)]
    #[schema(value_type = Option<uuid::Uuid>)]
    pub acts_for: Option<ArtistId>,
    /// The fencing number of the job's lease. A lower one than the track has seen is refused.
    pub fence: i64,
    /// The title.
    pub title: String,
    /// The artist's name; found again or made, per owner.
    pub artist: String,
    /// The release's title, if it stands on one; found again or made, per artist.
    #[serde(default)]
    pub album: Option<String>,
    /// ISO 3901, with or without hyphens.
    #[serde(default)]
    pub isrc: Option<String>,
    /// Free text.
    #[serde(default)]
    pub genre: Option<String>,
    /// Whether the lyrics need a warning.
    #[serde(default)]
    pub explicit: bool,
    /// Where it may be heard; everywhere when absent.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub territories: Option<Vec<Territory>>,
    /// From when it may be heard; at once when absent.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub release_at_ms: Option<UnixMs>,
    /// The sheet as it lies in the object store.
    #[schema(value_type = Object)]
    pub sheet: Sheet,
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The version is the one played from now on.
    Published,
    /// It was already; nothing changed.
    AlreadyPublished,
    /// The track was taken down meanwhile, and stays down.
    TakenDown,
}

/// The answer to ingest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Published {
    /// What became of it.
    pub outcome: Outcome,
    /// The track.
    #[schema(value_type = uuid::Uuid)]
    pub track: TrackId,
    /// The version that is played now.
    #[schema(value_type = String)]
    pub version: MediaVersion,
    /// When the track was first published.
    #[schema(value_type = i64)]
    pub published_at_ms: UnixMs,
}

/// What a track page says of a rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RungLine {
    /// Such as `aac-128`.
    #[schema(value_type = String)]
    pub name: Rung,
    /// RFC 6381.
    pub codec: String,
    /// Measured.
    pub average_bps: u32,
    /// Measured.
    pub peak_bps: u32,
}

impl Publication {
    /// Cleans names, and says by JSON Pointer what cannot be published.
    ///
    /// # Errors
    /// `(pointer, detail)` for each field that is wrong.
    pub fn validate(mut self) -> Result<Self, Vec<(&'static str, String)>> {
        let mut wrong = Vec::new();
        for (pointer, text) in [("/title", &mut self.title), ("/artist", &mut self.artist)] {
            *text = tidy(text);
            if text.is_empty() {
                wrong.push((pointer, "must not be empty".to_owned()));
            }
        }
        for text in [&mut self.album, &mut self.genre] {
            *text = text.as_deref().map(tidy).filter(|text| !text.is_empty());
        }
        let lengths = [
            ("/title", Some(&self.title)),
            ("/artist", Some(&self.artist)),
            ("/album", self.album.as_ref()),
            ("/genre", self.genre.as_ref()),
        ];
        for (pointer, text) in lengths {
            if text.is_some_and(|text| text.chars().count() > TEXT_CHARS_MAX) {
                wrong.push((pointer, format!("must have {TEXT_CHARS_MAX} characters at most")));
            }
        }
        if let Some(isrc) = &mut self.isrc {
            *isrc = isrc.replace('-', "").to_ascii_uppercase();
            if !is_isrc(isrc) {
                wrong.push(("/isrc", "must be an ISRC, such as DEA712600001".to_owned()));
            }
        }
        if self.territories.as_ref().is_some_and(Vec::is_empty) {
            wrong.push(("/territories", "must name one territory at least, or be absent".to_owned()));
        }
        if self.sheet.rungs.is_empty() || self.sheet.duration_ms() == 0 {
            wrong.push(("/sheet", "must describe something that can be heard".to_owned()));
        }
        if wrong.is_empty() { Ok(self) } else { Err(wrong) }
    }

    pub(crate) fn rung_lines(&self) -> Vec<RungLine> {
        let line = |rung: &protocol::sheet::SheetRung| RungLine {
            name: rung.rung,
            codec: rung.codec.clone(),
            average_bps: rung.average_bps,
            peak_bps: rung.peak_bps,
        };
        self.sheet.rungs.iter().map(line).collect()
    }
}

/// What the track looked like before a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) owner: AccountId,
    pub(crate) taken_down: bool,
    pub(crate) fence: i64,
    pub(crate) version: MediaVersion,
}

/// Why a publication is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Another account's track.
    #[error("the track belongs to another account")]
    NotTheOwner,
    /// A later lease has published already.
    #[error("a job with fencing number {seen} has published this track; yours has {fence}: stop")]
    FencedOut { seen: i64, fence: i64 },
}

/// Decides from what is there what a publication may do: `None` means that the version is to be written.
///
/// The same version again changes nothing, so it is not asked for its fence: a worker that lost its lease after publishing
/// reads that it has published.
pub(crate) fn decide(before: Option<Before>, owner: AccountId, fence: i64, version: MediaVersion) -> Result<Option<Outcome>, Refused> {
    let Some(before) = before else { return Ok(None) };
    if before.owner != owner {
        return Err(Refused::NotTheOwner);
    }
    if before.taken_down {
        return Ok(Some(Outcome::TakenDown));
    }
    if before.version == version {
        return Ok(Some(Outcome::AlreadyPublished));
    }
    if fence < before.fence {
        return Err(Refused::FencedOut { seen: before.fence, fence });
    }
    Ok(None)
}

/// The name by which a thing is found again: case and runs of spaces do not tell two artists apart.
pub(crate) fn fold(name: &str) -> String {
    tidy(name).to_lowercase()
}

/// One space between words, none around them, no control characters (PostgreSQL refuses U+0000 outright).
fn tidy(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// ISO 3901: two letters, three letters or digits, seven digits.
fn is_isrc(text: &str) -> bool {
    let bytes = text.as_bytes();
    let matches = |range: std::ops::Range<usize>, of: fn(&u8) -> bool| bytes.get(range).is_some_and(|part| part.iter().all(of));
    bytes.len() == 12
        && matches(0..2, u8::is_ascii_uppercase)
        && matches(2..5, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        && matches(5..12, u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn account(n: u8) -> AccountId {
        AccountId(uuid::Uuid::from_bytes([n; 16]))
    }

    #[test]
    fn a_stale_worker_is_fenced_out_and_a_taken_down_track_stays_down() {
        let version = |n| MediaVersion([n; 16]);
        let before = |taken_down| Some(Before { owner: account(1), taken_down, fence: 7, version: version(1) });
        let table = [
            (None, 1, 1, Ok(None)),
            (before(false), 7, 2, Ok(None)),
            (before(false), 8, 2, Ok(None)),
            (before(false), 6, 2, Err(Refused::FencedOut { seen: 7, fence: 6 })),
            (before(false), 6, 1, Ok(Some(Outcome::AlreadyPublished))),
            (before(true), 9, 2, Ok(Some(Outcome::TakenDown))),
        ];
        for (before, fence, v, expected) in table {
            assert_eq!(decide(before, account(1), fence, version(v)), expected, "{before:?} {fence} {v}");
        }
        assert_eq!(decide(before(false), account(2), 9, version(2)), Err(Refused::NotTheOwner));
    }

    #[test]
    fn names_that_look_the_same_are_the_same() {
        assert_eq!(fold("  Die\u{a0}Ärzte\n"), fold("die  ÄRZTE"));
        assert_eq!(tidy("a\0b"), "a b");
    }

    #[test]
    fn isrcs_are_checked() {
        assert!(is_isrc("DEA712600001"));
        for wrong in ["DEA71260000", "D1A712600001", "DEA71260000X", "dea712600001", "DEA7126000012", "ÄEA71260001"] {
            assert!(!is_isrc(wrong), "{wrong}");
        }
    }
}
