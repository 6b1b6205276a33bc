//! The boxes of init sections and segments (ISO/IEC 14496-12, 23000-19), read with `mp4_atom`.
//!
//! Bytes come from `fetch`; what the rules need of them is kept, the bytes are not. Times are in the track's own timescale.

use std::{collections::BTreeSet, ops::Range};

use mp4_atom::{Atom as _, Codec, Decode as _, FourCC, Header, Moof, Moov, StszSamples, Trak, Trex};
use sha2::{Digest as _, Sha256};

/// `sample_is_non_sync_sample` (14496-12 8.8.3.1).
const NON_SYNC: u32 = 0x0001_0000;

/// What an init section says.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) timescale: u32,
    /// Tracks of any kind.
    pub(crate) tracks: usize,
    pub(crate) sound: Sound,
    /// Samples that are in the init section itself, and should not be.
    pub(crate) samples: u64,
    pub(crate) edit: Option<Edit>,
    pub(crate) loudness: Option<Loudness>,
    defaults: Trex,
}

/// What the sample entry says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sound {
    /// As `CODECS` should name it (RFC 6381); empty when this check does not know the codec.
    pub(crate) codec: String,
    pub(crate) channels: u16,
    /// Whether spectral band replication is announced where a decoder looks first.
    pub(crate) explicit_sbr: bool,
}

impl Sound {
    /// AAC of any kind but xHE-AAC.
    pub(crate) fn is_aac(&self) -> bool {
        matches!(self.codec.as_str(), "mp4a.40.2" | "mp4a.40.5" | "mp4a.40.29")
    }
}

/// The edit list, as far as it is one edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Edits in the list.
    pub(crate) entries: usize,
    /// First tick that is presented.
    pub(crate) skip: u64,
    /// Ticks that are presented; to the end when absent.
    pub(crate) keep: Option<u64>,
}

/// The `ludt` box (14496-12 12.2.7).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Loudness {
    pub(crate) program_lufs: Option<f64>,
    pub(crate) true_peak_dbtp: Option<f64>,
}

impl Init {
    /// Reads an init section.
    ///
    /// # Errors
    /// When it is none, or its boxes are broken.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let top = boxes(bytes)?;
        let body = top.iter().find(|found| found.kind == Moov::KIND).ok_or("it has no moov box")?.body(bytes);
        let moov = Moov::decode_body(&mut &*body).map_err(|error| format!("its moov box is broken: {error}"))?;
        let trak = moov.trak.first().ok_or("its moov box has no track")?;
        let stbl = &trak.mdia.minf.stbl;
        let in_tables: u64 = moov.trak.iter().map(|trak| samples(&trak.mdia.minf.stbl.stsz.samples)).sum();
        let in_mdat = u64::from(top.iter().any(|found| matches!(&<[u8; 4]>::from(found.kind), b"mdat" | b"moof")));
        let defaults = moov.mvex.as_ref().and_then(|mvex| mvex.trex.iter().find(|trex| trex.track_id == trak.tkhd.track_id));
        Ok(Self {
            timescale: trak.mdia.mdhd.timescale.max(1),
            tracks: moov.trak.len(),
            sound: stbl.stsd.codecs.first().map(sound).unwrap_or_default(),
            samples: in_tables + in_mdat,
            edit: edit(trak, moov.mvhd.timescale.max(1)),
            loudness: loudness(body),
            defaults: defaults.cloned().ok_or("its moov box has no mvex with the track's defaults: the segments are no fragments")?,
        })
    }

    pub(crate) fn seconds(&self, ticks: u64) -> f64 {
        ticks as f64 / f64::from(self.timescale)
    }

    /// What is heard of `range` once the edit list has cut priming and padding.
    pub(crate) fn presented(&self, range: Range<u64>) -> u64 {
        let Some(edit) = self.edit else { return range.end.saturating_sub(range.start) };
        let end = edit.keep.map_or(u64::MAX, |keep| edit.skip.saturating_add(keep));
        range.end.min(end).saturating_sub(range.start.max(edit.skip))
    }
}

/// What a segment says.
#[derive(Debug, Default)]
pub(crate) struct Fragment {
    pub(crate) bytes: u64,
    pub(crate) digest: [u8; 32],
    /// Decode time of its first sample.
    pub(crate) start: u64,
    /// Sum of its samples' durations.
    pub(crate) duration: u64,
    pub(crate) samples: u64,
    /// The longest of its samples, which is a coded frame.
    pub(crate) frame: u64,
    pub(crate) tracks: BTreeSet<u32>,
    /// Whether a decoder may begin with its first sample.
    pub(crate) starts_with_sync: bool,
    /// Holes and overlaps between its own chunks.
    pub(crate) gaps: Vec<String>,
    /// Where its sample tables and its data disagree.
    pub(crate) layout: Vec<String>,
}

impl Fragment {
    /// Reads a segment of the track that `init` describes.
    ///
    /// # Errors
    /// When it is none, or its boxes are broken.
    pub(crate) fn parse(bytes: &[u8], init: &Init) -> Result<Self, String> {
        let mut fragment = Self { bytes: bytes.len() as u64, digest: Sha256::digest(bytes).into(), ..Self::default() };
        let top = boxes(bytes)?;
        let mut chunks = 0_u32;
        for (place, found) in top.iter().enumerate().filter(|(_, found)| found.kind == Moof::KIND) {
            let moof = Moof::decode_body(&mut found.body(bytes)).map_err(|error| format!("a moof box is broken: {error}"))?;
            let mdat = top.iter().skip(place + 1).find(|later| later.kind == FourCC::new(b"mdat"));
            fragment.chunk(&moof, found.start, mdat, init, chunks == 0)?;
            chunks += 1;
        }
        if chunks == 0 { Err("it has no moof box".to_owned()) } else { Ok(fragment) }
    }

    /// Decode time after its last sample.
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.duration)
    }

    fn chunk(&mut self, moof: &Moof, moof_start: usize, mdat: Option<&Found>, init: &Init, is_first: bool) -> Result<(), String> {
        let traf = moof.traf.first().ok_or("a moof box has no traf")?;
        self.tracks.extend(moof.traf.iter().map(|traf| traf.tfhd.track_id));
        let time = traf.tfdt.as_ref().ok_or("a traf box has no tfdt")?.base_media_decode_time;
        if is_first {
            self.start = time;
        } else if time != self.end() {
            self.gaps.push(format!("a chunk begins at {time}, the one before ends at {}", self.end()));
        }
        let (head, defaults) = (&traf.tfhd, &init.defaults);
        let mut payload = 0_u64;
        for (place, sample) in traf.trun.iter().flat_map(|run| run.samples.iter()).enumerate() {
            let flags = sample.flags.or(head.default_sample_flags).unwrap_or(defaults.default_sample_flags);
            if is_first && place == 0 {
                self.starts_with_sync = flags & NON_SYNC == 0;
            }
            self.samples += 1;
            let lasts = u64::from(sample.duration.or(head.default_sample_duration).unwrap_or(defaults.default_sample_duration));
            self.duration += lasts;
            self.frame = self.frame.max(lasts);
            payload += u64::from(sample.size.or(head.default_sample_size).unwrap_or(defaults.default_sample_size));
        }
        let Some(mdat) = mdat else {
            self.layout.push("a moof box without an mdat".to_owned());
            return Ok(());
        };
        if !head.default_base_is_moof || head.base_data_offset.is_some() {
            self.layout.push("its offsets do not count from its moof box (default-base-is-moof)".to_owned());
        }
        let begins = traf.trun.first().and_then(|run| run.data_offset).and_then(|offset| usize::try_from(offset).ok());
        if begins.is_some_and(|offset| moof_start.checked_add(offset) != Some(mdat.body.start)) {
            self.layout.push("its data offset does not lead to the data".to_owned());
        }
        let held = mdat.body.len() as u64;
        if moof.traf.len() == 1 && payload != held {
            self.layout.push(format!("its samples take {payload} bytes, its mdat has {held}"));
        }
        Ok(())
    }
}

/// A box, by where it is.
struct Found {
    kind: FourCC,
    start: usize,
    body: Range<usize>,
}

impl Found {
    fn body<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        bytes.get(self.body.clone()).unwrap_or_default()
    }
}

/// The boxes side by side in `bytes`.
fn boxes(bytes: &[u8]) -> Result<Vec<Found>, String> {
    let (mut found, mut start) = (Vec::new(), 0);
    while let Some(mut rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) {
        let before = rest.len();
        let header = Header::decode(&mut rest).map_err(|error| format!("byte {start} begins no box: {error}"))?;
        let body = start + before - rest.len();
        let end = header.size.map_or(bytes.len(), |size| body.saturating_add(size));
        if end > bytes.len() {
            return Err(format!("the box at byte {start} is cut off"));
        }
        found.push(Found { kind: header.kind, start, body: body..end });
        start = end;
    }
    Ok(found)
}

fn samples(table: &StszSamples) -> u64 {
    match table {
        StszSamples::Identical { count, .. } => u64::from(*count),
        StszSamples::Different { sizes } => sizes.len() as u64,
    }
}

fn edit(trak: &Trak, movie_timescale: u32) -> Option<Edit> {
    let list = trak.edts.as_ref()?.elst.as_ref()?;
    let entry = list.entries.iter().find(|entry| entry.media_time.is_some())?;
    let media_timescale = u128::from(trak.mdia.mdhd.timescale.max(1));
    // An edit's length is in the movie's timescale, its place in the track's. Of a file made of fragments, 0 is "to the end".
    let keep = u128::from(entry.segment_duration) * media_timescale / u128::from(movie_timescale);
    Some(Edit { entries: list.entries.len(), skip: entry.media_time?, keep: u64::try_from(keep).ok().filter(|keep| *keep > 0) })
}

fn sound(codec: &Codec) -> Sound {
    match codec {
        Codec::Mp4a(mp4a) => aac(mp4a),
        Codec::Flac(flac) => Sound { codec: "fLaC".to_owned(), channels: flac.audio.channel_count, explicit_sbr: false },
        Codec::Opus(opus) => Sound { codec: "Opus".to_owned(), channels: opus.audio.channel_count, explicit_sbr: false },
        Codec::Unknown(kind, _) => Sound { codec: kind.to_string(), ..Sound::default() },
        other => Sound { channels: other.audio().map_or(0, |audio| audio.channel_count), ..Sound::default() },
    }
}

/// RFC 6381 3.3: the object type, and for MPEG-4 audio (0x40) the audio object type of 14496-3 1.5.1.1.
fn aac(mp4a: &mp4_atom::Mp4a) -> Sound {
    let config = &mp4a.esds.es_desc.dec_config;
    let object_type = config.object_type_indication;
    let Some(specific) = config.dec_specific.as_ref().filter(|_| object_type == 0x40) else {
        return Sound { codec: format!("mp4a.{object_type:02x}"), channels: mp4a.audio.channel_count, explicit_sbr: false };
    };
    // A sync extension behind AAC-LC's own 16 bits (14496-3 1.6.2.1): 0x2b7 in 11 bits, object type 5 in 5 bits, then whether there is SBR.
    let extended = match specific.raw.as_slice() {
        [_, _, high, low, present, ..] => u16::from_be_bytes([*high, *low]) == 0x2b7 << 5 | 5 && present & 0x80 != 0,
        _ => false,
    };
    let audio_type = if specific.profile == 2 && extended { 5 } else { specific.profile };
    // Parametric stereo makes two channels of the one that is coded.
    let channels = if audio_type == 29 { 2 } else { u16::from(specific.chan_conf) };
    Sound { codec: format!("mp4a.40.{audio_type}"), channels, explicit_sbr: matches!(audio_type, 5 | 29) }
}

/// Reads the first loudness of the first track; `mp4_atom` skips the box.
fn loudness(moov: &[u8]) -> Option<Loudness> {
    let trak = child(moov, b"trak")?;
    let mut tlou = child(child(child(trak, b"udta")?, b"ludt")?, b"tlou")?;
    let version = *tlou.first()?;
    // Version 1 counts its entries and puts an equaliser's id before each.
    tlou = tlou.get(if version == 0 { 4 } else { 6 }..)?;
    // Ids (16 bits), sample peak and true peak (12 bits each), how the true peak was measured (8), then the count of measurements.
    let (head, measurements) = tlou.split_at_checked(7)?;
    let true_peak = u16::from_be_bytes([*head.get(3)?, *head.get(4)?]) & 0x0fff;
    let count = usize::from(*head.get(6)?);
    // 23003-4: method 1 is programme loudness, in steps of 1/4 LU up from -57.75 LUFS; the peak falls in steps of 1/32 dB from +20 dBTP.
    let program = measurements.chunks_exact(3).take(count).find_map(|measurement| match measurement {
        [1, value, _] => Some(f64::from(*value) / 4.0 - 57.75),
        _ => None,
    });
    Some(Loudness { program_lufs: program, true_peak_dbtp: (true_peak > 0).then(|| 20.0 - f64::from(true_peak) / 32.0) })
}

fn child<'b>(bytes: &'b [u8], kind: &[u8; 4]) -> Option<&'b [u8]> {
    boxes(bytes).ok()?.iter().find(|found| found.kind == FourCC::new(kind)).map(|found| found.body(bytes))
}
