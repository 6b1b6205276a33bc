//! From events to stretches of media that were heard, sender by sender.
//!
//! Our player says what it heard: an interval of media with each event. A stock player in CMCD event mode says what it *does*: at an instant
//! of its own clock it plays, or it does not. From two such reports in a row a stretch follows: it played from the one to the other.

use crate::{
    UnixMs,
    heartbeat::{Clock, EventKind},
};

/// One event as the rule sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Heard {
    /// The player instance.
    pub sender: String,
    /// Number within the sender.
    pub seq: u32,
    /// What happened.
    pub kind: EventKind,
    /// Media heard, `[from_ms, to_ms)`.
    pub from_ms: u32,
    /// Its end.
    pub to_ms: u32,
    /// What the player did at which instant, where it reports that instead.
    pub clock: Option<Clock>,
    /// The earliest receipt.
    pub received_at: UnixMs,
}

/// A claim that media was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from_ms: u32,
    pub(super) to_ms: u32,
    /// When the claim was complete.
    pub(super) received_at: UnixMs,
}

/// What one sender claims, from its events in `seq` order. Nothing lies beyond the track's end.
pub(super) fn stretches(events: &[&Heard], duration_ms: u32) -> Vec<Stretch> {
    let mut claims = Vec::with_capacity(events.len());
    let mut before: Option<(u32, Clock)> = None;
    // Where a player that gives no position has got to: what it played so far.
    let mut reached_ms = 0_u32;
    for heard in events {
        // A report that is missing between two may have said "paused": nothing is concluded across a gap.
        let known = before.filter(|(seq, _)| seq.checked_add(1) == Some(heard.seq));
        match (heard.clock, known) {
            (Some(now), Some((_, then))) if then.playing => {
                let from_ms = then.position_ms.unwrap_or(reached_ms);
                let played_ms = now.at_ms.saturating_sub(then.at_ms).max(0);
                let to_ms = u32::try_from(i64::from(from_ms).saturating_add(played_ms)).unwrap_or(u32::MAX);
                claims.push(Stretch { from_ms, to_ms, received_at: heard.received_at });
                reached_ms = to_ms.min(duration_ms);
            }
            (Some(_), _) => {}
            (None, _) => claims.push(Stretch { from_ms: heard.from_ms, to_ms: heard.to_ms, received_at: heard.received_at }),
        }
        before = match (heard.clock, known) {
            (Some(clock), _) => Some((heard.seq, clock)),
            // An event that says nothing of the player's state leaves it as it was.
            (None, Some((_, clock))) => Some((heard.seq, clock)),
            (None, None) => None,
        };
    }
    for claim in &mut claims {
        claim.from_ms = claim.from_ms.min(duration_ms);
        claim.to_ms = claim.to_ms.min(duration_ms);
    }
    claims
}
