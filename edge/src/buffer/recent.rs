//! Events this instance has acknowledged lately, so that a player's retry is answered `duplicate` without being stored again. Only an
//! optimisation: the origin's merge is what counts an event once.

use std::collections::{HashMap, VecDeque};

use protocol::{PlayId, heartbeat::Event};

/// Senders remembered; beyond it all are forgotten, which costs nothing but the optimisation.
const SENDERS_MAX: usize = 4_096;
/// Events remembered of each.
const EVENTS_MAX: usize = 64;

/// What is known of an event's name, `(play, sender, seq)`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: it is kept.
    New,
    /// Kept already.
    Duplicate,
    /// The name stands for other content.
    Conflict,
}

/// The memory.
#[derive(Default)]
pub(crate) struct Recent {
    senders: HashMap<PlayId, HashMap<String, VecDeque<Event>>>,
    count: usize,
}

impl Recent {
    /// Judges `event` by what was kept before and by `fresh`, the earlier events of its own post.
    pub(crate) fn judge(&self, play: PlayId, sender: &str, fresh: &[Event], event: &Event) -> Verdict {
        let before = self.senders.get(&play).and_then(|senders| senders.get(sender)).into_iter().flatten();
        match fresh.iter().chain(before).find(|known| known.seq == event.seq) {
            None => Verdict::New,
            Some(known) if known.content() == event.content() => Verdict::Duplicate,
            Some(_) => Verdict::Conflict,
        }
    }

    /// Notes that `events` are durable.
    pub(crate) fn remember(&mut self, play: PlayId, sender: String, events: Vec<Event>) {
        if self.count >= SENDERS_MAX {
            self.senders.clear();
            self.count = 0;
        }
        let senders = self.senders.entry(play).or_default();
        if !senders.contains_key(&sender) {
            self.count += 1;
        }
        let known = senders.entry(sender).or_default();
        known.extend(events);
        let surplus = known.len().saturating_sub(EVENTS_MAX);
        known.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use protocol::{UnixMs, heartbeat::EventKind};

    use super::*;

    fn event(seq: u32, to_ms: u32) -> Event {
        Event { seq, kind: EventKind::Progress, from_ms: 0, to_ms, muted: false, background: false, clock: None }
    }

    #[test]
    fn a_name_stands_for_one_content() {
        let (mut recent, play) = (Recent::default(), PlayId::v7(UnixMs(1), [0; 10]));
        assert_eq!(recent.judge(play, "a", &[], &event(1, 5)), Verdict::New);
        recent.remember(play, "a".to_owned(), vec![event(1, 5)]);
        assert_eq!(recent.judge(play, "a", &[], &event(1, 5)), Verdict::Duplicate);
        assert_eq!(recent.judge(play, "a", &[], &event(1, 6)), Verdict::Conflict);
        assert_eq!(recent.judge(play, "b", &[], &event(1, 6)), Verdict::New);
        assert_eq!(recent.judge(play, "b", &[event(1, 6)], &event(1, 7)), Verdict::Conflict);
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent = Recent::default();
        for n in 0..10_000u32 {
            recent.remember(PlayId::v7(UnixMs(n.into()), [0; 10]), "s".to_owned(), (0..100).map(|seq| event(seq, 1)).collect());
        }
        assert!(recent.senders.len() <= SENDERS_MAX);
        assert!(recent.senders.values().flat_map(HashMap::values).all(|events| events.len() <= EVENTS_MAX));
    }
}
