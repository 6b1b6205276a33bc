//! Arithmetic on what was fetched: bit rates, drift, where a run of segments is worst. Pure, in seconds and bytes.

/// Segment bit rates as RFC 8216 4.1 defines them, bit/s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rates {
    pub(crate) average_bps: f64,
    pub(crate) peak_bps: f64,
}

/// The average over all segments, and the peak: the largest rate of any contiguous run that lasts 0.5 to 1.5 target durations. What is too
/// short to hold such a run peaks at its average.
pub(crate) fn rates(segments: &[(u64, f64)], target_s: f64) -> Rates {
    let bps = |bytes: u64, seconds: f64| if seconds > 0.0 { bytes as f64 * 8.0 / seconds } else { 0.0 };
    let average_bps = bps(segments.iter().map(|(bytes, _)| bytes).sum(), segments.iter().map(|(_, seconds)| seconds).sum());
    let mut peak_bps = 0.0_f64;
    for from in 0..segments.len() {
        let (mut bytes, mut seconds) = (0, 0.0);
        for (more_bytes, more_seconds) in segments.iter().skip(from) {
            bytes += more_bytes;
            seconds += more_seconds;
            if seconds > target_s * 1.5 {
                break;
            }
            if seconds >= target_s * 0.5 {
                peak_bps = peak_bps.max(bps(bytes, seconds));
            }
        }
    }
    Rates { average_bps, peak_bps: if peak_bps > 0.0 { peak_bps } else { average_bps } }
}

/// The run of segments whose told durations stray farthest from the real ones.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Drift {
    pub(crate) seconds: f64,
    /// First and last segment of the run.
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// Over `(told, real)` of each segment. The sum over a run is the difference of two sums from the start, so the worst run lies between the
/// smallest and the largest of those.
pub(crate) fn drift(durations: impl Iterator<Item = (f64, f64)>) -> Drift {
    let (mut sum, mut low, mut high) = (0.0_f64, (0.0_f64, 0), (0.0_f64, 0));
    for (place, (told, real)) in (1..).zip(durations) {
        sum += told - real;
        if sum < low.0 {
            low = (sum, place);
        }
        if sum > high.0 {
            high = (sum, place);
        }
    }
    let (from, to) = (low.1.min(high.1), low.1.max(high.1));
    Drift { seconds: high.0 - low.0, from, to: to.saturating_sub(1) }
}

/// How far `measured` is from `told`, as a share of `told`.
pub(crate) fn deviation(measured: f64, told: u64) -> f64 {
    if told == 0 { f64::INFINITY } else { (measured - told as f64).abs() / told as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_the_fastest_run_of_half_to_one_and_a_half_target_durations() {
        // Alone, the 2 s segment is too short to count; with its neighbour it lasts 8 s and does.
        let found = rates(&[(500_000, 2.0), (300_000, 6.0), (90_000, 6.0)], 6.0);
        assert!((found.peak_bps - 800_000.0).abs() < 1e-6, "{found:?}");
        assert!((found.average_bps - 890_000.0 * 8.0 / 14.0).abs() < 1e-6);
        assert_eq!(rates(&[(1_000, 1.0)], 6.0), Rates { average_bps: 8_000.0, peak_bps: 8_000.0 });
        assert_eq!(rates(&[], 6.0), Rates { average_bps: 0.0, peak_bps: 0.0 });
    }

    #[test]
    fn drift_is_found_in_the_middle_of_a_track_that_adds_up_as_a_whole() {
        let found = drift([(6.0, 6.0), (6.125, 6.0), (6.0, 6.0), (5.875, 6.0), (6.0, 6.0)].into_iter());
        assert!((found.seconds - 0.125).abs() < 1e-9, "{found:?}");
        assert_eq!((found.from, found.to), (0, 1));
        assert_eq!(drift(std::iter::empty()), Drift::default());
    }
}
