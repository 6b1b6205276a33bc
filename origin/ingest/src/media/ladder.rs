//! The ladder's arithmetic: where segments begin, how fast each one runs, and what a media version is called.
//!
//! Everything here is integers in and integers out. Lengths come from `decode` (samples) and `adts` (frame sizes), and go into
//! the packager and the sheet.

use protocol::{MediaVersion, Rung};
use sha2::{Digest, Sha256};

/// Samples in one AAC-LC frame (ISO/IEC 14496-3 4.5.2.1.1), the grain of every boundary.
pub const FRAME: u64 = 1024;
/// Samples the encoder puts before the first real one (ffmpeg's native AAC: one frame of MDCT overlap).
pub const PRIMING: u32 = 1024;
/// RFC 8216 target duration of every rendition, ms.
pub const TARGET_MS: u64 = 6_000;
/// Bumped whenever the bytes we would write for the same frames change, those of the sheet included.
pub const PACKAGER: &str = "antiphon-cmaf/2";

/// The first segment is short, so that music starts early on a slow line.
const FIRST_MS: u64 = 2_000;
/// A tail shorter than this joins the segment before it: Apple's authoring rule 7.7 allows target + 0.5 s, and a segment of a few frames would
/// cost a request for nothing.
const TAIL_MS: u64 = 450;

/// Sampling rates the ladder is encoded at; anything else is resampled to 48 kHz.
#[must_use]
pub const fn output_rate(source_rate: u32) -> u32 {
    if source_rate == 44_100 { 44_100 } else { 48_000 }
}

/// Samples a source of `samples` at `source_rate` becomes at [`output_rate`], to the nearest.
#[must_use]
pub fn output_samples(samples: u64, source_rate: u32) -> u64 {
    let rate = u128::from(source_rate.max(1));
    let scaled = u128::from(samples) * u128::from(output_rate(source_rate));
    u64::try_from((scaled + rate / 2) / rate).unwrap_or(u64::MAX)
}

/// The one timeline of all rungs, in samples at the output rate: priming first, then the music, then padding to a whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// Samples a second.
    pub rate: u32,
    /// Real samples, without priming and padding.
    pub samples: u64,
    /// Samples after the last real one.
    pub padding: u32,
    /// Segment boundaries, from 0 to the end, each a multiple of [`FRAME`].
    pub boundaries: Vec<u64>,
}

impl Timeline {
    /// The timeline of `samples` real samples at `rate`.
    #[must_use]
    pub fn new(rate: u32, samples: u64) -> Self {
        let frames = (samples + u64::from(PRIMING)).div_ceil(FRAME);
        let end = frames * FRAME;
        let whole_frames = |ms: u64| (ms * u64::from(rate) / 1000 / FRAME).max(1) * FRAME;
        let (first, then, tail) = (whole_frames(FIRST_MS), whole_frames(TARGET_MS), whole_frames(TAIL_MS));

        let mut boundaries = vec![0];
        let mut next = first;
        while next + tail < end {
            boundaries.push(next);
            next += then;
        }
        boundaries.push(end);
        let padding = u32::try_from(end - samples - u64::from(PRIMING)).unwrap_or(u32::MAX);
        Self { rate, samples, padding, boundaries }
    }

    /// Frames in the whole timeline.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.boundaries.last().copied().unwrap_or(0) / FRAME
    }

    /// `(first sample, frames)` of each segment.
    pub fn segments(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.boundaries.iter().zip(self.boundaries.iter().skip(1)).map(|(from, to)| (*from, (to - from) / FRAME))
    }

    /// Samples heard from each segment, which is what its EXTINF says: its coded length without priming and padding.
    fn heard(&self) -> impl Iterator<Item = u64> + '_ {
        let heard_until = |boundary: &u64| boundary.saturating_sub(PRIMING.into()).min(self.samples);
        self.boundaries.iter().zip(self.boundaries.iter().skip(1)).map(move |(from, to)| heard_until(to) - heard_until(from))
    }

    /// Measured `(average, peak)` bit rate of segments of these sizes, bit/s, rounded up.
    ///
    /// RFC 8216 section 4.1: a segment's rate is its size divided by its EXTINF duration, and the peak is the largest rate of any contiguous run
    /// of segments that lasts 0.5 to 1.5 target durations. A track too short to hold such a run peaks at its average.
    #[must_use]
    pub fn rates(&self, segment_bytes: &[u32]) -> (u32, u32) {
        let bps = |bytes: u64, samples: u64| {
            let bits = u128::from(bytes) * 8 * u128::from(self.rate);
            u32::try_from(bits.div_ceil(u128::from(samples.max(1)))).unwrap_or(u32::MAX)
        };
        let lengths: Vec<u64> = self.heard().collect();
        let average = bps(segment_bytes.iter().copied().map(u64::from).sum(), lengths.iter().sum());

        let target = u64::from(self.rate) * TARGET_MS / 1000;
        let mut peak = 0;
        for start in 0..lengths.len() {
            let (mut bytes, mut samples) = (0, 0);
            for (size, length) in segment_bytes.iter().zip(&lengths).skip(start) {
                bytes += u64::from(*size);
                samples += length;
                if samples * 2 > target * 3 {
                    break;
                }
                if samples * 2 >= target {
                    peak = peak.max(bps(bytes, samples));
                }
            }
        }
        (average, if peak == 0 { average } else { peak })
    }
}

/// The content address of what `encoder` makes of a source: known before anything is made, and the same for whoever makes it.
///
/// `encoder` is the encoder's own version line: another ffmpeg may write other bytes, and then it must write another name.
#[must_use]
pub fn media_version(source_sha256: &[u8; 32], encoder: &str) -> MediaVersion {
    let mut hash = Sha256::new();
    hash.update(b"antiphon media version\0");
    hash.update(source_sha256);
    for rung in Rung::LOSSY {
        hash.update(rung.name().as_bytes());
        hash.update(rung.nominal_bps().to_be_bytes());
    }
    for grain in [FRAME, FIRST_MS, TARGET_MS, TAIL_MS] {
        hash.update(grain.to_be_bytes());
    }
    for text in [PACKAGER, encoder] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut name = [0; 16];
    name.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    MediaVersion(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_whole_frames_and_no_segment_outlasts_the_target_by_half_a_second() {
        for rate in [44_100, 48_000] {
            for samples in (1..40).map(|n| n * 97_777).chain([1, 44_100, 1_905_120_000]) {
                let timeline = Timeline::new(rate, samples);
                let end = timeline.boundaries.last().copied().unwrap();
                assert_eq!(end, u64::from(PRIMING) + samples + u64::from(timeline.padding));
                assert!(u64::from(timeline.padding) < FRAME);
                for (from, frames) in timeline.segments() {
                    assert_eq!(from % FRAME, 0);
                    assert!(frames > 0);
                    assert!(frames * FRAME * 1000 <= 6_500 * u64::from(rate), "{rate} {samples} {from} {frames}");
                }
            }
        }
    }

    #[test]
    fn the_first_segment_is_two_seconds_and_the_others_six() {
        let timeline = Timeline::new(44_100, 44_100 * 60);
        assert_eq!(timeline.boundaries.get(..3), Some(&[0, 86 * FRAME, (86 + 258) * FRAME][..]));
    }

    #[test]
    fn the_peak_is_the_fastest_run_of_three_to_nine_seconds() {
        // 2 s, 6 s, 6 s and a tail of 1.1 s: alone neither the first nor the last lasts half a target duration.
        let timeline = Timeline::new(48_000, 93 * 1024 + 281 * 1024 * 2 + 50 * 1024 - 1024);
        assert_eq!(timeline.segments().map(|(_, frames)| frames).collect::<Vec<_>>(), [93, 281, 281, 50]);
        let (average, peak) = timeline.rates(&[1_000_000, 300_000, 600_000, 10_000]);
        let bps = |bytes: u64, frames: u64| u32::try_from((bytes * 8 * 48_000).div_ceil(frames * FRAME)).unwrap();
        // The first frame is priming: nobody hears it, and EXTINF leaves it out.
        assert_eq!(average, bps(1_910_000, 704));
        assert_eq!(peak, bps(1_300_000, 373));
        // One second in one segment of 48 frames: padding is not heard either.
        let short = Timeline::new(48_000, 48_000);
        assert_eq!(short.rates(&[8_000]), (64_000, 64_000));
    }

    #[test]
    fn another_encoder_or_source_is_another_version() {
        let version = media_version(&[1; 32], "ffmpeg 5");
        assert_eq!(version, media_version(&[1; 32], "ffmpeg 5"));
        assert_ne!(version, media_version(&[2; 32], "ffmpeg 5"));
        assert_ne!(version, media_version(&[1; 32], "ffmpeg 6"));
    }
}
