//! The encoder's answer: AAC frames in ADTS headers (ISO/IEC 13818-7 6.2), read back from the job's folder one frame at a time.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use anyhow::{Context, bail, ensure};

/// The sampling frequency index of ISO/IEC 14496-3 table 1.18.
pub(crate) const RATES: [u32; 13] = [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// A reader of one ADTS file.
#[derive(Debug)]
pub(crate) struct Frames {
    file: BufReader<File>,
    rate: u32,
}

impl Frames {
    /// Opens `path`, whose frames must be AAC-LC stereo at `rate`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(crate) fn open(path: &Path, rate: u32) -> anyhow::Result<Self> {
        let file = File::open(path).context("the encoder's output")?;
        Ok(Self { file: BufReader::with_capacity(1 << 18, file), rate })
    }

    /// Appends the next raw AAC frame to `out`; its length, or `None` at the end.
    ///
    /// # Errors
    /// When the stream is not what was asked of the encoder.
    pub(crate) fn next(&mut self, out: &mut Vec<u8>) -> anyhow::Result<Option<u32>> {
        let mut header = [0; 7];
        let mut got = 0;
        while got < header.len() {
            match self.file.read(header.get_mut(got..).unwrap_or_default())? {
                0 if got == 0 => return Ok(None),
                0 => bail!("the encoder's output ends in a header"),
                more => got += more,
            }
        }
        let [0xff, second, third, fourth, fifth, sixth, _] = header else { bail!("the encoder's output is not ADTS") };
        ensure!(second & 0xf6 == 0xf0, "the encoder's output is not ADTS");
        let rate = RATES.get(usize::from(third >> 2 & 0xf)).copied();
        let channels = (third & 1) << 2 | fourth >> 6;
        ensure!(third >> 6 == 1 && rate == Some(self.rate) && channels == 2, "not AAC-LC stereo at {} Hz", self.rate);
        let length = u32::from(fourth & 3) << 11 | u32::from(fifth) << 3 | u32::from(sixth >> 5);
        // Without "protection absent" a 16-bit CRC follows the header.
        let overhead = if second & 1 == 1 { 7 } else { 9 };
        if overhead == 9 {
            self.file.read_exact(&mut [0; 2]).context("ADTS checksum")?;
        }
        let payload = length.checked_sub(overhead).filter(|bytes| *bytes > 0).context("an empty ADTS frame")?;
        let read = (&mut self.file).take(u64::from(payload)).read_to_end(out).context("ADTS frame")?;
        ensure!(read as u64 == u64::from(payload), "the encoder's output ends in a frame");
        Ok(Some(payload))
    }

    /// The lengths of all remaining frames.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(crate) fn lengths(mut self) -> anyhow::Result<Vec<u32>> {
        let (mut lengths, mut frame) = (Vec::new(), Vec::new());
        while let Some(length) = self.next(&mut frame)? {
            lengths.push(length);
            frame.clear();
        }
        Ok(lengths)
    }
}
