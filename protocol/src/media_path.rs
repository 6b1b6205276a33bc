//! Signed media paths: `/v1/media/{token}/...`, parsed once for edge and gateway.

use crate::Rung;

/// What a signed media path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaPath<'a> {
    /// The token, unverified.
    pub token: &'a str,
    /// The object below it.
    pub object: MediaObject,
}

/// One object below a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaObject {
    /// `index.m3u8`: the multivariant playlist.
    Index,
    /// `{rung}.m3u8`: a media playlist.
    Playlist(Rung),
    /// `steering.json`: the steering manifest of HLS content steering.
    Steering,
    /// `{rung}/init.mp4`: an init section.
    Init(Rung),
    /// `{rung}/first.mp4`: the init section and segment 0 in one, so that sound is one request away from a manifest.
    First(Rung),
    /// `{rung}/{n}.m4s`: segment `n`, from 0.
    Segment(Rung, usize),
}

impl MediaObject {
    /// The rung it belongs to; the multivariant playlist belongs to none.
    #[must_use]
    pub const fn rung(self) -> Option<Rung> {
        match self {
            Self::Index | Self::Steering => None,
            Self::Playlist(rung) | Self::Init(rung) | Self::First(rung) | Self::Segment(rung, _) => Some(rung),
        }
    }
}

/// The path below the token.
impl std::fmt::Display for MediaObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Index => f.write_str("index.m3u8"),
            Self::Playlist(rung) => write!(f, "{rung}.m3u8"),
            Self::Steering => f.write_str("steering.json"),
            Self::Init(rung) => write!(f, "{rung}/init.mp4"),
            Self::First(rung) => write!(f, "{rung}/first.mp4"),
            Self::Segment(rung, n) => write!(f, "{rung}/{n}.m4s"),
        }
    }
}

/// The prefix of every signed media path.
pub const PREFIX: &str = "/v1/media/";

/// Parses a path without its query. `None` when it names nothing: one object has exactly one path, so `00.m4s` and `%30.m4s` are refused.
#[must_use]
pub fn parse(path: &str) -> Option<MediaPath<'_>> {
    let (token, object) = path.strip_prefix(PREFIX)?.split_once('/')?;
    Some(MediaPath { token, object: parse_object(object)? })
}

fn parse_object(object: &str) -> Option<MediaObject> {
    Some(match object.split_once('/') {
        None if object == "index.m3u8" => MediaObject::Index,
        None if object == "steering.json" => MediaObject::Steering,
        None => MediaObject::Playlist(object.strip_suffix(".m3u8")?.parse().ok()?),
        Some((rung, "init.mp4")) => MediaObject::Init(rung.parse().ok()?),
        Some((rung, "first.mp4")) => MediaObject::First(rung.parse().ok()?),
        Some((rung, segment)) => MediaObject::Segment(rung.parse().ok()?, segment_number(segment)?),
    })
}

/// The object that a relative reference in a request for `from` names (RFC 3986 section 5), where it stays below the same token: what CMCD's
/// `nor` says comes next.
#[must_use]
pub fn resolve(from: MediaObject, reference: &str) -> Option<MediaObject> {
    let reference = reference.split(['?', '#']).next().unwrap_or_default();
    let mut segments: Vec<&str> = from.rung().filter(|_| !matches!(from, MediaObject::Playlist(_))).map(Rung::name).into_iter().collect();
    for part in reference.split('/') {
        match part {
            "." => {}
            ".." => drop(segments.pop()?),
            name => segments.push(name),
        }
    }
    parse_object(&segments.join("/"))
}

fn segment_number(segment: &str) -> Option<usize> {
    let digits = segment.strip_suffix(".m4s")?;
    let canonical = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if canonical { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_has_one_path() {
        let object = |rest: &str| parse(&format!("/v1/media/tok/{rest}")).map(|path| path.object);
        assert_eq!(object("index.m3u8"), Some(MediaObject::Index));
        assert_eq!(object("aac-64.m3u8"), Some(MediaObject::Playlist(Rung::Aac64)));
        assert_eq!(object("flac/init.mp4"), Some(MediaObject::Init(Rung::Flac)));
        assert_eq!(object("aac-256/12.m4s"), Some(MediaObject::Segment(Rung::Aac256, 12)));
        assert_eq!(object("aac-64/first.mp4"), Some(MediaObject::First(Rung::Aac64)));
        assert_eq!(object("steering.json"), Some(MediaObject::Steering));
        for wrong in [
            "",
            "aac-64",
            "aac-64/",
            "aac-64/00.m4s",
            "aac-64/-1.m4s",
            "aac-64/+1.m4s",
            "aac-64/1.m4s/",
            "mp3/0.m4s",
            "aac-64/%30.m4s",
            "aac-64/100000.m4s",
        ] {
            assert_eq!(object(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_object_is_written_as_it_is_read() {
        let rung = Rung::Aac128;
        let objects = [
            MediaObject::Index,
            MediaObject::Steering,
            MediaObject::Playlist(rung),
            MediaObject::Init(rung),
            MediaObject::First(rung),
            MediaObject::Segment(rung, 7),
        ];
        for object in objects {
            assert_eq!(parse(&format!("{PREFIX}tok/{object}")).map(|path| path.object), Some(object));
        }
    }

    #[test]
    fn a_reference_names_an_object_of_the_same_token_or_none() {
        let here = MediaObject::Segment(Rung::Aac128, 3);
        assert_eq!(resolve(here, "4.m4s"), Some(MediaObject::Segment(Rung::Aac128, 4)));
        assert_eq!(resolve(here, "../aac-64/4.m4s?x=1"), Some(MediaObject::Segment(Rung::Aac64, 4)));
        assert_eq!(resolve(MediaObject::Playlist(Rung::Aac64), "aac-64/0.m4s"), Some(MediaObject::Segment(Rung::Aac64, 0)));
        for outside in ["../../other/aac-64/4.m4s", "/v1/media/x/aac-64/4.m4s", "https://a.example/4.m4s", "", "../..", "4.m4s/.."] {
            assert_eq!(resolve(here, outside), None, "{outside}");
        }
    }
}
