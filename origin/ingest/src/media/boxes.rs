//! The boxes of a CMAF track (ISO/IEC 23000-19 over ISO/IEC 14496-12), written by hand so that every byte is ours and the same on every machine.
//!
//! `package` gives the measured numbers and gets the init section and the `moof` of each segment.

use super::{adts::RATES, ladder::FRAME};

/// The one track's id.
const TRACK: u32 = 1;
/// `sample_depends_on` = 2 and `sample_is_non_sync_sample` = 0: every AAC frame is a place to start (14496-12 8.8.3.1).
const SYNC_SAMPLE: u32 = 0x0200_0000;

/// What the init section says about a rendition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Track {
    /// Samples a second; also both timescales.
    pub rate: u32,
    /// Samples before the first real one.
    pub priming: u32,
    /// Real samples.
    pub samples: u64,
    /// Coded samples, priming and padding included.
    pub coded: u64,
    /// Average payload, bit/s.
    pub average_bps: u32,
    /// Largest payload of any second, bit/s.
    pub peak_bps: u32,
    /// Largest frame, bytes.
    pub frame_bytes_max: u32,
    /// Integrated loudness, 1/100 LUFS.
    pub integrated_clufs: i32,
    /// True peak, 1/100 dBTP.
    pub true_peak_cdbtp: i32,
}

/// The init section: `ftyp` and `moov`.
#[must_use]
pub(crate) fn init(track: &Track) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    boxed(&mut out, b"ftyp", |b| {
        b.extend_from_slice(b"cmfc");
        long(b, 0);
        // `caac` is the CMAF media profile of AAC-LC stereo (23000-19 table A.2).
        for brand in [b"cmfc", b"iso6", b"mp42", b"caac"] {
            b.extend_from_slice(brand);
        }
    });
    boxed(&mut out, b"moov", |b| {
        full(b, b"mvhd", 0, 0, |b| {
            longs(b, &[0, 0, track.rate, 0]);
            long(b, 0x0001_0000);
            short(b, 0x0100);
            b.extend_from_slice(&[0; 10]);
            matrix(b);
            b.extend_from_slice(&[0; 24]);
            long(b, TRACK + 1);
        });
        boxed(b, b"trak", |b| trak(b, track));
        boxed(b, b"mvex", |b| {
            full(b, b"mehd", 1, 0, |b| wide(b, track.coded));
            // Sizes are told frame by frame; everything else is the same for all.
            full(b, b"trex", 0, 0, |b| longs(b, &[TRACK, 1, FRAME as u32, 0, SYNC_SAMPLE]));
        });
    });
    out
}

fn trak(b: &mut Vec<u8>, track: &Track) {
    // Flags: enabled, in movie, in preview.
    full(b, b"tkhd", 0, 7, |b| {
        longs(b, &[0, 0, TRACK, 0, 0, 0, 0]);
        short(b, 0);
        short(b, 0);
        short(b, 0x0100);
        short(b, 0);
        matrix(b);
        longs(b, &[0, 0]);
    });
    // The edit hides priming at the start and padding at the end, so that the presented track is the source to the sample.
    boxed(b, b"edts", |b| {
        full(b, b"elst", 1, 0, |b| {
            long(b, 1);
            wide(b, track.samples);
            wide(b, u64::from(track.priming));
            longs(b, &[0x0001_0000]);
        });
    });
    boxed(b, b"mdia", |b| {
        full(b, b"mdhd", 0, 0, |b| {
            longs(b, &[0, 0, track.rate, 0]);
            // ISO 639-2 "und" in three groups of five bits.
            short(b, 0x55c4);
            short(b, 0);
        });
        full(b, b"hdlr", 0, 0, |b| {
            long(b, 0);
            b.extend_from_slice(b"soun");
            longs(b, &[0, 0, 0]);
            b.extend_from_slice(b"SoundHandler\0");
        });
        boxed(b, b"minf", |b| {
            full(b, b"smhd", 0, 0, |b| long(b, 0));
            boxed(b, b"dinf", |b| {
                full(b, b"dref", 0, 0, |b| {
                    long(b, 1);
                    // Flag 1: the media is in this file.
                    full(b, b"url ", 0, 1, |_| {});
                });
            });
            boxed(b, b"stbl", |b| {
                full(b, b"stsd", 0, 0, |b| {
                    long(b, 1);
                    boxed(b, b"mp4a", |b| mp4a(b, track));
                });
                for empty in [b"stts", b"stsc", b"stco"] {
                    full(b, empty, 0, 0, |b| long(b, 0));
                }
                full(b, b"stsz", 0, 0, |b| longs(b, &[0, 0]));
            });
        });
    });
    boxed(b, b"udta", |b| boxed(b, b"ludt", |b| tlou(b, track)));
}

/// ISO/IEC 14496-12 12.2.3 with the ES descriptor of 14496-1 7.2.6.5.
fn mp4a(b: &mut Vec<u8>, track: &Track) {
    b.extend_from_slice(&[0; 6]);
    short(b, 1);
    b.extend_from_slice(&[0; 8]);
    short(b, 2);
    short(b, 16);
    longs(b, &[0]);
    long(b, track.rate << 16);
    full(b, b"esds", 0, 0, |b| {
        descriptor(b, 3, |b| {
            short(b, 0);
            b.push(0);
            descriptor(b, 4, |b| {
                // Object type 0x40 is MPEG-4 audio; stream type 5 (audio) << 2, and the reserved bit that is 1.
                b.extend_from_slice(&[0x40, 0x15]);
                b.extend(track.frame_bytes_max.to_be_bytes().iter().skip(1));
                longs(b, &[track.peak_bps, track.average_bps]);
                descriptor(b, 5, |b| short(b, audio_specific_config(track.rate)));
            });
            // SLConfigDescriptor, predefined for MP4 files.
            descriptor(b, 6, |b| b.push(2));
        });
    });
}

/// ISO/IEC 14496-3 1.6.2.1: object type 2 (AAC-LC), the rate's index, channel configuration 2 (stereo), 1,024-sample frames.
fn audio_specific_config(rate: u32) -> u16 {
    let index = RATES.iter().position(|known| *known == rate).and_then(|index| u16::try_from(index).ok()).unwrap_or(3);
    2 << 11 | index << 7 | 2 << 3
}

/// The loudness of the track (14496-12 12.2.7; fields as in 23003-4), which Apple's authoring rules 2.19 and 2.23 ask for.
fn tlou(b: &mut Vec<u8>, track: &Track) {
    const EBU_R128: u8 = 1;
    const MEASURED: u8 = 3;
    const PROGRAM_LOUDNESS: u8 = 1;
    // True peak in steps of 1/32 dB down from +20 dBTP, 12 bits, 0 meaning unknown.
    let peak = ((2_000 - i64::from(track.true_peak_cdbtp)) * 32 / 100).clamp(1, 0xfff) as u32;
    // Loudness in steps of 1/4 LU up from -57.75 LUFS.
    let loudness = ((i64::from(track.integrated_clufs) + 5_775 + 12).div_euclid(25)).clamp(0, 255) as u8;
    full(b, b"tlou", 0, 0, |b| {
        // 3 reserved bits, downmix id (7) and DRC set id (6) of 0: the audio as it is.
        short(b, 0);
        // Sample peak (12 bits) unknown, then true peak (12 bits).
        b.extend(peak.to_be_bytes().iter().skip(1));
        b.push(EBU_R128 << 4 | MEASURED);
        b.extend_from_slice(&[1, PROGRAM_LOUDNESS, loudness, EBU_R128 << 4 | MEASURED]);
    });
}

/// One segment: a `moof` that describes frames of these lengths from sample `start`, and the head of the `mdat` they go into.
#[must_use]
pub(crate) fn fragment(sequence: u32, start: u64, lengths: &[u32]) -> Vec<u8> {
    let payload: u32 = lengths.iter().sum();
    let mut out = Vec::with_capacity(128 + lengths.len() * 4);
    // mfhd 16, traf 8, tfhd 16, tfdt 20, trun 20 and four bytes a frame, in a moof of 8; the data begins behind the mdat's 8.
    let data_offset = 88 + 4 * lengths.len() as u32 + 8;
    boxed(&mut out, b"moof", |b| {
        full(b, b"mfhd", 0, 0, |b| long(b, sequence));
        boxed(b, b"traf", |b| {
            // Flag 0x020000: default-base-is-moof, so that a segment stands alone.
            full(b, b"tfhd", 0, 0x02_0000, |b| long(b, TRACK));
            full(b, b"tfdt", 1, 0, |b| wide(b, start));
            // Flags: data offset and sample sizes present.
            full(b, b"trun", 0, 0x201, |b| {
                longs(b, &[lengths.len() as u32, data_offset]);
                longs(b, lengths);
            });
        });
    });
    long(&mut out, payload + 8);
    out.extend_from_slice(b"mdat");
    out
}

/// A box: its size, its kind and what `body` writes.
fn boxed(out: &mut Vec<u8>, kind: &[u8; 4], body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    long(out, 0);
    out.extend_from_slice(kind);
    body(out);
    let size = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(slot) = out.get_mut(start..start + 4) {
        slot.copy_from_slice(&size.to_be_bytes());
    }
}

/// A full box: a box whose body begins with a version and 24 bits of flags.
fn full(out: &mut Vec<u8>, kind: &[u8; 4], version: u8, flags: u32, body: impl FnOnce(&mut Vec<u8>)) {
    boxed(out, kind, |b| {
        long(b, u32::from(version) << 24 | flags);
        body(b);
    });
}

/// A descriptor of 14496-1 8.3.3; ours are all shorter than 128 bytes.
fn descriptor(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    body(&mut inner);
    out.push(tag);
    out.push(u8::try_from(inner.len()).unwrap_or(127) & 0x7f);
    out.extend_from_slice(&inner);
}

fn matrix(out: &mut Vec<u8>) {
    longs(out, &[0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000]);
}

fn short(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn long(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn longs(out: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|value| long(out, *value));
}

fn wide(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}
