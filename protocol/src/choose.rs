//! Bitrate choice: from evidence about the connection, the plan and the device to a rung to start on, with the reason a person can read.
//!
//! ```text
//! CMCD, client hints, request.cf ──► Evidence ──► estimate ──► allowed: what may be played     ──► playlist, token
//!                        plan, media version ──┘          └──► start: where our player begins  ──► manifest
//! ```
//!
//! A stock player decides for itself where to begin; for it `allowed` withholds what the connection cannot carry.
//!
//! The choice is a function of one bandwidth, so some bandwidth divides any two rungs and noise around it changes the choice. What can be
//! had is that noise never moves it by more than one rung: thresholds stand further apart (a factor of two) than +-10 % of noise reaches
//! (1.1/0.9 = 1.22). Finer steps or quantised bandwidths would only add thresholds.
//!
//! The headrooms below are what the simulator (`cargo xtask bench abr`) shows to be best; docs/performance.md has its table.

use std::fmt;

use serde::Serialize;

use crate::{Rung, RungSet, cmcd::Cmcd};

mod estimate;

#[cfg(test)]
mod tests;

use estimate::Estimate;

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
    /// Round trip between the listener and the edge, ms (client hint `RTT`, or the platform's own measurement:
    /// `request.cf.clientQuicRtt`, `clientTcpRtt`).
    pub round_trip_ms: Option<u32>,
    /// What the platform lately delivered to this client, kbit/s (`request.cf.edgeL4.deliveryRate`, which is in bytes a second).
    pub delivery_kbps: Option<u32>,
    /// What the device plays.
    pub codecs: Codecs,
}

/// The codecs a device plays; all of them where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codecs {
    /// AAC-LC.
    pub aac: bool,
    /// FLAC in fragmented MP4.
    pub flac: bool,
}

impl Default for Codecs {
    fn default() -> Self {
        Self { aac: true, flac: true }
    }
}

impl Codecs {
    /// Reads a list as `codecs=` has it, in the names of RFC 6381: `mp4a.40.2,flac`. Names of other codecs say nothing of ours; an empty
    /// list says nothing at all.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let named = |names: &[&str]| text.split(',').any(|name| names.iter().any(|ours| name.trim().eq_ignore_ascii_case(ours)));
        if text.trim().is_empty() { Self::default() } else { Self { aac: named(&["mp4a.40.2", "mp4a", "aac"]), flac: named(&["flac"]) } }
    }

    fn rungs(self) -> RungSet {
        let aac = if self.aac { RungSet::of(&Rung::LOSSY) } else { RungSet::NONE };
        if self.flac { aac.with(Rung::Flac) } else { aac }
    }
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
    /// Why, for a person and for the log: one sentence.
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

/// The largest rung to start on while nothing is in the buffer. The first segment of 256 kbit/s needs a round trip more of slow start
/// than that of 128, however fast the connection: 0.85 x stock hls.js to the first sound, where 128 has 0.54 to 0.67. It costs 2 s of
/// the song.
const QUICK_START: Rung = Rung::Aac128;
/// A rung starts only where the connection carries twice its rate: on 3G that is sooner heard than half as much again, at the same mean
/// quality.
const START_HEADROOM_PERCENT: u64 = 200;
/// A rung is offered at all only where the connection carries it. More room than this cost quality on 3G and saved no stall.
const ALLOW_HEADROOM_PERCENT: u64 = 110;
/// After the buffer ran dry a start wants three times its rung: what was measured did not hold.
const STARVED_HEADROOM_PERCENT: u64 = 300;
/// With two segments in the buffer (a play that is renewed, the next track asked for ahead) a start need not hurry.
const AMPLE_BUFFER_MS: u32 = 12_000;

/// Chooses among `available` (what the media version has) and `plan` (what is paid for).
///
/// `None` when the media version has no lossy rung that the plan allows and the device plays.
#[must_use]
pub fn choose(evidence: &Evidence, available: RungSet, plan: RungSet) -> Option<Choice> {
    let payable = available.intersect(plan).intersect(evidence.codecs.rungs());
    let lossy = payable.without(Rung::Flac);
    let smallest = lossy.iter().next()?;
    let estimate = Estimate::of(evidence);
    let ceiling = if evidence.save_data { smallest.max(Rung::Aac64) } else { Rung::Aac256 };
    let allowed = lossy
        .iter()
        .filter(|rung| *rung == smallest || (*rung <= ceiling && estimate.carries(*rung, ALLOW_HEADROOM_PERCENT)))
        .fold(RungSet::NONE, RungSet::with);
    let start = start(evidence, &estimate, allowed).unwrap_or(smallest);
    let lossless = payable.contains(Rung::Flac) && !evidence.save_data && estimate.carries(Rung::Flac, START_HEADROOM_PERCENT);
    Some(Choice { start, allowed: RungList(allowed), lossless, reason: reason(evidence, &estimate, start, allowed, plan) })
}

/// The largest rung of `allowed` that the connection carries with the room a start needs, or that plays already.
fn start(evidence: &Evidence, estimate: &Estimate, allowed: RungSet) -> Option<Rung> {
    let (ample, starved) = (evidence.cmcd.buffer_ms >= Some(AMPLE_BUFFER_MS), evidence.cmcd.starved);
    let headroom = match (starved, ample) {
        (true, _) => STARVED_HEADROOM_PERCENT,
        (false, true) => ALLOW_HEADROOM_PERCENT,
        (false, false) => START_HEADROOM_PERCENT,
    };
    // A play that is renewed keeps its rung: a change would be heard for nothing.
    let playing = if starved { None } else { evidence.cmcd.bitrate_kbps.and_then(Rung::playing_at) };
    let ceiling = if ample && !starved { estimate.guess } else { QUICK_START };
    let fits = |rung: Rung| rung <= ceiling && estimate.carries(rung, headroom);
    allowed.iter().rev().find(|rung| fits(*rung) || playing.is_some_and(|playing| *rung <= playing))
}

/// One sentence for a person.
fn reason(evidence: &Evidence, estimate: &Estimate, start: Rung, allowed: RungSet, plan: RungSet) -> String {
    let largest = allowed.iter().next_back().unwrap_or(start);
    let onward = match (start < largest, start < estimate.guess) {
        (true, true) => format!(", to sound at once, and may rise to {}", name(largest)),
        (true, false) => format!(" and may rise to {}", name(largest)),
        (false, _) => " and goes no higher".to_owned(),
    };
    let because = if evidence.save_data {
        "data saver is on".to_owned()
    } else if evidence.cmcd.starved {
        format!("the buffer just ran dry, and {}", estimate.said)
    } else if largest < Rung::Aac256 && !plan.contains(Rung::Aac256) && estimate.carries(Rung::Aac256, ALLOW_HEADROOM_PERCENT) {
        format!("the plan ends there, and {}", estimate.said)
    } else {
        estimate.said.to_string()
    };
    format!("Starts at {}{onward} because {because}.", name(start))
}

/// A rung as a person calls it.
fn name(rung: Rung) -> impl fmt::Display {
    match rung {
        Rung::Flac => "FLAC".to_owned(),
        aac => format!("AAC {} kbit/s", aac.nominal_bps() / 1000),
    }
}

impl Rung {
    /// The lossy rung an object of so many kbit/s belongs to; CMCD's `br` tells the peak, which is up to half above the nominal rate.
    fn playing_at(kbps: u32) -> Option<Self> {
        Self::LOSSY.into_iter().rev().find(|rung| rung.nominal_bps() / 1000 <= kbps)
    }
}
