//! From many kinds of evidence to one bandwidth: which of them is believed, and what is said of it to a person.

use std::fmt;

use super::{EffectiveType, Evidence};
use crate::Rung;

/// Above this round trip a connection without better evidence is taken for a slow one.
const SLOW_ROUND_TRIP_MS: u32 = 400;
/// The upper downlink bounds of the Network Information API's table of effective types, kbit/s. Above the last begins 4g.
const SLOW_2G_KBPS: u32 = 50;
const TWO_G_KBPS: u32 = 70;
const THREE_G_KBPS: u32 = 700;
/// CMCD rounds `mtp` to 100 kbit/s, so zero is what is left of anything below this.
const ROUNDED_TO_ZERO_KBPS: u32 = 50;
/// Where nothing tells how much the connection carries, the middle of the ladder is the better guess: one quick step up costs less than
/// a stall.
const GUESS: Rung = Rung::Aac128;

/// What the connection is taken to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Estimate {
    /// Not more than this, kbit/s; `None` when no bound is known.
    limit_kbps: Option<u32>,
    /// No start above this rung.
    pub(super) guess: Rung,
    /// The evidence in words.
    pub(super) said: Said,
}

impl Estimate {
    /// The best evidence wins: what the player measured, then what the browser estimates, then its class, then what the platform saw.
    pub(super) fn of(evidence: &Evidence) -> Self {
        let believed = believed(evidence);
        // `rtp` asks for no more than so much. `tb` is not taken for a bound: it repeats what an earlier playlist offered, so that one
        // slow minute would bind a listener for good.
        match evidence.cmcd.requested_max_kbps.filter(|kbps| *kbps > 0) {
            Some(asked) if believed.limit_kbps.is_none_or(|limit| asked < limit) => {
                Self { limit_kbps: Some(asked), said: Said::Requested(asked), ..believed }
            }
            _ => believed,
        }
    }

    /// Whether the connection carries `rung` when it needs `percent` of its rate.
    pub(super) fn carries(&self, rung: Rung, percent: u64) -> bool {
        self.limit_kbps.is_none_or(|kbps| u64::from(rung.nominal_bps()) * percent <= u64::from(kbps) * 1000 * 100)
    }
}

fn believed(evidence: &Evidence) -> Estimate {
    let measured = |kbps: u32, said| Estimate { limit_kbps: Some(kbps), guess: Rung::Aac256, said };
    let at_most = |kbps, said| Estimate { limit_kbps: Some(kbps), guess: GUESS, said };
    // A class or a delivery rate tells what the connection carries at the least; a small answer cannot show more.
    let at_least = |said| Estimate { limit_kbps: None, guess: Rung::Aac256, said };

    if let Some(kbps) = evidence.cmcd.measured_kbps {
        return measured(kbps.max(ROUNDED_TO_ZERO_KBPS), Said::Measured(kbps));
    }
    if let Some(kbps) = evidence.downlink_kbps.filter(|kbps| *kbps > 0) {
        return measured(kbps, Said::Downlink(kbps));
    }
    match evidence.effective_type {
        Some(EffectiveType::Slow2g) => return at_most(SLOW_2G_KBPS, Said::Class("slow-2g")),
        Some(EffectiveType::TwoG) => return at_most(TWO_G_KBPS, Said::Class("2g")),
        Some(EffectiveType::ThreeG) => return at_most(THREE_G_KBPS, Said::Class("3g")),
        Some(EffectiveType::FourG) => return at_least(Said::Class("4g")),
        None => {}
    }
    match (evidence.delivery_kbps, evidence.round_trip_ms) {
        (Some(kbps), _) if kbps >= THREE_G_KBPS => at_least(Said::Delivered(kbps)),
        (_, Some(ms)) if ms > SLOW_ROUND_TRIP_MS => at_most(THREE_G_KBPS, Said::LongRoundTrip(ms)),
        _ => Estimate { limit_kbps: None, guess: GUESS, said: Said::Nothing },
    }
}

/// The evidence an estimate rests on. Its words follow "because".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Measured(u32),
    Downlink(u32),
    Class(&'static str),
    Delivered(u32),
    LongRoundTrip(u32),
    Requested(u32),
    Nothing,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured(0) => write!(f, "the player measured less than {ROUNDED_TO_ZERO_KBPS} kbit/s (CMCD mtp)"),
            Self::Measured(kbps) => write!(f, "the player measured {kbps} kbit/s (CMCD mtp)"),
            Self::Downlink(kbps) => write!(f, "the browser estimates {kbps} kbit/s"),
            Self::Class(class) => write!(f, "the browser calls the connection {class}"),
            Self::Delivered(kbps) => write!(f, "the edge delivered {kbps} kbit/s to this listener just before"),
            Self::LongRoundTrip(ms) => write!(f, "a round trip takes {ms} ms"),
            Self::Requested(kbps) => write!(f, "the player asked for no more than {kbps} kbit/s (CMCD rtp)"),
            Self::Nothing => f.write_str("nothing is known of the connection"),
        }
    }
}
