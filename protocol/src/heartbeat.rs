//! From a player's post to the batch the origin merges: the shapes, their limits, and what is refused with which code.
//!
//! ```text
//! player ──PlayEventPost──► edge or gateway ──StoredPost──► buffer ──Batch──► collector
//! ```
//!
//! Which play and account an event belongs to comes from the ticket alone. A post is JSON, or CMCD in event mode (`cmcd::report`).

use serde::{Deserialize, Serialize};

use crate::{
    Problem, UnixMs,
    cmcd::report,
    ids::to_hex,
    query,
    receipt::{CHARS_MAX, RECEIPTS_MAX},
    tally::Report,
};

/// Events in one post.
pub const EVENTS_MAX: usize = 200;
/// Bytes of one post.
pub const POST_BYTES_MAX: usize = 64 * 1024;
/// Characters of a sender's name.
pub const SENDER_CHARS_MAX: usize = 64;
/// One event reports at most this much: a player that beats every 15 s and was asleep for an hour sends several.
const INTERVAL_MS_MAX: u32 = 600_000;
/// A player may overshoot the end by a frame, a rounding and its clock.
const OVERSHOOT_MS: u32 = 2_000;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Sound began.
    Start,
    /// Sound went on.
    Progress,
    /// The listener paused.
    Pause,
    /// The listener resumed.
    Resume,
    /// The listener jumped.
    Seek,
    /// The listener left.
    Stop,
    /// The track came to its end.
    End,
}

impl EventKind {
    /// The name in JSON and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Progress => "progress",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Seek => "seek",
            Self::Stop => "stop",
            Self::End => "end",
        }
    }

    /// The kind of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        use EventKind::{End, Pause, Progress, Resume, Seek, Start, Stop};
        [Start, Progress, Pause, Resume, Seek, Stop, End].into_iter().find(|kind| kind.name() == name)
    }

    /// Whether nothing is expected after it.
    #[must_use]
    pub const fn ends_play(self) -> bool {
        matches!(self, Self::Stop | Self::End)
    }
}

/// One event. `(play, sender, seq)` names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Number within the sender, from 0.
    pub seq: u32,
    /// What happened.
    pub kind: EventKind,
    /// The media heard since the sender's last event, `[from_ms, to_ms)`.
    pub from_ms: u32,
    /// Its end.
    pub to_ms: u32,
    /// Whether the sound was off.
    #[serde(default)]
    pub muted: bool,
    /// Whether the player was in the background.
    #[serde(default)]
    pub background: bool,
    /// What a player that reports its state instead of intervals did, and when. Only [`crate::cmcd::report`] makes it: a JSON post has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Clock>,
}

/// A player's state at an instant of its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// The player's clock, ms since 1970. Only differences of it are used.
    pub at_ms: i64,
    /// Whether media was playing from then on.
    pub playing: bool,
    /// Where in the track it was, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_ms: Option<u32>,
}

/// What makes two events of one name the same event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each field is the event's field of the same name")]
pub struct Content {
    pub kind: EventKind,
    pub from_ms: u32,
    pub to_ms: u32,
    pub muted: bool,
    pub background: bool,
    pub clock: Option<Clock>,
}

impl Event {
    /// The event of number `seq` with this content.
    #[must_use]
    pub const fn of(seq: u32, content: Content) -> Self {
        let Content { kind, from_ms, to_ms, muted, background, clock } = content;
        Self { seq, kind, from_ms, to_ms, muted, background, clock }
    }

    /// Why the event cannot be kept for a track of `duration_ms`.
    ///
    /// # Errors
    /// A stable code and what is wrong.
    pub fn check(&self, duration_ms: u32) -> Result<(), (&'static str, String)> {
        if self.from_ms > self.to_ms {
            return Err(("interval_reversed", format!("from_ms {} is after to_ms {}", self.from_ms, self.to_ms)));
        }
        if self.to_ms > duration_ms.saturating_add(OVERSHOOT_MS) {
            return Err(("interval_beyond_track", format!("to_ms {} is beyond the track's {duration_ms} ms", self.to_ms)));
        }
        if self.to_ms - self.from_ms > INTERVAL_MS_MAX {
            return Err(("interval_too_long", format!("one event reports at most {INTERVAL_MS_MAX} ms")));
        }
        Ok(())
    }

    /// The content that makes two events of one name the same event.
    #[must_use]
    pub const fn content(&self) -> Content {
        let Self { kind, from_ms, to_ms, muted, background, clock, .. } = *self;
        Content { kind, from_ms, to_ms, muted, background, clock }
    }
}

/// A post as it was read: good events, and the ones refused one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayEventPost {
    /// The ticket, unverified.
    pub ticket: String,
    /// The player instance.
    pub sender: String,
    /// Each event or why it was refused, in the order sent.
    pub events: Vec<Result<Event, Rejected>>,
    /// What the player echoes of segments it fetched ([`crate::receipt`]), unverified: whoever merges the post judges them.
    pub receipts: Vec<String>,
    /// What it sent for receipts and is not kept: a bad receipt costs nobody an event.
    pub receipts_dropped: usize,
    /// The sender goes on reporting that it has ended: it can be told to stop.
    pub over: bool,
}

/// An event that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Its place in `events`.
    pub index: usize,
    /// Stable code.
    pub code: String,
    /// What is wrong.
    pub detail: String,
}

/// The answer to a post.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PostAnswer {
    /// Events that are now durable.
    pub accepted: usize,
    /// Events that were durable already, as far as is known here.
    pub duplicate: usize,
    /// Events that will never be kept as they are.
    pub rejected: Vec<Rejected>,
    /// Receipts that were not kept: too many, too long, or not text.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub receipts_dropped: usize,
    /// `"elsewhere"` when the account plays on more devices than its plan allows and this one must stop.
    pub stop: Option<String>,
    /// While whoever keeps the events fills up: how often the player should beat, ms. Absent when it may beat as its manifest says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_every_ms: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl PlayEventPost {
    /// Reads a body of either kind. Of its type only CMCD is looked for: `sendBeacon` says text/plain, or nothing, for JSON. `query` is the
    /// request's query string, whose `ticket` authorises CMCD.
    ///
    /// # Errors
    /// As [`Self::parse`] and [`crate::cmcd::report::parse`].
    pub fn read(content_type: Option<&str>, query: Option<&str>, body: &[u8]) -> Result<Self, Problem> {
        let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case(report::CONTENT_TYPE) {
            report::parse(body, query::argument(query, "ticket").as_deref())
        } else {
            Self::parse(body)
        }
    }

    /// Reads a JSON body.
    ///
    /// # Errors
    /// 413 `body_too_large`, 400 `malformed_body` or `unknown_field`, 422 `too_many_events` or `bad_sender`: nothing of it is kept.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Body {
            ticket: String,
            sender: String,
            events: Vec<serde_json::Value>,
            #[serde(default)]
            receipts: serde_json::Value,
        }
        if body.len() > POST_BYTES_MAX {
            return Err(Problem::new(413, "body_too_large", format!("a post is at most {POST_BYTES_MAX} bytes")));
        }
        let body: Body = serde_json::from_slice(body).map_err(|error| {
            let text = error.to_string();
            let code = if text.starts_with("unknown field") { "unknown_field" } else { "malformed_body" };
            Problem::new(400, code, text)
        })?;
        if body.events.len() > EVENTS_MAX {
            return Err(Problem::new(422, "too_many_events", format!("a post has at most {EVENTS_MAX} events")));
        }
        let sender_is_good = (1..=SENDER_CHARS_MAX).contains(&body.sender.len()) && body.sender.bytes().all(|byte| byte.is_ascii_graphic());
        if !sender_is_good {
            return Err(Problem::new(422, "bad_sender", format!("sender is 1 to {SENDER_CHARS_MAX} printable ASCII characters")));
        }
        let event = |(index, value)| {
            let malformed = |detail| Rejected { index, code: "malformed_event".to_owned(), detail };
            let event: Event = serde_json::from_value(value).map_err(|error: serde_json::Error| malformed(error.to_string()))?;
            if event.clock.is_some() { Err(malformed("unknown field `clock`".to_owned())) } else { Ok(event) }
        };
        let events = body.events.into_iter().enumerate().map(event).collect();
        let (receipts, receipts_dropped) = readable(body.receipts);
        Ok(Self { ticket: body.ticket, sender: body.sender, events, receipts, receipts_dropped, over: false })
    }

    /// Splits into what is kept and what is refused, for a track of `duration_ms`.
    #[must_use]
    pub fn receive(self, duration_ms: u32, received_at: UnixMs) -> (StoredPost, Vec<Rejected>) {
        let mut kept = Vec::with_capacity(self.events.len());
        let mut rejected = Vec::new();
        for (index, event) in self.events.into_iter().enumerate() {
            let checked = event.and_then(|event| match event.check(duration_ms) {
                Ok(()) => Ok(event),
                Err((code, detail)) => Err(Rejected { index, code: code.to_owned(), detail }),
            });
            match checked {
                Ok(event) => kept.push(event),
                Err(refusal) => rejected.push(refusal),
            }
        }
        let Self { ticket, sender, receipts, .. } = self;
        (StoredPost { ticket, sender, received_at_ms: received_at, events: kept, receipts }, rejected)
    }
}

/// What may be receipts, and how many are not.
fn readable(sent: serde_json::Value) -> (Vec<String>, usize) {
    let sent = match sent {
        serde_json::Value::Null => Vec::new(),
        serde_json::Value::Array(sent) => sent,
        _ => return (Vec::new(), 1),
    };
    let count = sent.len();
    let text = |value| match value {
        serde_json::Value::String(text) if text.len() <= CHARS_MAX && text.bytes().all(|byte| byte.is_ascii_graphic()) => Some(text),
        _ => None,
    };
    let kept: Vec<String> = sent.into_iter().filter_map(text).take(RECEIPTS_MAX).collect();
    let dropped = count - kept.len();
    (kept, dropped)
}

/// A post as a buffer keeps it: one row, stamped with its receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredPost {
    /// The ticket; the collector verifies it again.
    pub ticket: String,
    /// The player instance.
    pub sender: String,
    /// When it was received, by the receiver's clock.
    pub received_at_ms: UnixMs,
    /// Its events.
    pub events: Vec<Event>,
    /// Its receipts, as they were sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipts: Vec<String>,
}

impl StoredPost {
    /// Whether nothing of it needs to be kept.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty() && self.receipts.is_empty()
    }
}

/// What a buffer sends: frozen before it is first sent, so that every attempt has the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The buffer's name.
    pub buffer: String,
    /// Random, made once with the buffer's storage: a buffer that lost its storage is another one.
    pub epoch: String,
    /// From 1 within the epoch, without gaps.
    pub number: u64,
    /// When it was frozen.
    pub frozen_at_ms: UnixMs,
    /// The posts.
    pub posts: Vec<StoredPost>,
    /// What the buffer counted itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
}

impl Batch {
    /// Events in it.
    #[must_use]
    pub fn events(&self) -> usize {
        self.posts.iter().map(|post| post.events.len()).sum()
    }

    /// SHA-256 of the batch's bytes, hex.
    #[must_use]
    pub fn digest(bytes: &[u8]) -> String {
        use sha2::Digest as _;
        to_hex(&sha2::Sha256::digest(bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bad_event_is_refused_alone() {
        let body = br#"{"ticket":"t","sender":"s","events":[
            {"seq":0,"kind":"start","from_ms":0,"to_ms":0},
            {"seq":1,"kind":"progress","from_ms":9,"to_ms":3},
            {"seq":2,"kind":"dance","from_ms":0,"to_ms":3},
            {"seq":3,"kind":"progress","from_ms":0,"to_ms":99999},
            {"seq":4,"kind":"progress","from_ms":0,"to_ms":3,"loud":true},
            {"seq":5,"kind":"progress","from_ms":0,"to_ms":3,"clock":{"at_ms":1,"playing":true}}]}"#;
        let (kept, rejected) = PlayEventPost::parse(body).unwrap().receive(10_000, UnixMs(5));
        assert_eq!(kept.events.len(), 1);
        let codes: Vec<_> = rejected.iter().map(|refusal| (refusal.index, refusal.code.as_str())).collect();
        assert_eq!(
            codes,
            [
                (1, "interval_reversed"),
                (2, "malformed_event"),
                (3, "interval_beyond_track"),
                (4, "malformed_event"),
                (5, "malformed_event")
            ]
        );
    }

    #[test]
    fn receipts_are_bounded_and_a_bad_one_costs_no_event() {
        let event = r#"{"seq":0,"kind":"start","from_ms":0,"to_ms":0}"#;
        let read = |receipts: &str| {
            let body = format!(r#"{{"ticket":"t","sender":"s","events":[{event}],"receipts":{receipts}}}"#);
            let post = PlayEventPost::parse(body.as_bytes()).unwrap();
            let dropped = post.receipts_dropped;
            let (kept, rejected) = post.receive(10_000, UnixMs(5));
            assert_eq!((kept.events.len(), rejected.len()), (1, 0), "{receipts}");
            (kept.receipts, dropped)
        };
        let long = "x".repeat(CHARS_MAX + 1);
        assert_eq!(read(r#"["1.1.0.0.2000.aaaaaaaaaaaaaaaa","anything"]"#).0.len(), 2);
        assert_eq!(read(&format!(r#"["good",7,null,["x"],"sp ace","","{long}"]"#)), (vec!["good".to_owned(), String::new()], 5));
        assert_eq!(read("null"), (vec![], 0));
        assert_eq!(read(r#"{"a":1}"#), (vec![], 1));
        let many = serde_json::to_string(&vec!["r"; RECEIPTS_MAX + 3]).unwrap();
        assert_eq!(read(&many), (vec!["r".to_owned(); RECEIPTS_MAX], 3));
    }

    #[test]
    fn a_post_without_receipts_is_stored_as_before_there_were_any() {
        let stored = r#"{"ticket":"t","sender":"s","received_at_ms":5,"events":[]}"#;
        let post: StoredPost = serde_json::from_str(stored).unwrap();
        assert!(post.is_empty());
        assert_eq!(serde_json::to_string(&post).unwrap(), stored);
    }

    #[test]
    fn a_post_that_cannot_be_read_is_refused_whole() {
        let code = |body: &[u8]| PlayEventPost::parse(body).unwrap_err().code;
        assert_eq!(code(b"{"), "malformed_body");
        assert_eq!(code(br#"{"ticket":"t","sender":"s","events":[],"extra":1}"#), "unknown_field");
        assert_eq!(code(br#"{"ticket":"t","sender":"","events":[]}"#), "bad_sender");
        assert_eq!(code(&vec![b' '; POST_BYTES_MAX + 1]), "body_too_large");
        let many = format!(r#"{{"ticket":"t","sender":"s","events":[{}]}}"#, vec!["1"; EVENTS_MAX + 1].join(","));
        assert_eq!(code(many.as_bytes()), "too_many_events");
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = PlayEventPost::parse(&body);
        }
    }
}
