//! When iterations of an arrival-rate scenario begin: a pure function of its stages.

use std::time::Duration;

use crate::options::Stage;

/// The offset of each iteration from the scenario's start, in order.
///
/// The n-th iteration begins when the integral of the rate reaches n: within a stage the rate is a straight line, so its integral is a parabola.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals {
    stages: Vec<Stage>,
    start_per_s: f64,
    next: f64,
}

impl Arrivals {
    /// Of a scenario that begins at `start_per_s`.
    pub(crate) fn new(stages: Vec<Stage>, start_per_s: f64) -> Self {
        Self { stages, start_per_s, next: 0.0 }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let mut before_s = 0.0;
        let mut count = 0.0;
        let mut from = self.start_per_s;
        for stage in &self.stages {
            let length_s = stage.duration.as_secs_f64();
            let to = stage.target_per_s;
            let in_stage = (from + to) / 2.0 * length_s;
            if self.next < count + in_stage {
                let at_s = reach(self.next - count, from, (to - from) / length_s);
                self.next += 1.0;
                return Duration::try_from_secs_f64(before_s + at_s).ok();
            }
            count += in_stage;
            before_s += length_s;
            from = to;
        }
        None
    }
}

/// The time at which `rate * t + slope * t^2 / 2` is `count`.
fn reach(count: f64, rate: f64, slope: f64) -> f64 {
    if count <= 0.0 {
        return 0.0;
    }
    if slope.abs() < 1e-12 {
        return count / rate;
    }
    ((rate * rate + 2.0 * slope * count).max(0.0).sqrt() - rate) / slope
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(seconds: u64, target_per_s: f64) -> Stage {
        Stage { duration: Duration::from_secs(seconds), target_per_s }
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced_and_exact() {
        let times: Vec<_> = Arrivals::new(vec![stage(2, 4.0)], 4.0).map(|time| time.as_millis()).collect();
        assert_eq!(times, [0, 250, 500, 750, 1000, 1250, 1500, 1750]);
    }

    #[test]
    fn a_ramp_begins_as_many_iterations_as_the_area_under_it() {
        let times: Vec<_> = Arrivals::new(vec![stage(10, 10.0), stage(5, 10.0), stage(10, 0.0)], 0.0).collect();
        assert_eq!(times.len(), 50 + 50 + 50);
        assert!(times.is_sorted());
        let in_first = times.iter().filter(|time| time.as_secs_f64() < 10.0).count();
        assert_eq!(in_first, 50);
    }

    #[test]
    fn a_rate_of_nothing_begins_nothing() {
        assert_eq!(Arrivals::new(vec![stage(10, 0.0)], 0.0).count(), 0);
        assert_eq!(Arrivals::new(vec![], 5.0).count(), 0);
    }
}
