//! When a buffer sends what waits: soon enough that a listen is counted within seconds, late enough that many posts ride in one request.
//!
//! A shard that is quiet sends early, and at once when a play ends: nothing is gained by waiting. A busy one waits until enough have come together,
//! and the end of one play among hundreds hurries nobody. How busy it is, is told by a count that fades, so a burst is over when it is over.

use protocol::UnixMs;

/// A post of a quiet shard waits so long, and a post of a very busy one.
const AGE_MS_MIN: i64 = 2_000;
/// No post waits longer before it is sent for the first time.
pub(crate) const AGE_MS_MAX: i64 = 5_000;
/// The end of a play on a quiet shard waits so long: the next play's start comes along.
const END_MS: i64 = 100;
/// Posts worth waiting for.
const WORTH_A_REQUEST: f64 = 48.0;
/// The count of posts fades with this time constant.
const FADES_IN_MS: f64 = 5_000.0;
/// Posts a second below which a shard is quiet, and above which posts are likely to arrive at the same moment.
const QUIET_PER_S: f64 = 2.0;
const BUSY_PER_S: f64 = 20.0;

/// How fast posts come, and when the ones that wait are due.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    faded_count: f64,
    counted_at: UnixMs,
    due_at: Option<UnixMs>,
}

impl Pace {
    /// A post came at `now`; `ends` when it ends a play. Answers when what waits is due.
    pub(crate) fn posted(&mut self, now: UnixMs, ends: bool) -> UnixMs {
        self.faded_count = self.faded(now) + 1.0;
        self.counted_at = now;
        let per_s = self.per_s(now);
        let age_ms = if per_s < QUIET_PER_S {
            if ends { END_MS } else { AGE_MS_MIN }
        } else {
            ((WORTH_A_REQUEST / per_s * 1_000.0) as i64).clamp(AGE_MS_MIN, AGE_MS_MAX)
        };
        let due_at = self.due_at.map_or(now.plus_ms(age_ms), |due_at| due_at.min(now.plus_ms(age_ms)));
        self.due_at = Some(due_at);
        due_at
    }

    /// Whether posts come so fast that one is worth holding for a moment, because others are about to arrive.
    pub(crate) fn is_busy(&self, now: UnixMs) -> bool {
        self.per_s(now) > BUSY_PER_S
    }

    /// When the oldest post that waits is due: none when none came since this instance began.
    pub(crate) fn due_at(&self) -> Option<UnixMs> {
        self.due_at
    }

    /// What waited is frozen. What is `left` has waited as long.
    pub(crate) fn frozen(&mut self, left: bool) {
        if !left {
            self.due_at = None;
        }
    }

    fn per_s(&self, now: UnixMs) -> f64 {
        self.faded(now) / (FADES_IN_MS / 1_000.0)
    }

    fn faded(&self, now: UnixMs) -> f64 {
        self.faded_count * (-(now.since(self.counted_at).max(0) as f64) / FADES_IN_MS).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Posts at `per_s` for a minute, of which every `end_every`th ends a play; answers how many ride together on average.
    fn riders(per_s: i64, end_every: i64) -> f64 {
        let mut pace = Pace::default();
        let (mut waiting, mut sent, mut requests) = (0, 0, 0);
        for n in 0..60 * per_s {
            let now = UnixMs(1_000_000 + n * 1_000 / per_s);
            if pace.due_at().is_some_and(|due_at| due_at <= now) {
                sent += waiting;
                requests += 1;
                waiting = 0;
                pace.frozen(false);
            }
            pace.posted(now, n % end_every == 0);
            waiting += 1;
        }
        f64::from(sent) / f64::from(requests)
    }

    #[test]
    fn two_hundred_listeners_fill_a_request_although_one_of_them_ends_a_play_each_second() {
        // 200 listeners beat every 15 s; a song of three and a half minutes ends, and the next begins, about once a second.
        assert!(riders(15, 14) >= 20.0, "{}", riders(15, 14));
        assert!(riders(700, 700) >= 1_000.0, "{}", riders(700, 700));
    }

    #[test]
    fn a_quiet_shard_sends_the_end_of_a_play_at_once_and_a_beat_within_two_seconds() {
        let mut pace = Pace::default();
        assert_eq!(pace.posted(UnixMs(100_000), false), UnixMs(102_000));
        assert_eq!(pace.posted(UnixMs(100_500), true), UnixMs(100_600));
        pace.frozen(false);
        assert_eq!(pace.due_at(), None);
        assert_eq!(pace.posted(UnixMs(115_000), false), UnixMs(117_000));
    }

    #[test]
    fn no_post_waits_longer_than_five_seconds_and_what_is_left_of_a_batch_waits_no_longer_than_it_did() {
        for per_s in [1, 2, 3, 5, 8, 13, 50, 1_000] {
            let mut pace = Pace::default();
            for n in 0..10 * per_s {
                let now = UnixMs(1_000_000 + n * 1_000 / per_s);
                pace.frozen(false);
                assert!(pace.posted(now, false).since(now) <= AGE_MS_MAX, "{per_s} a second");
            }
            let due_at = pace.due_at();
            pace.frozen(true);
            assert_eq!(pace.due_at(), due_at);
        }
    }

    #[test]
    fn a_burst_is_forgotten() {
        let mut pace = Pace::default();
        for n in 0..500 {
            pace.posted(UnixMs(100_000 + n), false);
        }
        assert!(pace.is_busy(UnixMs(100_500)));
        assert!(!pace.is_busy(UnixMs(130_000)));
        pace.frozen(false);
        assert_eq!(pace.posted(UnixMs(160_000), true), UnixMs(160_100), "quiet again");
    }
}
