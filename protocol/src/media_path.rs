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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaObject {
    /// `index.m3u8`: the multivariant playlist.
    Index,
    /// `{rung}.m3u8`: a media playlist.
    Playlist(Rung),
    /// `{rung}/init.mp4`: an init section.
    Init(Rung),
    /// `{rung}/{n}.m4s`: segment `n`, from 0.
    Segment(Rung, usize),
}

impl MediaObject {
    /// The rung it belongs to; the multivariant playlist belongs to none.
    #[must_use]
    pub const fn rung(self) -> Option<Rung> {
        match self {
            Self::Index => None,
            Self::Playlist(rung) | Self::Init(rung) | Self::Segment(rung, _) => Some(rung),
        }
    }
}

/// The prefix of every signed media path.
pub const PREFIX: &str = "/v1/media/";

/// Parses a path without its query. `None` when it names nothing: one object has exactly one path, so `00.m4s` and `%30.m4s` are refused.
#[must_use]
pub fn parse(path: &str) -> Option<MediaPath<'_>> {
    let (token, object) = path.strip_prefix(PREFIX)?.split_once('/')?;
    let object = match object.split_once('/') {
        None if object == "index.m3u8" => MediaObject::Index,
        None => MediaObject::Playlist(object.strip_suffix(".m3u8")?.parse().ok()?),
        Some((rung, "init.mp4")) => MediaObject::Init(rung.parse().ok()?),
        Some((rung, segment)) => MediaObject::Segment(rung.parse().ok()?, segment_number(segment)?),
    };
    Some(MediaPath { token, object })
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
}
