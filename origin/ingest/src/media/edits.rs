//! The presented part of an MP4's audio: its edit list, or what iTunes writes in its stead. The demuxer ignores both, and a track that kept its
//! encoder's priming would start late and never be gapless.
//!
//! Reads the `moov` box of the raw object; the answer trims what `decode` yields.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

/// A `moov` larger than this is not read: the track is then presented untrimmed.
const MOOV_MAX: u64 = 64 << 20;
/// Top-level boxes walked.
const BOXES_MAX: usize = 20_000;

/// The samples to keep of a decoded stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Edit {
    /// Samples to drop at the start, in units of `scale`.
    skip: u64,
    /// Samples to keep after that; all when absent.
    keep: Option<u64>,
    /// Units a second of both; 0 when they are samples.
    scale: u32,
}

impl Edit {
    /// The edit of the first audio track of `file`, none when there is none or it cannot be read; and whether the file is whole.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub(crate) fn read(file: &mut File) -> std::io::Result<(Self, bool)> {
        let (moov, whole) = walk(file)?;
        let edit = moov.and_then(|moov| Self::of_itunes(&moov).or_else(|| Self::of_list(&moov)));
        Ok((edit.unwrap_or_default(), whole))
    }

    /// ISO/IEC 14496-12 8.6.6: the one real edit of the first sound track.
    fn of_list(moov: &[u8]) -> Option<Self> {
        let movie_scale = time_scale(child(moov, b"mvhd")?)?;
        let track = children(moov)
            .filter(|(kind, _)| *kind == b"trak")
            .map(|(_, track)| track)
            .find(|track| child(track, b"mdia").and_then(|mdia| child(mdia, b"hdlr")).and_then(|hdlr| hdlr.get(8..12)) == Some(b"soun"))?;
        let media_header = child(child(track, b"mdia")?, b"mdhd")?;
        let media_scale = time_scale(media_header)?;
        let list = child(child(track, b"edts")?, b"elst")?;
        let wide = *list.first()? == 1;
        let entries = list.get(8..)?.chunks_exact(if wide { 20 } else { 12 });
        let mut real = entries.filter_map(|entry| {
            let (length, start) = entry.split_at_checked(if wide { 8 } else { 4 })?;
            let start = start.get(..if wide { 8 } else { 4 })?;
            let start = if wide {
                i64::try_from(number(start)).ok()
            } else {
                u32::try_from(number(start)).ok().map(|s| i64::from(s.cast_signed()))
            };
            Some((number(length), u64::try_from(start?).ok()?))
        });
        let (length, skip) = real.next()?;
        if real.next().is_some() {
            // Several edits rearrange the media; nobody exports a song so, and guessing would cut it.
            return None;
        }
        let in_media = |movie: u64| u64::try_from(u128::from(movie) * u128::from(media_scale) / u128::from(movie_scale.max(1))).ok();
        let keep = in_media(length).filter(|length| *length > 0);
        // The movie's scale is often milliseconds. Where the media itself ends within that rounding, it says where to the sample.
        let to_the_end = duration(media_header).and_then(|duration| duration.checked_sub(skip));
        let tick = in_media(1).unwrap_or(0) + 1;
        let keep = keep.zip(to_the_end).filter(|(keep, end)| keep.abs_diff(*end) <= tick).map(|(_, end)| end).or(keep);
        Some(Self { skip, keep, scale: media_scale })
    }

    /// The `iTunSMPB` comment: hexadecimal words, of which the second is the priming, the third the padding and the fourth the real length.
    fn of_itunes(moov: &[u8]) -> Option<Self> {
        let at = moov.windows(8).position(|window| window == b"iTunSMPB")?;
        let after = moov.get(at + 8..moov.len().min(at + 256))?;
        let text_at = after.windows(4).position(|window| window == b"data")? + 12;
        let text = String::from_utf8_lossy(after.get(text_at..)?);
        let mut words = text.split_ascii_whitespace().skip(1).map(|word| u64::from_str_radix(word, 16).ok());
        let (skip, _padding, keep) = (words.next()??, words.next()??, words.next()??);
        Some(Self { skip, keep: Some(keep).filter(|keep| *keep > 0), scale: 0 })
    }

    /// The same edit in samples at `rate`.
    #[must_use]
    pub(crate) fn at_rate(self, rate: u32) -> Self {
        if self.scale == 0 || self.scale == rate {
            return Self { scale: 0, ..self };
        }
        let to_rate = |units: u64| u64::try_from(u128::from(units) * u128::from(rate) / u128::from(self.scale)).unwrap_or(u64::MAX);
        Self { skip: to_rate(self.skip), keep: self.keep.map(to_rate), scale: 0 }
    }

    /// Drops from `out[from..]`, stereo frames of which the first is number `position` of the stream, those not presented.
    pub(crate) fn keep(&self, position: u64, out: &mut Vec<f32>, from: usize) {
        let frames = ((out.len() - from) / 2) as u64;
        let end = self.keep.map_or(u64::MAX, |keep| self.skip.saturating_add(keep));
        let last = end.saturating_sub(position).min(frames);
        let first = self.skip.saturating_sub(position).min(last);
        out.truncate(from + usize::try_from(last).unwrap_or(0) * 2);
        out.drain(from..from + usize::try_from(first).unwrap_or(0) * 2);
    }

    /// How many of `decoded` samples are presented.
    #[must_use]
    pub(crate) fn presented(&self, decoded: u64) -> u64 {
        let after = decoded.saturating_sub(self.skip);
        self.keep.map_or(after, |keep| keep.min(after))
    }
}

/// Walks the top-level boxes: the body of `moov`, and whether the last box ends where the file does.
fn walk(file: &mut File) -> std::io::Result<(Option<Vec<u8>>, bool)> {
    let size = file.seek(SeekFrom::End(0))?;
    let (mut at, mut moov) = (0, None);
    // A file of nothing but box headers must not keep us walking.
    for _ in 0..BOXES_MAX {
        if at == size {
            return Ok((moov, true));
        }
        let mut header = [0; 16];
        file.seek(SeekFrom::Start(at))?;
        let got = file.by_ref().take(16).read(&mut header)?;
        let (length, kind) = (header.get(..4).map_or(0, number), header.get(4..8));
        let (length, body) = match length {
            0 => (size.saturating_sub(at), 8),
            1 if got == 16 => (number(header.get(8..).unwrap_or_default()), 16),
            length => (length, 8),
        };
        if got < 8 || length < body || length > size - at {
            return Ok((moov, false));
        }
        if kind == Some(b"moov") && length - body <= MOOV_MAX {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(at + body))?;
            file.by_ref().take(length - body).read_to_end(&mut bytes)?;
            moov = Some(bytes);
        }
        at += length;
    }
    Ok((moov, true))
}

/// Big-endian.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn children(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_at_checked(4)?;
        let kind = rest.first_chunk::<4>()?;
        let length = usize::try_from(number(length)).ok().filter(|length| *length >= 8)?;
        let body = bytes.get(8..length)?;
        bytes = bytes.get(length..)?;
        Some((kind, body))
    })
}

fn child<'b>(bytes: &'b [u8], wanted: &[u8; 4]) -> Option<&'b [u8]> {
    children(bytes).find(|(kind, _)| *kind == wanted).map(|(_, body)| body)
}

/// The timescale of an `mvhd` or `mdhd` body, which begin alike.
fn time_scale(header: &[u8]) -> Option<u32> {
    let at = if *header.first()? == 1 { 20 } else { 12 };
    header.get(at..at + 4).and_then(|scale| u32::try_from(number(scale)).ok())
}

/// The duration in them, in that scale; all ones stands for unknown.
fn duration(header: &[u8]) -> Option<u64> {
    let range = if *header.first()? == 1 { 24..32 } else { 16..20 };
    let bytes = header.get(range)?;
    (!bytes.iter().all(|byte| *byte == 0xff)).then(|| number(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_cuts_both_ends_wherever_packets_begin() {
        let edit = Edit { skip: 3, keep: Some(4), scale: 0 };
        let mut heard = Vec::new();
        for packet in [0..2u8, 2..5, 5..9, 9..12] {
            let mut out = vec![-1.0, -1.0];
            out.extend(packet.clone().flat_map(|n| [f32::from(n); 2]));
            edit.keep(u64::from(packet.start), &mut out, 2);
            heard.extend(out.iter().skip(2).step_by(2).copied());
        }
        assert_eq!(heard, [3.0, 4.0, 5.0, 6.0]);
        assert_eq!(edit.presented(12), 4);
        assert_eq!(edit.presented(5), 2);
    }
}
