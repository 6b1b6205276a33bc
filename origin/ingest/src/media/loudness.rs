//! EBU R 128 of the whole track, measured on the decoded source before any lossy step, so that all rungs carry the same number.
//! Fed by `decode`, read into the sheet and the `ludt` box.

use anyhow::Context;
use ebur128::{EbuR128, Mode};

/// ITU-R BS.1770's absolute gate: nothing quieter is measured, so silence reads as this.
const FLOOR_CLUFS: i32 = -7_000;
/// What silence reads as for true peak: one step below the quietest 24-bit sample.
const FLOOR_CDBTP: i32 = -15_000;

/// A meter over interleaved stereo.
#[derive(Debug)]
pub(crate) struct Meter(EbuR128);

impl Meter {
    /// A meter for stereo at `rate`.
    ///
    /// # Errors
    /// When the rate is outside what BS.1770 filters can be made for.
    pub(crate) fn new(rate: u32) -> anyhow::Result<Self> {
        // The histogram bounds memory: without it every 400 ms block of a 12 h upload is kept.
        EbuR128::new(2, rate, Mode::I | Mode::TRUE_PEAK | Mode::HISTOGRAM).map(Self).context("loudness meter")
    }

    /// Measures `frames`, interleaved stereo.
    ///
    /// # Errors
    /// Only when memory is exhausted.
    pub(crate) fn add(&mut self, frames: &[f32]) -> anyhow::Result<()> {
        self.0.add_frames_f32(frames).context("loudness meter")
    }

    /// `(integrated loudness in hundredths of LUFS, true peak in hundredths of dBTP)`.
    ///
    /// # Errors
    /// Only when the meter was made without these modes.
    pub(crate) fn read(&self) -> anyhow::Result<(i32, i32)> {
        let integrated = self.0.loudness_global().context("integrated loudness")?;
        let mut peak = 0.0_f64;
        for channel in 0..2 {
            peak = peak.max(self.0.true_peak(channel).context("true peak")?);
        }
        Ok((hundredths(integrated, FLOOR_CLUFS), hundredths(20.0 * peak.log10(), FLOOR_CDBTP)))
    }
}

fn hundredths(value: f64, floor: i32) -> i32 {
    // `as` saturates and maps NaN to 0; -inf (silence) is caught by the floor.
    ((value * 100.0).round() as i32).max(floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_scale_sine_at_1_khz_reads_as_bs_1770_says() {
        let mut meter = Meter::new(48_000).unwrap();
        // EBU Tech 3341, case 1: a stereo 1 kHz sine at -23 dBFS reads -23 LUFS +/- 0.1.
        let amplitude = 10f64.powf(-23.0 / 20.0);
        let sine = |n: u32| (amplitude * (2.0 * std::f64::consts::PI * 1000.0 * f64::from(n) / 48_000.0).sin()) as f32;
        let frames: Vec<f32> = (0..48_000 * 10).flat_map(|n| [sine(n), sine(n)]).collect();
        meter.add(&frames).unwrap();
        let (integrated, peak) = meter.read().unwrap();
        assert!((integrated + 2300).abs() <= 10, "{integrated}");
        assert!((peak + 2300).abs() <= 20, "{peak}");
    }

    #[test]
    fn silence_has_a_loudness_and_a_peak() {
        let mut meter = Meter::new(44_100).unwrap();
        meter.add(&[0.0; 88_200]).unwrap();
        assert_eq!(meter.read().unwrap(), (FLOOR_CLUFS, FLOOR_CDBTP));
    }
}
