//! Common Media Client Data, version 1 (CTA-5004) and 2 (CTA-5004-A): what a player says of itself with each request, in four headers
//! or in the `CMCD` query argument. Goes to bitrate choice ([`Cmcd`]) and to prefetching ([`next_object`]).
//!
//! Every value is the player's word and is treated as such. Both forms are a dictionary of structured fields (RFC 8941, 3.2), which that
//! standard refuses whole when one member is malformed; CTA-5004 asks a server to pass over what it does not understand, so the members
//! are read one by one here and a bad one costs only itself (see `members`).
//!
//! Rounding (`bl` and `dl` to 100 ms, `mtp` and `rtp` to 100 kbit/s) is the player's duty. It is not repeated: an unrounded 140 kbit/s
//! tells more than 100, and nothing here depends on it.

use std::borrow::Cow;

mod members;
pub mod report;
mod strings;

#[cfg(test)]
mod tests;

use members::{Bare, Member, Members};
pub use strings::{NextObject, Strings};

/// The four request headers. A key belongs to one of them, but which one differs between the versions (`pr` went from
/// `CMCD-Session` to `CMCD-Status`), and keys do not repeat, so a key is taken from whichever header has it.
pub const HEADERS: [&str; 4] = ["cmcd-object", "cmcd-request", "cmcd-status", "cmcd-session"];

/// The newest version understood. A newer one may have given a key another meaning, so nothing of it is believed.
pub const VERSION_MAX: u8 = 2;

/// CMCD is a few hundred bytes; more is not read.
const TEXT_BYTES_MAX: usize = 4096;

/// What a player says about its connection and about the object it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cmcd {
    /// `mtp`: measured throughput, kbit/s.
    pub measured_kbps: Option<u32>,
    /// `bl`: buffer length, ms.
    pub buffer_ms: Option<u32>,
    /// `rtp`: requested maximum throughput, kbit/s.
    pub requested_max_kbps: Option<u32>,
    /// `br`: bitrate of the object asked for, kbit/s; its peak where the playlist tells peak and average.
    pub bitrate_kbps: Option<u32>,
    /// `tb`: the highest bitrate the player may play, kbit/s.
    pub top_kbps: Option<u32>,
    /// `d`: duration of the object, ms.
    pub duration_ms: Option<u32>,
    /// `dl`: the buffer runs dry in so many ms.
    pub deadline_ms: Option<u32>,
    /// `pr`: playback rate in thousandths; 1000 is real time, 0 is paused.
    pub rate_permille: Option<u32>,
    /// `ot`: what is asked for.
    pub object: Option<ObjectType>,
    /// `sf`: the streaming format.
    pub format: Option<StreamingFormat>,
    /// `st`: live or not.
    pub stream: Option<StreamType>,
    /// `su`: wanted at once: start-up, a seek, or a buffer that ran dry.
    pub startup: bool,
    /// `bs`: the buffer ran dry since the last request.
    pub starved: bool,
    /// `v`: the version; version 1 need not say it.
    pub version: Option<u8>,
}

/// `ot`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectType {
    /// `m`: a manifest or playlist.
    Manifest,
    /// `a`: audio alone.
    Audio,
    /// `v`: video alone.
    Video,
    /// `av`: audio and video in one.
    Muxed,
    /// `i`: an init section.
    Init,
    /// `c`: captions.
    Caption,
    /// `tt`: an ISOBMFF timed text track.
    TimedText,
    /// `k`: a key, licence or certificate.
    Key,
    /// `o`: something else.
    Other,
}

/// `sf`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamingFormat {
    /// `h`
    Hls,
    /// `d`
    Dash,
    /// `s`
    Smooth,
    /// `o`
    Other,
}

/// `st`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamType {
    /// `v`: all segments are there.
    Vod,
    /// `l`: segments appear over time.
    Live,
}

impl Cmcd {
    /// Reads one header's value or the decoded query argument and adds what it says. The order of the headers does not matter.
    #[must_use]
    pub fn with(mut self, text: &str) -> Self {
        if text.len() > TEXT_BYTES_MAX || self.is_too_new() {
            return self;
        }
        for member in Members::of(text) {
            self.take(&member);
        }
        if self.is_too_new() { Self { version: self.version, ..Self::default() } } else { self }
    }

    /// What a request says: its headers, and the query argument only where there is no header (CTA-5004: a server ignores the
    /// argument when a header is there).
    #[must_use]
    pub fn of_request<'a, Text: AsRef<str> + 'a>(header: impl Fn(&'static str) -> Option<Text>, query: Option<&str>) -> Self {
        let mut in_headers = HEADERS.into_iter().filter_map(header).peekable();
        if in_headers.peek().is_some() {
            in_headers.fold(Self::default(), |cmcd, text| cmcd.with(text.as_ref()))
        } else {
            query.map_or_else(Self::default, |text| Self::default().with(text))
        }
    }

    fn is_too_new(&self) -> bool {
        self.version.is_some_and(|version| version > VERSION_MAX)
    }

    /// A value that cannot be read leaves what an earlier member of the same key said.
    fn take(&mut self, member: &Member<'_>) {
        let number = |before: Option<u32>| member.for_audio().and_then(Bare::whole).or(before);
        let token = || member.one().and_then(Bare::token);
        match member.key {
            "mtp" => self.measured_kbps = number(self.measured_kbps),
            "bl" => self.buffer_ms = number(self.buffer_ms),
            "rtp" => self.requested_max_kbps = number(self.requested_max_kbps),
            "br" => self.bitrate_kbps = number(self.bitrate_kbps),
            "tb" => self.top_kbps = number(self.top_kbps),
            "d" => self.duration_ms = number(self.duration_ms),
            "dl" => self.deadline_ms = number(self.deadline_ms),
            "pr" => self.rate_permille = member.one().and_then(Bare::thousandths).or(self.rate_permille),
            "ot" => self.object = token().and_then(ObjectType::parse).or(self.object),
            "sf" => self.format = token().and_then(StreamingFormat::parse).or(self.format),
            "st" => self.stream = token().and_then(StreamType::parse).or(self.stream),
            "su" => self.startup = member.for_audio().and_then(Bare::boolean).unwrap_or(self.startup),
            "bs" => self.starved = member.for_audio().and_then(Bare::boolean).unwrap_or(self.starved),
            "v" => {
                let version = member.one().and_then(Bare::whole).map(|version| u8::try_from(version).unwrap_or(u8::MAX));
                self.version = version.or(self.version);
            }
            _ => {}
        }
    }
}

impl ObjectType {
    fn parse(token: &str) -> Option<Self> {
        Some(match token {
            "m" => Self::Manifest,
            "a" => Self::Audio,
            "v" => Self::Video,
            "av" => Self::Muxed,
            "i" => Self::Init,
            "c" => Self::Caption,
            "tt" => Self::TimedText,
            "k" => Self::Key,
            "o" => Self::Other,
            _ => return None,
        })
    }
}

impl StreamingFormat {
    fn parse(token: &str) -> Option<Self> {
        Some(match token {
            "h" => Self::Hls,
            "d" => Self::Dash,
            "s" => Self::Smooth,
            "o" => Self::Other,
            _ => return None,
        })
    }
}

impl StreamType {
    fn parse(token: &str) -> Option<Self> {
        match token {
            "v" => Some(Self::Vod),
            "l" => Some(Self::Live),
            _ => None,
        }
    }
}

/// The object the player will ask for next (`nor`), as a path relative to the one it asks for now. It is no more than a hint, and a
/// hint from outside: resolve it, and fetch it only if the same token allows it.
#[must_use]
pub fn next_object(text: &str) -> Option<Cow<'_, str>> {
    Strings::of(text).next_object.map(|next| next.path)
}
