//! Which plays of an account beat now, so that a plan's limit on simultaneous streams can be answered (`"stop": "elsewhere"`). Never on
//! the manifest path, and never a reason to refuse an event: the older play is only told to stop.

use std::collections::{BTreeMap, HashMap};

use protocol::{PlayId, UnixMs};

/// A play that has not beaten for three heartbeats is over.
const SILENT_MS_MAX: i64 = 45_000;
/// Accounts kept before those that fell silent are dropped.
const ACCOUNTS_MAX: usize = 20_000;

/// The plays that beat.
#[derive(Default)]
pub(crate) struct Streams {
    accounts: HashMap<String, BTreeMap<PlayId, UnixMs>>,
}

impl Streams {
    /// Notes a beat of `play` (or, when not `beats`, its pause or end). Answers whether `limit` newer plays of the account beat too.
    pub(crate) fn beat(&mut self, account: &str, play: PlayId, limit: usize, beats: bool, now: UnixMs) -> bool {
        let lively = |at: &UnixMs| now.since(*at) <= SILENT_MS_MAX;
        if self.accounts.len() >= ACCOUNTS_MAX && !self.accounts.contains_key(account) {
            self.accounts.retain(|_, plays| plays.values().any(lively));
            if self.accounts.len() >= ACCOUNTS_MAX {
                return false;
            }
        }
        let plays = self.accounts.entry(account.to_owned()).or_default();
        plays.retain(|_, at| lively(at));
        if beats {
            plays.insert(play, now);
        } else {
            plays.remove(&play);
        }
        // Ids are UUIDv7: their order is the order in which the plays were minted.
        let newer = plays.keys().filter(|other| **other > play).count();
        let stop = beats && newer >= limit.max(1);
        if plays.is_empty() {
            self.accounts.remove(account);
        }
        stop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_play_is_told_to_stop_while_the_newer_beats() {
        let mut streams = Streams::default();
        let (old, new) = (PlayId::v7(UnixMs(1_000), [0; 10]), PlayId::v7(UnixMs(2_000), [0; 10]));
        assert!(!streams.beat("a", old, 1, true, UnixMs(3_000)));
        assert!(!streams.beat("a", new, 1, true, UnixMs(4_000)));
        assert!(streams.beat("a", old, 1, true, UnixMs(5_000)));
        assert!(!streams.beat("a", new, 1, true, UnixMs(6_000)));
        assert!(!streams.beat("b", old, 1, true, UnixMs(6_000)), "another account");
        assert!(!streams.beat("a", new, 1, false, UnixMs(7_000)), "the newer pauses");
        assert!(!streams.beat("a", old, 1, true, UnixMs(8_000)));
        assert!(!streams.beat("a", new, 1, true, UnixMs(9_000)));
        assert!(!streams.beat("a", old, 1, true, UnixMs(60_000)), "the newer fell silent");
        assert!(!streams.beat("a", new, 3, true, UnixMs(61_000)), "a plan of three");
        assert!(!streams.beat("a", old, 3, true, UnixMs(61_000)));
    }
}
