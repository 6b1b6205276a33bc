//! CMCD in event mode (CTA-5004-B): what a stock player posts by itself, read as heartbeats.
//!
//! ```text
//! cid="<event ticket>",e=ps,sid="...",sn=4,sta=p,ts=1795556280000,v=2
//! ```
//! One record a line. `(sid, sn)` is the name that makes a repeated record harmless; `sta` and `ts` say what the player did when, and `pt` where.
//! What was heard between two records the listen rule concludes, since records arrive in any order and some never.
//!
//! A stock player throws a batch away on any 4xx, so a record that cannot be read costs only itself: it is told in `rejected` and counted, and
//! the answer stays 2xx. Only a body that nobody has a right to send, or that is too large to look at, is refused whole.

use super::{
    TEXT_BYTES_MAX, VERSION_MAX,
    members::{Bare, Member, Members},
};
use crate::{
    Problem,
    heartbeat::{Clock, Content, EVENTS_MAX, Event, EventKind, POST_BYTES_MAX, PlayEventPost, Rejected, SENDER_CHARS_MAX},
    token::TOKEN_CHARS,
};

/// The media type of a report.
pub const CONTENT_TYPE: &str = "application/cmcd";

/// Reads a report. `ticket` is the request's `ticket` argument, which comes before any `cid`.
///
/// # Errors
/// 413 `body_too_large`; 401 `ticket_invalid` when nothing names a ticket.
pub fn parse(body: &[u8], ticket: Option<&str>) -> Result<PlayEventPost, Problem> {
    if body.len() > POST_BYTES_MAX {
        return Err(Problem::new(413, "body_too_large", format!("a report is at most {POST_BYTES_MAX} bytes")));
    }
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let records: Vec<Result<Record<'_>, &'static str>> = lines.enumerate().map(|(index, line)| Record::of(index, line)).collect();
    let good = || records.iter().filter_map(|record| record.as_ref().ok());
    let ticket = ticket.or_else(|| good().find_map(|record| record.ticket)).map(str::to_owned);
    let ticket =
        ticket.ok_or_else(|| Problem::new(401, "ticket_invalid", "a report names its event ticket: `?ticket=`, or `cid` in a record"))?;
    // One player session reports at a time; the first names the sender.
    let sender = good().find_map(|record| record.session).unwrap_or("cmcd").to_owned();
    let over = good().next().is_some() && good().all(|record| record.goes_on_being_over);
    let event = |(index, record): (usize, &Result<Record<'_>, &'static str>)| {
        let refuse = |detail: &str| Rejected { index, code: "malformed_record".to_owned(), detail: detail.to_owned() };
        let record = record.as_ref().map_err(|detail| refuse(detail))?;
        record.event(&ticket, &sender).map_err(refuse)
    };
    let events = records.iter().enumerate().map(event).collect();
    Ok(PlayEventPost { ticket, sender, events, receipts: Vec::new(), receipts_dropped: 0, over })
}

/// One line.
#[derive(Default)]
struct Record<'a> {
    ticket: Option<&'a str>,
    session: Option<&'a str>,
    number: Option<i64>,
    event: Option<&'a str>,
    state: Option<&'a str>,
    at_ms: Option<i64>,
    position_ms: Option<i64>,
    background: bool,
    goes_on_being_over: bool,
}

impl<'a> Record<'a> {
    fn of(index: usize, line: &'a [u8]) -> Result<Self, &'static str> {
        if index >= EVENTS_MAX {
            return Err("a report has at most 200 records");
        }
        let text = std::str::from_utf8(line).map_err(|_| "the record is not UTF-8")?;
        if text.len() > TEXT_BYTES_MAX {
            return Err("a record is at most 4096 bytes");
        }
        let mut record = Self::default();
        for member in Members::of(text) {
            record.take(&member)?;
        }
        record.goes_on_being_over = record.event == Some("t") && record.state.is_some_and(|state| matches!(state, "e" | "f" | "q"));
        Ok(record)
    }

    fn take(&mut self, member: &Member<'a>) -> Result<(), &'static str> {
        let bare = member.one();
        let text = || bare.and_then(Bare::text);
        let integer = || bare.and_then(Bare::integer);
        match member.key {
            "v" if integer().is_none_or(|version| version > i64::from(VERSION_MAX)) => {
                return Err("this version of CMCD is not understood");
            }
            // A ticket is base64url: nothing in it needs an escape, and what has one is no ticket.
            "cid" => self.ticket = text().filter(|text| text.len() == TOKEN_CHARS),
            "sid" => self.session = text().filter(|text| is_session(text)),
            "sn" => self.number = integer(),
            "e" => self.event = bare.and_then(Bare::token),
            "sta" => self.state = bare.and_then(Bare::token),
            "ts" => self.at_ms = integer(),
            "pt" => self.position_ms = integer(),
            "bg" => self.background = bare.and_then(Bare::boolean).unwrap_or(false),
            _ => {}
        }
        Ok(())
    }

    fn event(&self, ticket: &str, sender: &str) -> Result<Event, &'static str> {
        if self.ticket.is_some_and(|own| own != ticket) {
            return Err("the record names another ticket than the report");
        }
        if self.session.ok_or("the record has no usable `sid`")? != sender {
            return Err("the record is of another session than the report");
        }
        let seq = self.number.and_then(|number| u32::try_from(number).ok()).ok_or("`sn` is not a number from 0 to 4294967295")?;
        let event = self.event.ok_or("the record has no `e`")?;
        let at_ms = self.at_ms.ok_or("the record has no `ts`")?;
        let position_ms = self.position_ms.and_then(|position| u32::try_from(position).ok());
        // The `ts` of a received response is when its request began: no instant of the player's state.
        let state = self.state.filter(|_| event != "rr");
        let clock = state.map(|state| Clock { at_ms, playing: state == "p", position_ms });
        let content = Content { kind: kind(state), from_ms: 0, to_ms: 0, muted: false, background: self.background, clock };
        Ok(Event::of(seq, content))
    }
}

fn is_session(text: &str) -> bool {
    (1..=SENDER_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// The nearest kind of ours to a player state: starting, playing, seeking, rebuffering, paused, waiting, ended, fatal error, quit, preloading.
fn kind(state: Option<&str>) -> EventKind {
    match state {
        Some("s") => EventKind::Start,
        Some("k") => EventKind::Seek,
        Some("a") => EventKind::Pause,
        Some("e") => EventKind::End,
        Some("f" | "q") => EventKind::Stop,
        _ => EventKind::Progress,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::UnixMs;

    fn ticket() -> String {
        "A".repeat(TOKEN_CHARS)
    }

    fn parsed(lines: &[String], argument: Option<&str>) -> PlayEventPost {
        parse(lines.join("\n").as_bytes(), argument).unwrap()
    }

    fn record(rest: &str) -> String {
        format!("cid=\"{}\",sid=\"s-1\",v=2,{rest}", ticket())
    }

    #[test]
    fn records_become_events_with_the_players_clock() {
        // As hls.js 1.7 writes them: keys in order, a line feed at the end.
        let lines = [
            record("e=ps,sf=h,sn=0,sta=s,ts=1795556280000"),
            record("e=ps,sn=1,sta=p,ts=1795556280500,mtp=(25400),bl=(0)"),
            record("e=rr,sn=2,sta=p,ts=1795556279000,rc=200,url=\"https://a.example/x,y\""),
            record("e=t,sn=3,sta=p,ts=1795556310500,pt=30000,bg"),
            record("e=ps,sn=4,sta=e,ts=1795556320500"),
            String::new(),
        ];
        let post = parsed(&lines, None);
        assert_eq!((post.ticket.as_str(), post.sender.as_str(), post.over), (ticket().as_str(), "s-1", false));
        let events: Vec<Event> = post.events.into_iter().map(Result::unwrap).collect();
        let clock = |at_ms, playing, position_ms| Some(Clock { at_ms, playing, position_ms });
        let seen: Vec<_> = events.iter().map(|event| (event.seq, event.kind, event.clock, event.background)).collect();
        let expected = [
            (0, EventKind::Start, clock(1_795_556_280_000, false, None), false),
            (1, EventKind::Progress, clock(1_795_556_280_500, true, None), false),
            (2, EventKind::Progress, None, false),
            (3, EventKind::Progress, clock(1_795_556_310_500, true, Some(30_000)), true),
            (4, EventKind::End, clock(1_795_556_320_500, false, None), false),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_bad_record_costs_only_itself() {
        let lines = [
            record("e=ps,sn=0,sta=p,ts=1"),
            "nonsense".to_owned(),
            record("e=ps,sn=-1,sta=p,ts=1"),
            record("sn=1,sta=p,ts=1"),
            record("e=t,sn=2,sta=p"),
            record("e=t,sn=3,sta=p,ts=1").replace("s-1", "s-2"),
            record("e=t,sn=4,sta=p,ts=1").replace("AAAA\"", "AAAB\""),
            record("e=t,sn=5,sta=p,ts=1").replace("v=2", "v=3"),
            record("e=t,sn=6,sta=p,ts=2"),
        ];
        let (kept, rejected) = parsed(&lines, None).receive(1000, UnixMs(5));
        assert_eq!(kept.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [0, 6]);
        assert_eq!(rejected.iter().map(|refusal| refusal.index).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
        assert!(rejected.iter().all(|refusal| refusal.code == "malformed_record"));
    }

    #[test]
    fn the_ticket_comes_from_the_address_or_from_a_record() {
        let line = "e=ps,sid=\"s\",sn=0,sta=p,ts=1,v=2".to_owned();
        assert_eq!(parsed(std::slice::from_ref(&line), Some("T")).ticket, "T");
        assert_eq!(parse(line.as_bytes(), None).unwrap_err().code, "ticket_invalid");
        assert_eq!(parse(&vec![b'a'; POST_BYTES_MAX + 1], Some("T")).unwrap_err().code, "body_too_large");
    }

    #[test]
    fn a_player_that_only_repeats_that_it_ended_may_be_silenced() {
        let over = |lines: &[&str]| parsed(&lines.iter().map(|line| record(line)).collect::<Vec<_>>(), None).over;
        assert!(over(&["e=t,sn=9,sta=e,ts=1", "e=t,sn=10,sta=e,ts=2"]));
        assert!(!over(&["e=ps,sn=9,sta=e,ts=1"]));
        assert!(!over(&["e=t,sn=9,sta=e,ts=1", "e=ps,sn=10,sta=p,ts=2"]));
        assert!(!over(&["e=t,sn=9,sta=p,ts=1"]));
    }

    #[test]
    fn what_is_beyond_the_limit_is_refused_alone() {
        let lines: Vec<String> = (0..EVENTS_MAX + 3).map(|sn| format!("e=t,sid=\"s\",sn={sn},sta=p,ts={sn},v=2")).collect();
        let (kept, rejected) = parsed(&lines, Some("T")).receive(1000, UnixMs(5));
        assert_eq!((kept.events.len(), rejected.len()), (EVENTS_MAX, 3));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&body, Some("T"));
        }

        #[test]
        fn no_altered_record_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut body = record("e=t,sn=3,sta=p,ts=1795556310500,pt=30000,bg,nor=(\"a\")").into_bytes();
            let at = at.index(body.len());
            body[at] = byte;
            let _ = parse(&body, Some("T"));
        }
    }
}
