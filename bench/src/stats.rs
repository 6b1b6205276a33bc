//! Percentiles of a handful of durations.

use std::time::Duration;

/// Durations of one case, in the order measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// Takes one in.
    pub(crate) fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// Takes in what another case measured.
    pub(crate) fn extend(&mut self, others: &Self) {
        self.0.extend_from_slice(&others.0);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The nearest-rank percentile; zero when there is no sample.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(rank).copied().unwrap_or_default()
    }
}

/// `1.23`, in milliseconds.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1_000.0)
}

/// How many times as long.
pub(crate) fn ratio(of: Duration, to: Duration) -> String {
    if to.is_zero() { "–".to_owned() } else { format!("{:.1} x", of.as_secs_f64() / to.as_secs_f64()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_that_were_measured() {
        let mut samples = Samples::default();
        for ms in (1..=100).rev() {
            samples.push(Duration::from_millis(ms));
        }
        assert_eq!([50, 99, 100, 1].map(|percent| samples.percentile(percent).as_millis()), [50, 99, 100, 1]);
        assert_eq!(Samples::default().percentile(50), Duration::ZERO);
        assert_eq!(
            (ms(Duration::from_micros(1_234)), ratio(Duration::from_millis(3), Duration::from_millis(2))),
            ("1.23".to_owned(), "1.5 x".to_owned())
        );
    }
}
