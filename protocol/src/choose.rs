//! Bitrate choice: from evidence about the connection, the plan and the device to a rung to start on, with the reason a person can read.

use serde::Serialize;

use crate::{Rung, RungSet, cmcd::Cmcd};

/// All that is known when a play begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// What the player says it measured.
    pub cmcd: Cmcd,
    /// Client hint `Downlink`, kbit/s.
    pub downlink_kbps: Option<u32>,
    /// Client hint `ECT`.
    pub effective_type: Option<EffectiveType>,
    /// Client hint `Save-Data: on`.
    pub save_data: bool,
    /// Round trip between the listener and the edge, ms (client hint `RTT`, or the platform's own measurement).
    pub round_trip_ms: Option<u32>,
}

/// The effective connection types of the Network Information API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectiveType {
    /// `slow-2g`
    Slow2g,
    /// `2g`
    TwoG,
    /// `3g`
    ThreeG,
    /// `4g`
    FourG,
}

impl EffectiveType {
    /// Reads the `ECT` header.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "slow-2g" => Some(Self::Slow2g),
            "2g" => Some(Self::TwoG),
            "3g" => Some(Self::ThreeG),
            "4g" => Some(Self::FourG),
            _ => None,
        }
    }

    /// The upper downlink bound of the Network Information API's table, kbit/s; 4g has none.
    const fn kbps(self) -> u32 {
        match self {
            Self::Slow2g => 50,
            Self::TwoG => 70,
            Self::ThreeG => 700,
            Self::FourG => 4_000,
        }
    }
}

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// Where to begin.
    pub start: Rung,
    /// What the player may adapt among: never empty, always has `start`.
    pub allowed: RungList,
    /// Whether lossless may be asked for.
    pub lossless: bool,
    /// Why, for a person and for the log.
    pub reason: String,
}

/// Rungs a player adapts among, smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RungList(pub RungSet);

impl Serialize for RungList {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

/// A rung starts only where the connection carries it with half as much again to spare.
const START_HEADROOM_PERCENT: u64 = 150;
/// A rung is offered at all only where the connection carries it.
const ALLOW_HEADROOM_PERCENT: u64 = 110;
/// Above this round trip a connection without other evidence is taken for a slow one.
const SLOW_ROUND_TRIP_MS: u32 = 400;

/// Chooses among `available` (what the media version has) and `plan` (what is paid for).
///
/// `None` when the media version has no lossy rung the plan allows.
#[must_use]
pub fn choose(evidence: &Evidence, available: RungSet, plan: RungSet) -> Option<Choice> {
    let payable = available.intersect(plan);
    let lossy: RungSet = payable.without(Rung::Flac);
    let smallest = lossy.iter().next()?;
    let (kbps, source) = estimate(evidence);
    let carries = |rung: Rung, percent: u64| match kbps {
        Some(kbps) => u64::from(rung.nominal_bps()) * percent <= u64::from(kbps) * 1000 * 100,
        None => true,
    };
    let ceiling = if evidence.save_data { Rung::Aac64 } else { Rung::Aac256 };
    let allowed = lossy
        .iter()
        .filter(|rung| *rung == smallest || (*rung <= ceiling.max(smallest) && carries(*rung, ALLOW_HEADROOM_PERCENT)))
        .fold(RungSet::NONE, RungSet::with);
    // Without evidence the middle of the ladder is the better guess: one quick step up costs less than a stall.
    let guess = if kbps.is_none() { Rung::Aac128 } else { Rung::Aac256 };
    let start = allowed.iter().rev().find(|rung| *rung <= guess && carries(*rung, START_HEADROOM_PERCENT)).unwrap_or(smallest);
    let lossless = payable.contains(Rung::Flac) && !evidence.save_data && carries(Rung::Flac, START_HEADROOM_PERCENT);
    let limit = if evidence.save_data {
        "data saver is on".to_owned()
    } else {
        match kbps {
            Some(kbps) => format!("{source} says {kbps} kbit/s"),
            None => "nothing is known of the connection".to_owned(),
        }
    };
    Some(Choice { start, allowed: RungList(allowed), lossless, reason: format!("{start}: {limit}") })
}

/// The best evidence wins: what the player measured, then what the browser estimates, then its class, then the round trip.
fn estimate(evidence: &Evidence) -> (Option<u32>, &'static str) {
    if let Some(kbps) = evidence.cmcd.measured_kbps.filter(|kbps| *kbps > 0) {
        return (Some(kbps), "the player's measured throughput (CMCD mtp)");
    }
    let by_class = evidence.effective_type.map(EffectiveType::kbps);
    if let Some(kbps) = evidence.downlink_kbps.filter(|kbps| *kbps > 0) {
        return (Some(kbps), "the browser's downlink estimate");
    }
    if by_class.is_some() {
        return (by_class, "the browser's effective connection type");
    }
    match evidence.round_trip_ms {
        Some(ms) if ms > SLOW_ROUND_TRIP_MS => (Some(EffectiveType::ThreeG.kbps()), "a long round trip"),
        _ => (None, ""),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Plan;

    fn with_mtp(kbps: u32) -> Evidence {
        Evidence { cmcd: Cmcd { measured_kbps: Some(kbps), ..Cmcd::default() }, ..Evidence::default() }
    }

    #[test]
    fn the_connection_decides_within_the_plan() {
        let all = RungSet::of(&Rung::ALL);
        let start = |evidence: &Evidence, plan: Plan| choose(evidence, all, plan.rungs()).unwrap().start;
        assert_eq!(start(&with_mtp(60), Plan::Premium), Rung::Aac64);
        assert_eq!(start(&with_mtp(200), Plan::Premium), Rung::Aac128);
        assert_eq!(start(&with_mtp(5000), Plan::Premium), Rung::Aac256);
        assert_eq!(start(&with_mtp(5000), Plan::Free), Rung::Aac128);
        assert_eq!(start(&Evidence::default(), Plan::Premium), Rung::Aac128);
        assert_eq!(start(&Evidence { save_data: true, ..with_mtp(5000) }, Plan::Premium), Rung::Aac64);
        assert_eq!(choose(&Evidence::default(), RungSet::NONE, all), None);
    }

    proptest! {
        #[test]
        fn never_above_plan_or_connection_and_monotone_in_bandwidth(a in 1u32..20_000, b in 1u32..20_000, free in any::<bool>(), save in any::<bool>()) {
            let plan = if free { Plan::Free } else { Plan::Premium };
            let all = RungSet::of(&Rung::ALL);
            let at = |kbps| choose(&Evidence { save_data: save, ..with_mtp(kbps) }, all, plan.rungs()).unwrap();
            let (low, high) = (at(a.min(b)), at(a.max(b)));
            prop_assert!(low.start <= high.start);
            prop_assert!(low.allowed.0.contains(low.start));
            for rung in low.allowed.0.iter() {
                prop_assert!(plan.rungs().contains(rung));
                prop_assert!(rung == Rung::Aac64 || rung.nominal_bps() / 1000 <= a.min(b));
            }
        }
    }
}
