//! The packager: one CMAF file a rung, init section first, then the segments in order, each a `moof` and an `mdat`.
//!
//! Reads the encoder's ADTS files from the job's folder, writes `{rung}.mp4` beside them, and answers with the rung's row of the sheet.
//! Nothing in the bytes depends on when, where or by whom they are written.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use protocol::{Rung, sheet::Loudness, sheet::SheetRung};
use sha2::{Digest, Sha256};

use super::{
    adts::Frames,
    boxes::{Track, fragment, init},
    ladder::{FRAME, PRIMING, Timeline},
};

/// AAC-LC (RFC 6381, ISO/IEC 14496-3 object type 2).
const CODEC: &str = "mp4a.40.2";

/// A rendition before it is packaged.
#[derive(Debug)]
pub(crate) struct Coded {
    /// Which rung.
    pub rung: Rung,
    /// The encoder's output.
    pub adts: PathBuf,
    /// The length of each frame, bytes.
    pub frames: Vec<u32>,
}

/// Writes the CMAF file of `coded` to `path`.
///
/// # Errors
/// When the disk fails or the encoder's output changed under us.
pub(crate) fn package(coded: &Coded, timeline: &Timeline, loudness: Loudness, path: &Path) -> anyhow::Result<SheetRung> {
    let count = usize::try_from(timeline.frames())?;
    let lengths = coded.frames.get(..count).context("fewer frames than the timeline has")?;
    let init = init(&track(lengths, timeline, loudness));

    let mut file = Hashed { file: BufWriter::with_capacity(1 << 18, File::create(path)?), hash: Sha256::new() };
    file.write(&init)?;
    let mut source = Frames::open(&coded.adts, timeline.rate)?;
    let (mut segment_bytes, mut payload, mut rest) = (Vec::new(), Vec::new(), lengths);
    for (number, (start, frames)) in (1..).zip(timeline.segments()) {
        let (these, after) = rest.split_at_checked(usize::try_from(frames)?).context("fewer frames than the timeline has")?;
        rest = after;
        let head = fragment(number, start, these);
        payload.clear();
        for expected in these {
            ensure!(source.next(&mut payload)? == Some(*expected), "the encoder's output changed while it was packaged");
        }
        file.write(&head)?;
        file.write(&payload)?;
        segment_bytes.push(u32::try_from(head.len() + payload.len())?);
    }
    let sha256 = file.finish()?;

    let (average_bps, peak_bps) = timeline.rates(&segment_bytes);
    let init_bytes = u32::try_from(init.len())?;
    Ok(SheetRung { rung: coded.rung, codec: CODEC.to_owned(), init_bytes, segment_bytes, peak_bps, average_bps, sha256 })
}

fn track(lengths: &[u32], timeline: &Timeline, loudness: Loudness) -> Track {
    let bps = |bytes: u64, frames: u64| {
        let bits = u128::from(bytes) * 8 * u128::from(timeline.rate);
        u32::try_from(bits.div_ceil(u128::from(frames.max(1) * FRAME))).unwrap_or(u32::MAX)
    };
    let total: u64 = lengths.iter().copied().map(u64::from).sum();
    // The descriptor's peak is over windows of one second (14496-1 7.2.6.6.2).
    let second = usize::try_from(u64::from(timeline.rate).div_ceil(FRAME)).unwrap_or(1).min(lengths.len()).max(1);
    let busiest = lengths.windows(second).map(|window| window.iter().copied().map(u64::from).sum::<u64>()).max().unwrap_or(total);
    Track {
        rate: timeline.rate,
        priming: PRIMING,
        samples: timeline.samples,
        coded: timeline.frames() * FRAME,
        average_bps: bps(total, lengths.len() as u64),
        peak_bps: bps(busiest, second as u64),
        frame_bytes_max: lengths.iter().copied().max().unwrap_or(0),
        integrated_clufs: loudness.integrated_clufs,
        true_peak_cdbtp: loudness.true_peak_cdbtp,
    }
}

/// A file and the digest of what was written to it.
struct Hashed {
    file: BufWriter<File>,
    hash: Sha256,
}

impl Hashed {
    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.hash.update(bytes);
        self.file.write_all(bytes).context("write the CMAF file")
    }

    fn finish(mut self) -> anyhow::Result<String> {
        self.file.flush().context("write the CMAF file")?;
        Ok(hex::encode(self.hash.finalize()))
    }
}
