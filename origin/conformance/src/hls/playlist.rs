//! Playlists, line by line: `quick_m3u8` reads the tags, and what it lets pass is noted here with its line.
//!
//! It is a lenient reader: a tag whose value is bad becomes an unknown tag, and nothing is said about order, repetition or missing URIs. Text
//! comes from `fetch`; what is made of it goes to `presentation` (what to fetch next) and to the rules.

use std::collections::HashSet;

use quick_m3u8::{
    HlsLine,
    config::ParsingOptions,
    custom_parsing::line,
    tag::{HlsPlaylistType, KnownTag, hls},
};

use super::fetch::ByteRange;

/// The most lines a playlist may have: ten hours of 6 s segments have 12,000.
const LINES_MAX: usize = 200_000;

/// Something in a playlist that should not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remark {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// Either kind of playlist.
#[derive(Debug)]
pub(crate) enum Playlist {
    Multivariant(Multivariant),
    Media(Media),
}

/// What both kinds have.
#[derive(Debug, Default)]
pub(crate) struct Common {
    /// `EXT-X-VERSION`; 1 when absent (RFC 8216 4.3.1.2).
    pub(crate) version: Option<u64>,
    pub(crate) independent_segments: bool,
    /// `(version, what needs it)`, the highest that any line needs.
    pub(crate) needs: Option<(u64, &'static str)>,
    pub(crate) remarks: Vec<Remark>,
    /// Tags of no known name, which players skip.
    pub(crate) strange: Vec<Remark>,
}

/// A multivariant playlist.
#[derive(Debug, Default)]
pub(crate) struct Multivariant {
    pub(crate) common: Common,
    pub(crate) variants: Vec<Variant>,
    pub(crate) renditions: Vec<MediaTag>,
    pub(crate) steering: Option<SteeringTag>,
}

/// `EXT-X-STREAM-INF` and its URI.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) line: usize,
    pub(crate) uri: String,
    pub(crate) bandwidth: u64,
    pub(crate) average_bandwidth: Option<u64>,
    pub(crate) codecs: Option<String>,
    pub(crate) has_video: bool,
    pub(crate) audio_group: Option<String>,
    /// `PATHWAY-ID`; `.` when absent, as content steering has it.
    pub(crate) pathway: String,
}

/// `EXT-X-MEDIA`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaTag {
    pub(crate) line: usize,
    pub(crate) is_audio: bool,
    pub(crate) is_video: bool,
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) uri: Option<String>,
    pub(crate) language: Option<String>,
}

/// `EXT-X-CONTENT-STEERING`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SteeringTag {
    pub(crate) line: usize,
    pub(crate) server_uri: String,
    pub(crate) pathway: Option<String>,
}

/// A media playlist.
#[derive(Debug, Default)]
pub(crate) struct Media {
    pub(crate) common: Common,
    pub(crate) target_s: Option<u64>,
    pub(crate) is_vod: bool,
    pub(crate) ended: bool,
    pub(crate) map: Option<Map>,
    pub(crate) segments: Vec<Entry>,
}

/// `EXT-X-MAP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) uri: String,
    pub(crate) range: Option<ByteRange>,
}

/// `EXTINF` and its URI.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Entry {
    pub(crate) line: usize,
    pub(crate) uri: String,
    pub(crate) duration_s: f64,
    pub(crate) range: Option<ByteRange>,
    pub(crate) discontinuity: bool,
}

/// Reads a playlist of either kind; what it is shows in its tags.
///
/// # Errors
/// When the text is no playlist at all.
pub(crate) fn parse(text: &[u8]) -> Result<Playlist, String> {
    let text = std::str::from_utf8(text).map_err(|error| format!("not UTF-8: {error}"))?;
    // RFC 8216 4.1: no byte order mark, and the first line says what this is.
    if text.lines().next().map(str::trim_end) != Some("#EXTM3U") {
        return Err("its first line is not #EXTM3U".to_owned());
    }
    if text.lines().count() > LINES_MAX {
        return Err(format!("it has more than {LINES_MAX} lines"));
    }
    let mut reading = Reading::default();
    let options = ParsingOptions::default();
    for (number, text) in (1..).zip(text.lines()) {
        match line::parse(text, &options) {
            Ok(line) => reading.line(number, text, line.parsed),
            Err(error) => reading.remark(number, format!("cannot be read: {error}")),
        }
    }
    reading.finish()
}

/// A playlist that is being read.
#[derive(Default)]
struct Reading {
    multivariant: Multivariant,
    media: Media,
    common: Common,
    /// Tags that may stand once and did.
    seen: HashSet<&'static str>,
    is_multivariant: bool,
    is_media: bool,
    /// `EXT-X-STREAM-INF` waiting for its URI.
    variant: Option<Variant>,
    /// The segment that is being described.
    entry: Entry,
    has_duration: bool,
    /// Where an `EXT-X-BYTERANGE` without an offset goes on.
    range_end: u64,
    end_line: usize,
}

impl Reading {
    fn remark(&mut self, line: usize, what: impl Into<String>) {
        self.common.remarks.push(Remark { line, what: what.into() });
    }

    fn need(&mut self, version: u64, why: &'static str) {
        if self.common.needs.is_none_or(|(needed, _)| needed < version) {
            self.common.needs = Some((version, why));
        }
    }

    fn once(&mut self, line: usize, tag: &'static str) {
        if !self.seen.insert(tag) {
            self.remark(line, format!("{tag} stands twice"));
        }
    }

    fn line(&mut self, number: usize, text: &str, line: HlsLine<'_>) {
        self.end_line = number;
        if self.variant.is_some() && matches!(line, HlsLine::KnownTag(_) | HlsLine::UnknownTag(_)) {
            self.remark(number, "EXT-X-STREAM-INF is not followed by its URI");
            self.variant = None;
        }
        match line {
            HlsLine::KnownTag(KnownTag::Hls(tag)) => {
                self.repeated_attribute(number, text);
                self.tag(number, tag);
            }
            HlsLine::KnownTag(_) => {}
            HlsLine::UnknownTag(tag) => match tag.validation_error() {
                Some(error) => self.remark(number, format!("#EXT{} is not valid: {error}", tag.name())),
                None => self.common.strange.push(Remark { line: number, what: format!("#EXT{}", tag.name()) }),
            },
            HlsLine::Uri(uri) => self.uri(number, uri.trim()),
            HlsLine::Comment(_) | HlsLine::Blank => {}
        }
    }

    /// RFC 8216 4.2: an attribute's name stands once in a list. The reader keeps the last.
    fn repeated_attribute(&mut self, number: usize, text: &str) {
        let Some((tag, list)) = text.split_once(':') else { return };
        if !matches!(tag, "#EXT-X-STREAM-INF" | "#EXT-X-MEDIA" | "#EXT-X-MAP" | "#EXT-X-CONTENT-STEERING") {
            return;
        }
        let mut names = HashSet::new();
        // Outside of quotes, a comma ends an attribute.
        let mut quoted = false;
        for attribute in list.split(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        }) {
            let name = attribute.split_once('=').map_or(attribute, |(name, _)| name);
            if !names.insert(name) {
                self.remark(number, format!("{name} stands twice"));
            }
        }
    }

    fn tag(&mut self, number: usize, tag: hls::Tag<'_>) {
        use hls::Tag;
        use quick_m3u8::tag::hls::TagType;
        match tag.name().tag_type() {
            TagType::MultivariantPlaylist => self.is_multivariant = true,
            TagType::MediaPlaylist | TagType::MediaSegment | TagType::MediaMetadata => self.is_media = true,
            TagType::Basic | TagType::MediaOrMultivariantPlaylist => {}
        }
        match tag {
            Tag::M3u(_) => self.once(number, "EXTM3U"),
            Tag::Version(version) => {
                self.once(number, "EXT-X-VERSION");
                self.common.version = Some(version.version());
            }
            Tag::IndependentSegments(_) => {
                self.once(number, "EXT-X-INDEPENDENT-SEGMENTS");
                self.common.independent_segments = true;
            }
            Tag::Define(_) => self.need(8, "EXT-X-DEFINE"),
            Tag::StreamInf(inf) => self.variant = Some(variant(number, &inf)),
            Tag::Media(media) => self.multivariant.renditions.push(rendition(number, &media)),
            Tag::ContentSteering(steering) => {
                self.once(number, "EXT-X-CONTENT-STEERING");
                let pathway = steering.pathway_id().map(str::to_owned);
                self.multivariant.steering = Some(SteeringTag { line: number, server_uri: steering.server_uri().to_owned(), pathway });
            }
            Tag::Targetduration(target) => {
                self.once(number, "EXT-X-TARGETDURATION");
                self.media.target_s = Some(target.target_duration());
            }
            Tag::MediaSequence(_) => self.once(number, "EXT-X-MEDIA-SEQUENCE"),
            Tag::PlaylistType(kind) => {
                self.once(number, "EXT-X-PLAYLIST-TYPE");
                self.media.is_vod = kind.playlist_type() == HlsPlaylistType::Vod;
            }
            Tag::Endlist(_) => {
                self.once(number, "EXT-X-ENDLIST");
                self.media.ended = true;
            }
            Tag::Inf(inf) => self.inf(number, inf.duration()),
            Tag::Byterange(range) => self.range(range.length(), range.offset()),
            Tag::Discontinuity(_) => self.entry.discontinuity = true,
            Tag::Map(map) => self.map(number, &map),
            Tag::Key(_) => self.remark(number, "EXT-X-KEY: encrypted segments are beyond this check"),
            _ => {}
        }
    }

    fn inf(&mut self, number: usize, duration_s: f64) {
        if self.has_duration {
            self.remark(number, "EXTINF follows EXTINF without a URI");
        }
        if duration_s.fract() != 0.0 {
            self.need(3, "EXTINF with a fraction");
        }
        if !duration_s.is_finite() || duration_s < 0.0 {
            self.remark(number, "EXTINF is no duration");
        }
        self.entry.duration_s = if duration_s.is_finite() { duration_s.max(0.0) } else { 0.0 };
        self.has_duration = true;
    }

    fn range(&mut self, length: u64, offset: Option<u64>) {
        self.need(4, "EXT-X-BYTERANGE");
        let offset = offset.unwrap_or(self.range_end);
        self.range_end = offset.saturating_add(length);
        self.entry.range = Some(ByteRange { offset, length });
    }

    fn map(&mut self, number: usize, map: &hls::Map<'_>) {
        // Version 5 would do in a playlist of I-frames only (RFC 8216 7).
        self.need(6, "EXT-X-MAP");
        if !self.media.segments.is_empty() || self.media.map.is_some() {
            self.remark(number, "a second EXT-X-MAP is beyond this check");
            return;
        }
        let range = map.byterange().map(|range| ByteRange { offset: range.offset, length: range.length });
        self.media.map = Some(Map { uri: map.uri().to_owned(), range });
    }

    fn uri(&mut self, number: usize, uri: &str) {
        if let Some(mut variant) = self.variant.take() {
            uri.clone_into(&mut variant.uri);
            self.multivariant.variants.push(variant);
        } else if self.has_duration {
            let mut entry = std::mem::take(&mut self.entry);
            self.has_duration = false;
            (entry.line, entry.uri) = (number, uri.to_owned());
            self.media.segments.push(entry);
        } else {
            self.remark(number, "a URI that no tag announces");
        }
    }

    fn finish(mut self) -> Result<Playlist, String> {
        if self.has_duration || self.variant.is_some() {
            self.remark(self.end_line, "the playlist ends before the URI");
        }
        if self.is_multivariant && self.is_media {
            self.remark(1, "tags of both kinds of playlist");
        }
        match (self.is_multivariant, self.is_media) {
            (true, _) => {
                self.multivariant.common = self.common;
                Ok(Playlist::Multivariant(self.multivariant))
            }
            (false, true) => {
                self.media.common = self.common;
                Ok(Playlist::Media(self.media))
            }
            (false, false) => Err("it has neither variants nor segments".to_owned()),
        }
    }
}

fn variant(line: usize, inf: &hls::StreamInf<'_>) -> Variant {
    Variant {
        line,
        uri: String::new(),
        bandwidth: inf.bandwidth(),
        average_bandwidth: inf.average_bandwidth(),
        codecs: inf.codecs().map(str::to_owned),
        has_video: inf.resolution().is_some() || inf.video().is_some(),
        audio_group: inf.audio().map(str::to_owned),
        pathway: inf.pathway_id().unwrap_or(".").to_owned(),
    }
}

fn rendition(line: usize, media: &hls::Media<'_>) -> MediaTag {
    let kind = media.media_type().known().copied();
    MediaTag {
        line,
        is_audio: kind == Some(hls::MediaType::Audio),
        is_video: kind == Some(hls::MediaType::Video),
        group: media.group_id().to_owned(),
        name: media.name().to_owned(),
        uri: media.uri().map(str::to_owned),
        language: media.language().map(str::to_owned),
    }
}
