//! The two documents a play is decided from.
//!
//! The **sheet** belongs to a media version: immutable, content-addressed, integers only, written once by ingest. The **card** belongs
//! to a track: small, mutable, served by the catalogue and cached for at most a minute. Rights are never in the sheet.

use serde::{Deserialize, Serialize};

use crate::{MediaVersion, Rung, RungSet, Territory, TrackId, UnixMs, media_path::MediaObject};

/// Where every byte and sample of a media version is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sheet {
    /// The media version.
    pub version: MediaVersion,
    /// SHA-256 of the uploaded source, hex.
    pub source_sha256: String,
    /// Which packager wrote the files.
    pub packager: String,
    /// Samples per second.
    pub timescale: u32,
    /// Segment boundaries in samples of the coded timeline (priming and padding included): one more than there are segments,
    /// the first is 0. The same for every rung.
    pub boundaries: Vec<u64>,
    /// Samples the decoder puts out before the first real one.
    pub priming: u32,
    /// Real samples: what a listener hears.
    pub samples: u64,
    /// Samples after the last real one, to fill the last frame.
    pub padding: u32,
    /// The renditions, smallest first.
    pub rungs: Vec<SheetRung>,
    /// Loudness of the recording.
    pub loudness: Loudness,
}

/// One rendition: one CMAF file, its init section first, its segments after it in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SheetRung {
    /// Which rung.
    pub rung: Rung,
    /// RFC 6381 codec string, such as `mp4a.40.2`.
    pub codec: String,
    /// Bytes of the init section.
    pub init_bytes: u32,
    /// Bytes of each segment.
    pub segment_bytes: Vec<u32>,
    /// Peak segment bit rate (RFC 8216 section 4.1), measured.
    pub peak_bps: u32,
    /// Average segment bit rate, measured.
    pub average_bps: u32,
    /// SHA-256 of the file, hex.
    pub sha256: String,
}

/// EBU R128 loudness in hundredths, so that the sheet holds integers only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loudness {
    /// Integrated loudness, 1/100 LUFS.
    pub integrated_clufs: i32,
    /// True peak, 1/100 dBTP.
    pub true_peak_cdbtp: i32,
}

/// Playback is normalised to this loudness, 1/100 LUFS.
const TARGET_CLUFS: i32 = -1400;
/// Positive gain never lifts the true peak above this, 1/100 dBTP.
const CEILING_CDBTP: i32 = -100;

impl Loudness {
    /// The gain a player applies, 1/100 dB.
    #[must_use]
    pub fn gain_cdb(self) -> i32 {
        let wanted = TARGET_CLUFS.saturating_sub(self.integrated_clufs);
        if wanted <= 0 { wanted } else { wanted.min(CEILING_CDBTP.saturating_sub(self.true_peak_cdbtp)).max(0) }
    }
}

impl Sheet {
    /// The length a listener hears.
    #[must_use]
    pub fn duration_ms(&self) -> u32 {
        let ms = self.samples.saturating_mul(1000) / u64::from(self.timescale.max(1));
        u32::try_from(ms).unwrap_or(u32::MAX)
    }

    /// How many segments each rendition has.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.boundaries.len().saturating_sub(1)
    }

    /// Samples heard from segment `n`: its coded length less priming and padding that fall into it.
    #[must_use]
    pub fn heard_samples(&self, n: usize) -> Option<u64> {
        let (start, end) = (self.boundaries.get(n)?, self.boundaries.get(n + 1)?);
        let first_real = u64::from(self.priming);
        let last_real = first_real.saturating_add(self.samples);
        Some((*end).min(last_real).saturating_sub((*start).max(first_real)))
    }

    /// The part of the track, `[start, end)` in ms, that is heard from segment `n`. The end of each is the start of the next, and the end of the
    /// last is the track's length.
    #[must_use]
    pub fn heard_ms(&self, n: usize) -> Option<(u32, u32)> {
        let ms = |boundary: u64| {
            let heard = boundary.saturating_sub(self.priming.into()).min(self.samples);
            u32::try_from(heard.saturating_mul(1000) / u64::from(self.timescale.max(1))).unwrap_or(u32::MAX)
        };
        Some((ms(*self.boundaries.get(n)?), ms(*self.boundaries.get(n + 1)?)))
    }

    /// The renditions in it.
    #[must_use]
    pub fn rung_set(&self) -> RungSet {
        self.rungs.iter().fold(RungSet::NONE, |set, rendition| set.with(rendition.rung))
    }

    /// The rendition of `rung`.
    #[must_use]
    pub fn rung(&self, rung: Rung) -> Option<&SheetRung> {
        self.rungs.iter().find(|rendition| rendition.rung == rung)
    }

    /// `(offset, length)` of the init section in the rendition's file.
    #[must_use]
    pub fn init_range(&self, rung: Rung) -> Option<(u64, u32)> {
        Some((0, self.rung(rung)?.init_bytes))
    }

    /// `(offset, length)` of segment `n` in the rendition's file.
    #[must_use]
    pub fn segment_range(&self, rung: Rung, n: usize) -> Option<(u64, u32)> {
        let rendition = self.rung(rung)?;
        let length = *rendition.segment_bytes.get(n)?;
        let before: u64 = rendition.segment_bytes.iter().take(n).map(|bytes| u64::from(*bytes)).sum();
        Some((u64::from(rendition.init_bytes) + before, length))
    }

    /// `(offset, length)` of `object` in its rendition's file; `None` for a playlist, and for what the sheet lacks.
    #[must_use]
    pub fn object_range(&self, object: MediaObject) -> Option<(u64, u32)> {
        match object {
            MediaObject::Index | MediaObject::Steering | MediaObject::Playlist(_) => None,
            MediaObject::Init(rung) => self.init_range(rung),
            MediaObject::Segment(rung, n) => self.segment_range(rung, n),
            MediaObject::First(rung) => {
                let (start, length) = self.segment_range(rung, 0)?;
                Some((0, u32::try_from(start).ok()?.checked_add(length)?))
            }
        }
    }
}

/// Whether a track may be heard at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CardState {
    /// It may, where and when the card says.
    Published,
    /// Not now.
    Held,
    /// Not any more.
    TakenDown,
}

/// What may change about a track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The track.
    pub track: TrackId,
    /// Whether it may be heard.
    pub state: CardState,
    /// The current media version.
    pub version: MediaVersion,
    /// Its title.
    pub title: String,
    /// Where it may be heard; everywhere when absent.
    pub territories: Option<Vec<Territory>>,
    /// From when it may be heard; always when absent.
    pub release_at_ms: Option<UnixMs>,
    /// Gain of the album, 1/100 dB, when it is played as one.
    pub album_gain_cdb: Option<i32>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sheet() -> Sheet {
        let rung = |rung: Rung, codec: &str| SheetRung {
            rung,
            codec: codec.to_owned(),
            init_bytes: 700,
            segment_bytes: vec![rung.nominal_bps() / 4, rung.nominal_bps() * 6 / 8, rung.nominal_bps() / 8],
            peak_bps: rung.nominal_bps() * 11 / 10,
            average_bps: rung.nominal_bps(),
            sha256: String::new(),
        };
        Sheet {
            version: MediaVersion([3; 16]),
            source_sha256: String::new(),
            packager: "test".to_owned(),
            timescale: 44_100,
            boundaries: vec![0, 87 * 1024, 345 * 1024, 388 * 1024],
            priming: 1024,
            samples: 387 * 1024 - 100,
            padding: 100,
            rungs: Rung::LOSSY.into_iter().map(|name| rung(name, "mp4a.40.2")).collect(),
            loudness: Loudness { integrated_clufs: -980, true_peak_cdbtp: -30 },
        }
    }

    #[test]
    fn segments_follow_each_other_without_a_gap() {
        let sheet = sheet();
        let mut expected = u64::from(sheet.rung(Rung::Aac128).unwrap().init_bytes);
        for n in 0..sheet.segments() {
            let (offset, length) = sheet.segment_range(Rung::Aac128, n).unwrap();
            assert_eq!(offset, expected);
            expected += u64::from(length);
        }
        assert_eq!(sheet.segment_range(Rung::Aac128, 3), None);
        assert_eq!(sheet.segment_range(Rung::Flac, 0), None);
    }

    #[test]
    fn the_first_object_is_the_init_section_and_the_first_segment() {
        let sheet = sheet();
        let (_, init) = sheet.object_range(MediaObject::Init(Rung::Aac64)).unwrap();
        let (offset, segment) = sheet.object_range(MediaObject::Segment(Rung::Aac64, 0)).unwrap();
        assert_eq!(offset, u64::from(init));
        assert_eq!(sheet.object_range(MediaObject::First(Rung::Aac64)), Some((0, init + segment)));
        assert_eq!(sheet.object_range(MediaObject::First(Rung::Flac)), None);
        assert_eq!(sheet.object_range(MediaObject::Index), None);
    }

    #[test]
    fn what_is_heard_adds_up_to_the_source() {
        let sheet = sheet();
        let heard: u64 = (0..sheet.segments()).filter_map(|n| sheet.heard_samples(n)).sum();
        assert_eq!(heard, sheet.samples);
    }

    #[test]
    fn in_milliseconds_segments_follow_each_other_from_nothing_to_the_length() {
        let sheet = sheet();
        assert_eq!(sheet.heard_ms(0), Some((0, 1996)));
        let mut expected = 0;
        for n in 0..sheet.segments() {
            let (start, end) = sheet.heard_ms(n).unwrap();
            assert_eq!(start, expected);
            expected = end;
        }
        assert_eq!(expected, sheet.duration_ms());
        assert_eq!(sheet.heard_ms(3), None);
    }

    #[test]
    fn gain_reaches_the_target_but_never_clips() {
        let gain = |integrated_clufs, true_peak_cdbtp| Loudness { integrated_clufs, true_peak_cdbtp }.gain_cdb();
        assert_eq!(gain(-980, -30), -420);
        assert_eq!(gain(-2000, -900), 600);
        assert_eq!(gain(-2000, -300), 200);
        assert_eq!(gain(-2000, 0), 0);
    }
}
