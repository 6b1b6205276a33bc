//! What must hold of any body: it is refused with a known status and code, or what is kept of it is fit for all that comes after.

use std::collections::BTreeMap;

use protocol::{
    PlayId, Problem, UnixMs,
    cmcd::{Cmcd, Strings},
    heartbeat::{EVENTS_MAX, Event, POST_BYTES_MAX, PlayEventPost, Rejected, SENDER_CHARS_MAX, StoredPost},
    listen::{Heard, PlayEvidence, Uncorroborated, fold},
    receipt::{self, Proven},
};

use super::{Kind, common::Dice};

pub(super) const DURATION_MS: u32 = 200_000;
pub(super) const NOW: UnixMs = UnixMs(1_795_583_300_000);
/// The play began so long before.
const SINCE_MINT_MS: i64 = 40_000;
/// What a play may be credited by then: 1.05 times that, and 2 s.
const CREDIT_MS_MAX: u32 = 44_000;
/// As `protocol::heartbeat` has them.
const INTERVAL_MS_MAX: u32 = 600_000;
const OVERSHOOT_MS: u32 = 2_000;

const REFUSALS: [(u16, &str); 6] = [
    (400, "malformed_body"),
    (400, "unknown_field"),
    (401, "ticket_invalid"),
    (413, "body_too_large"),
    (422, "too_many_events"),
    (422, "bad_sender"),
];
const REJECTIONS: [&str; 5] = ["malformed_event", "malformed_record", "interval_reversed", "interval_beyond_track", "interval_too_long"];

/// How often what came.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    pub(super) bodies: u64,
    pub(super) json_refused: u64,
    pub(super) json_kept: u64,
    pub(super) json_rejected: u64,
    pub(super) cmcd_refused: u64,
    pub(super) cmcd_kept: u64,
    pub(super) cmcd_rejected: u64,
    pub(super) credited: u64,
}

impl Seen {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            bodies: self.bodies + other.bodies,
            json_refused: self.json_refused + other.json_refused,
            json_kept: self.json_kept + other.json_kept,
            json_rejected: self.json_rejected + other.json_rejected,
            cmcd_refused: self.cmcd_refused + other.cmcd_refused,
            cmcd_kept: self.cmcd_kept + other.cmcd_kept,
            cmcd_rejected: self.cmcd_rejected + other.cmcd_rejected,
            credited: self.credited + other.credited,
        }
    }

    fn note(&mut self, kind: Kind, refused: bool, kept: bool, rejected: bool) {
        let (refusals, keeps, rejections) = match kind {
            Kind::Json => (&mut self.json_refused, &mut self.json_kept, &mut self.json_rejected),
            Kind::Cmcd => (&mut self.cmcd_refused, &mut self.cmcd_kept, &mut self.cmcd_rejected),
        };
        self.bodies += 1;
        *refusals += u64::from(refused);
        *keeps += u64::from(kept);
        *rejections += u64::from(rejected);
    }
}

/// Reads a body as edge and gateway do.
pub(super) fn read(kind: Kind, body: &[u8]) -> Result<PlayEventPost, Problem> {
    match kind {
        Kind::Json => PlayEventPost::read(Some("application/json"), None, body),
        Kind::Cmcd => PlayEventPost::read(Some("application/cmcd"), Some("ticket=TICKET"), body),
    }
}

/// Holds what is made of `body` to every promise.
///
/// # Panics
/// When one is broken.
pub(super) fn hold(kind: Kind, body: &[u8], dice: &mut Dice, seen: &mut Seen) {
    // The same text may stand in a header or a query argument, where bitrate choice and prefetching read it.
    if kind == Kind::Cmcd && dice.below(4) == 0 {
        let text = String::from_utf8_lossy(body);
        let _ = Cmcd::default().with(&text);
        let _ = Strings::of(&text);
    }
    let post = match read(kind, body) {
        Ok(post) => post,
        Err(problem) => {
            assert!(REFUSALS.contains(&(problem.status, problem.code)), "{problem:?}");
            assert_eq!(body.len() > POST_BYTES_MAX, problem.code == "body_too_large");
            seen.note(kind, true, false, false);
            return;
        }
    };
    assert!(
        (1..=SENDER_CHARS_MAX).contains(&post.sender.len()) && post.sender.bytes().all(|byte| byte.is_ascii_graphic()),
        "{}",
        post.sender
    );
    assert!(kind == Kind::Cmcd || !post.over);
    let (sent, dropped) = (post.events.len(), post.receipts_dropped);
    let (kept, rejected) = post.receive(DURATION_MS, NOW);
    assert_eq!(sent, kept.events.len() + rejected.len());
    assert!(kept.events.len() <= EVENTS_MAX);
    kept.events.iter().for_each(|event| fits(kind, event));
    told_by_name(sent, &rejected);
    assert!(kept.receipts.len() <= receipt::RECEIPTS_MAX && kept.receipts.iter().all(|text| text.len() <= receipt::CHARS_MAX));
    assert!(dropped == 0 || kind == Kind::Json);
    seen.note(kind, false, !kept.events.is_empty(), !rejected.is_empty());
    // Most of the time of an attempt, so not of every one.
    if dice.below(4) == 0 {
        arrives_as_it_left(&kept);
        seen.credited += 4 * u64::from(is_credited_no_more_than_time_allows(&kept));
    }
}

fn fits(kind: Kind, event: &Event) {
    let Event { from_ms, to_ms, clock, .. } = event;
    assert!(from_ms <= to_ms && *to_ms <= DURATION_MS + OVERSHOOT_MS && to_ms - from_ms <= INTERVAL_MS_MAX, "{event:?}");
    match kind {
        Kind::Json => assert_eq!(*clock, None),
        Kind::Cmcd => assert_eq!((*from_ms, *to_ms), (0, 0)),
    }
}

fn told_by_name(sent: usize, rejected: &[Rejected]) {
    assert!(rejected.is_sorted_by(|one, next| one.index < next.index) && rejected.iter().all(|refusal| refusal.index < sent));
    for refusal in rejected {
        assert!(REJECTIONS.contains(&refusal.code.as_str()) && !refusal.detail.is_empty(), "{refusal:?}");
    }
}

/// A buffer writes what it keeps as JSON, and the collector reads it.
fn arrives_as_it_left(kept: &StoredPost) {
    let written = serde_json::to_string(kept).unwrap();
    assert_eq!(serde_json::from_str::<StoredPost>(&written).unwrap(), *kept, "{written}");
}

/// Whether the listen rule credits anything; whatever the events say, no more than the track has and time allows.
fn is_credited_no_more_than_time_allows(kept: &StoredPost) -> bool {
    let mut by_seq = BTreeMap::new();
    for event in &kept.events {
        by_seq.entry(event.seq).or_insert(event);
    }
    let heard = |event: &Event| Heard {
        sender: kept.sender.clone(),
        seq: event.seq,
        kind: event.kind,
        from_ms: event.from_ms,
        to_ms: event.to_ms,
        clock: event.clock,
        received_at: NOW,
    };
    let evidence = PlayEvidence {
        play: PlayId::v7(NOW.plus_ms(-SINCE_MINT_MS), [1; 10]),
        duration_ms: DURATION_MS,
        events: by_seq.into_values().map(heard).collect(),
        proven: Proven::default(),
    };
    let listens = fold(&[evidence], Uncorroborated::Count);
    assert!(listens[0].played_ms <= CREDIT_MS_MAX, "{listens:?}");
    listens[0].played_ms > 0
}
