//! An upload: what an artist declares, and the states it goes through. Requests become it in `routes::uploads`; `store` keeps it.

use protocol::{AccountId, ArtistId, MediaVersion, Rung, Territory, TrackId, UnixMs, UploadId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::countries;

/// The longest title, artist, album, genre or file name, characters.
const TEXT_CHARS_MAX: usize = 200;
/// The longest content type.
const CONTENT_TYPE_CHARS_MAX: usize = 100;

/// The body of `POST /v1/ingest/upload`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUpload {
    /// What the track is called, 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    pub title: String,
    /// The artist that the caller acts for, as an owner or editor. May be left out by who acts for one only.
    #[serde(default)]
    #[schema(value_type = Option<uuid::Uuid>)]
    pub artist_id: Option<ArtistId>,
    /// Who made it, as listeners read it; the name of the artist acted for when absent.
    #[serde(default)]
    pub artist: Option<String>,
    /// The release it stands on.
    #[serde(default)]
    pub album: Option<String>,
    /// The name of the file, for people.
    #[schema(min_length = 1, max_length = 200)]
    pub file_name: String,
    /// What the client takes the file for. The bytes decide.
    #[schema(example = "audio/flac")]
    pub content_type: String,
    /// The length of the file, bytes.
    #[schema(minimum = 1)]
    pub size_bytes: u64,
    /// The SHA-256 of the file, 64 hex digits.
    #[schema(min_length = 64, max_length = 64)]
    pub sha256: String,
    /// ISO 3901, with or without hyphens.
    #[serde(default)]
    #[schema(example = "DE-A71-26-00001")]
    pub isrc: Option<String>,
    /// Free text.
    #[serde(default)]
    pub genre: Option<String>,
    /// Whether the lyrics need a warning.
    #[serde(default)]
    pub explicit: bool,
    /// From when it may be heard, RFC 3339; at once when absent.
    #[serde(default)]
    pub release_at: Option<String>,
    /// Where it may be heard, ISO 3166-1 alpha-2; everywhere when absent.
    #[serde(default)]
    #[schema(example = json!(["DE", "AT", "CH"]))]
    pub territories: Option<Vec<String>>,
}

/// What is wrong with a body: `(JSON Pointer, detail)` for each field.
pub(crate) type Wrong = Vec<(String, String)>;

impl NewUpload {
    /// The declaration in it, cleaned; `artist_name` stands for an artist that is not named.
    ///
    /// # Errors
    /// Every field that is wrong, with what would be right.
    pub(crate) fn validate(self, artist_name: &str, size_bytes_max: u64) -> Result<Declared, Wrong> {
        let mut wrong = Wrong::new();
        let mut say = |pointer: &str, detail: String| wrong.push((pointer.to_owned(), detail));

        let title = tidy(&self.title);
        let artist = self.artist.as_deref().map_or_else(|| tidy(artist_name), tidy);
        let file_name = tidy(&self.file_name);
        for (pointer, text) in [("/title", &title), ("/artist", &artist), ("/file_name", &file_name)] {
            if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX {
                say(pointer, format!("must have 1 to {TEXT_CHARS_MAX} characters"));
            }
        }
        let named = |text: Option<&str>| text.map(tidy).filter(|text| !text.is_empty());
        let (album, genre) = (named(self.album.as_deref()), named(self.genre.as_deref()));
        for (pointer, text) in [("/album", &album), ("/genre", &genre)] {
            if text.as_ref().is_some_and(|text| text.chars().count() > TEXT_CHARS_MAX) {
                say(pointer, format!("must have {TEXT_CHARS_MAX} characters at most"));
            }
        }
        if !is_media_type(&self.content_type) {
            say("/content_type", "must be a media type, such as audio/flac".to_owned());
        }
        if !(1..=size_bytes_max).contains(&self.size_bytes) {
            say("/size_bytes", format!("must be 1 to {size_bytes_max}"));
        }
        let sha256 = sha256(&self.sha256);
        if sha256.is_none() {
            say("/sha256", "must be the SHA-256 of the file as 64 hex digits".to_owned());
        }
        let isrc = self.isrc.as_deref().map(|isrc| isrc.replace('-', "").to_ascii_uppercase());
        if isrc.as_deref().is_some_and(|isrc| !is_isrc(isrc)) {
            say("/isrc", "must be an ISRC, such as DE-A71-26-00001".to_owned());
        }
        let release_at = self.release_at.as_deref().map(str::parse::<jiff::Timestamp>).transpose();
        if release_at.is_err() {
            say("/release_at", "must be an RFC 3339 instant, such as 2026-11-27T00:00:00Z".to_owned());
        }
        let territories = territories(self.territories.as_deref(), &mut say);

        match (sha256, release_at) {
            (Some(sha256), Ok(release_at)) if wrong.is_empty() => Ok(Declared {
                title,
                artist,
                album,
                isrc,
                genre,
                explicit: self.explicit,
                territories,
                release_at: release_at.map(|at| UnixMs(at.as_millisecond())),
                file_name,
                content_type: self.content_type,
                size_bytes: self.size_bytes,
                sha256,
            }),
            _ => Err(wrong),
        }
    }
}

fn territories(codes: Option<&[String]>, say: &mut impl FnMut(&str, String)) -> Option<Vec<Territory>> {
    let codes = codes?;
    if codes.is_empty() {
        say("/territories", "must name one country at least, or be absent for everywhere".to_owned());
    }
    let mut territories = Vec::with_capacity(codes.len().min(countries::COUNT));
    for (index, code) in codes.iter().enumerate().take(countries::COUNT + 1) {
        match code.parse().ok().filter(countries::exists) {
            Some(territory) => territories.push(territory),
            None => say(&format!("/territories/{index}"), "must be an ISO 3166-1 alpha-2 code of a country, such as DE".to_owned()),
        }
    }
    if codes.len() > countries::COUNT {
        say("/territories", format!("there are {} countries", countries::COUNT));
    }
    territories.sort_unstable();
    territories.dedup();
    Some(territories)
}

/// One space between words, none around them, no control characters (PostgreSQL refuses U+0000 outright).
fn tidy(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// RFC 9110 8.3.1: two tokens and a slash, perhaps parameters.
fn is_media_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte));
    let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    text.len() <= CONTENT_TYPE_CHARS_MAX && printable && essence.split_once('/').is_some_and(|(kind, name)| token(kind) && token(name))
}

fn sha256(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

/// ISO 3901: two letters, three letters or digits, seven digits.
fn is_isrc(text: &str) -> bool {
    let bytes = text.as_bytes();
    let all = |range: std::ops::Range<usize>, of: fn(&u8) -> bool| bytes.get(range).is_some_and(|part| part.iter().all(of));
    bytes.len() == 12
        && all(0..2, u8::is_ascii_uppercase)
        && all(2..5, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        && all(5..12, u8::is_ascii_digit)
}

/// What an artist declared about a file and the track in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared {
    pub title: String,
    pub artist: String,
    pub album: Option<String>,
    pub isrc: Option<String>,
    pub genre: Option<String>,
    pub explicit: bool,
    pub territories: Option<Vec<Territory>>,
    pub release_at: Option<UnixMs>,
    pub file_name: String,
    pub content_type: String,
    pub size_bytes: u64,
    pub sha256: [u8; 32],
}

/// Where an upload stands, as clients read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// The bytes have not arrived.
    Pending,
    /// They have; nobody works on them yet.
    Uploaded,
    /// Someone does.
    Processing,
    /// It can be heard.
    Published,
    /// It never will be; `reason` says why.
    Rejected,
    /// It waits for a person of ours; `reason` says why.
    Held,
    /// Its artist wants it no more.
    TakenDown,
}

impl State {
    /// As it is stored.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Uploaded => "uploaded",
            Self::Processing => "processing",
            Self::Published => "published",
            Self::Rejected => "rejected",
            Self::Held => "held",
            Self::TakenDown => "taken_down",
        }
    }

    /// From how it is stored.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Uploaded, Self::Processing, Self::Published, Self::Rejected, Self::Held, Self::TakenDown];
        all.into_iter().find(|state| state.name() == name)
    }

    /// Whether no event of the object store can change it any more.
    #[must_use]
    pub(crate) const fn is_final(self) -> bool {
        matches!(self, Self::Published | Self::Rejected | Self::Held | Self::TakenDown)
    }
}

/// Why an upload is rejected or held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Reason {
    /// Stable, snake_case.
    pub code: String,
    /// What was found and what to do.
    pub detail: String,
}

/// An upload as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    /// Its id, which is also the raw object's name.
    pub id: UploadId,
    /// The track it is to become.
    pub track: TrackId,
    /// Who is paid for it unless a split says otherwise.
    pub owner: AccountId,
    /// The artist whose members have a say in it.
    pub acts_for: ArtistId,
    /// What was declared.
    pub declared: Declared,
    /// Where it stands.
    pub state: State,
    /// Why, when it is rejected or held.
    pub reason: Option<Reason>,
    /// The newest object event seen.
    pub sequencer: Option<String>,
    /// The media version, once it is known.
    pub version: Option<MediaVersion>,
    /// When it was declared.
    pub created_at: UnixMs,
    /// When it was published.
    pub published_at: Option<UnixMs>,
    /// How far each rung is, hundredths, in the ladder's order.
    pub percents: Vec<u8>,
}

impl Upload {
    /// The key of its raw object.
    #[must_use]
    pub(crate) fn raw_key(id: UploadId) -> String {
        format!("raw/{id}")
    }

    /// How far each rung is.
    #[must_use]
    pub(crate) fn progress(&self) -> Vec<(Rung, u8)> {
        let done = matches!(self.state, State::Published | State::TakenDown);
        let percents = self.percents.iter().copied().chain(std::iter::repeat(0));
        Rung::LOSSY.into_iter().zip(percents).map(|(rung, percent)| (rung, if done { 100 } else { percent })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut serde_json::Value)) -> Result<Declared, Vec<String>> {
        let mut body = serde_json::json!({
            "title": "  Nocturne\u{0} in  E ", "file_name": "n.flac", "content_type": "audio/flac", "size_bytes": 10, "sha256": "ab".repeat(32),
        });
        change(&mut body);
        let new: NewUpload = serde_json::from_value(body).map_err(|error| vec![error.to_string()])?;
        new.validate("Ada", 1000).map_err(|wrong| wrong.into_iter().map(|(pointer, _)| pointer).collect())
    }

    #[test]
    fn a_declaration_is_cleaned_and_who_is_acted_for_stands_for_the_artist() {
        let declared = request(|body| {
            body["isrc"] = "de-a71-26-00001".into();
            body["territories"] = serde_json::json!(["CH", "DE", "CH"]);
            body["release_at"] = "2026-11-27T01:00:00+01:00".into();
        })
        .unwrap();
        assert_eq!((declared.title.as_str(), declared.artist.as_str()), ("Nocturne in E", "Ada"));
        assert_eq!(declared.isrc.as_deref(), Some("DEA712600001"));
        assert_eq!(declared.territories.unwrap().len(), 2);
        assert_eq!(declared.release_at.unwrap().rfc3339(), "2026-11-27T00:00:00.000Z");
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Change = fn(&mut serde_json::Value);
        let table: [(Change, &str); 12] = [
            (|body| body["title"] = " ".into(), "/title"),
            (|body| body["title"] = "x".repeat(201).into(), "/title"),
            (|body| body["artist"] = "".into(), "/artist"),
            (|body| body["size_bytes"] = 0.into(), "/size_bytes"),
            (|body| body["size_bytes"] = 1001.into(), "/size_bytes"),
            (|body| body["sha256"] = "zz".repeat(32).into(), "/sha256"),
            (|body| body["content_type"] = "flac".into(), "/content_type"),
            (|body| body["isrc"] = "DEA71260000".into(), "/isrc"),
            (|body| body["release_at"] = "tomorrow".into(), "/release_at"),
            (|body| body["territories"] = serde_json::json!([]), "/territories"),
            (|body| body["territories"] = serde_json::json!(["DE", "UK"]), "/territories/1"),
            (|body| body["territories"] = serde_json::json!(["de"]), "/territories/0"),
        ];
        for (change, pointer) in table {
            assert_eq!(request(change).unwrap_err(), [pointer]);
        }
        assert!(request(|body| body["colour"] = "blue".into()).unwrap_err()[0].contains("unknown field `colour`"));
    }
}
