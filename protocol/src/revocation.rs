//! What has been revoked before its token expired: plays, accounts, tracks.
//!
//! The origin keeps the list and hands it out as a feed of changes; each gateway and each isolate at the edge holds a copy, and judges with
//! [`Revocations::judge`]. A copy is bounded twice: an entry ends when no token it could refuse can be alive any more, and of more than
//! [`ENTRIES_MAX`] those that end soonest are let go, so that what overflows fails open to the token's own expiry and never to memory.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::{
    PlayId, TrackId, UnixMs,
    ids::{parse_hex, to_hex},
    token::{Claims, Pseudonym},
};

/// Entries a copy holds.
pub const ENTRIES_MAX: usize = 16_384;
/// Entries one answer of the feed holds; after a full one the reader asks again.
pub const PAGE_MAX: usize = 2_000;
/// How long an entry lives: the longest session that may still mint (12 h), the longest token it can mint (a day of music and 6 h), the ticket's
/// 48 h beyond that, and some hours for clocks and feeds that are late.
pub const LIFE_MS: i64 = 4 * 24 * 3_600_000;

/// What is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One play.
    Play,
    /// Every play of an account, and its sessions.
    Account,
    /// Every play of a track.
    Track,
}

impl Kind {
    /// The name in JSON and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Play => "play",
            Self::Account => "account",
            Self::Track => "track",
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Play, Self::Account, Self::Track]
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("`{text}` is not a kind of revocation: play, account or track"))
    }
}

/// The thing itself: a play's or a track's UUID, an account's pseudonym. 32 hex digits in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(pub [u8; 16]);

impl From<PlayId> for Subject {
    fn from(play: PlayId) -> Self {
        Self(play.0.into_bytes())
    }
}

impl From<TrackId> for Subject {
    fn from(track: TrackId) -> Self {
        Self(track.0.into_bytes())
    }
}

impl From<Pseudonym> for Subject {
    fn from(account: Pseudonym) -> Self {
        Self(account.0)
    }
}

impl Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        parse_hex(&text).map(Self).ok_or_else(|| serde::de::Error::custom("a subject is 32 lower-case hex digits"))
    }
}

/// One revocation as it stands now. A change of it (it is lifted) comes again under a later `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the feed. Places grow with the clock, so that a database restored from a backup never gives one out again.
    pub seq: i64,
    /// What kind of thing.
    pub kind: Kind,
    /// Which.
    pub subject: Subject,
    /// Since when.
    pub at_ms: UnixMs,
    /// When it was lifted: plays and sessions begun before that instant stay refused, later ones are not.
    pub lifted_at_ms: Option<UnixMs>,
    /// When it is forgotten, since nothing it could refuse is alive.
    pub until_ms: UnixMs,
}

/// One answer of the feed: what changed after the place that was asked for, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedPage {
    /// Where the feed ends now.
    pub head: i64,
    /// The changes; [`PAGE_MAX`] of them mean that there may be more.
    pub entries: Vec<Entry>,
}

/// A copy of the list.
#[derive(Debug, Default)]
pub struct Revocations {
    cursor: i64,
    standing: HashMap<(Kind, Subject), Entry>,
    ends: BTreeSet<(UnixMs, Kind, Subject)>,
}

impl Revocations {
    /// The place after which the feed is to be asked.
    #[must_use]
    pub const fn cursor(&self) -> i64 {
        self.cursor
    }

    /// How many entries are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.standing.len()
    }

    /// Whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.standing.is_empty()
    }

    /// Takes an answer in. True when the copy is complete, false when the feed must be asked again at once.
    pub fn take(&mut self, page: &FeedPage, now: UnixMs) -> bool {
        for entry in &page.entries {
            self.insert(*entry);
            self.cursor = self.cursor.max(entry.seq);
        }
        self.forget(now);
        let complete = page.entries.len() < PAGE_MAX;
        if complete {
            // Another gateway may be a moment behind the one asked before: a place once reached is never given up.
            self.cursor = self.cursor.max(page.head);
        }
        complete
    }

    fn insert(&mut self, entry: Entry) {
        let name = (entry.kind, entry.subject);
        if let Some(before) = self.standing.insert(name, entry) {
            self.ends.remove(&(before.until_ms, before.kind, before.subject));
        }
        self.ends.insert((entry.until_ms, entry.kind, entry.subject));
    }

    fn forget(&mut self, now: UnixMs) {
        while let Some((until, kind, subject)) = self.ends.first().copied() {
            if until > now && self.standing.len() <= ENTRIES_MAX {
                break;
            }
            self.ends.pop_first();
            self.standing.remove(&(kind, subject));
        }
    }

    /// What of `claims` is revoked, if anything.
    #[must_use]
    pub fn judge(&self, claims: &Claims, now: UnixMs) -> Option<Kind> {
        if self.standing.is_empty() {
            return None;
        }
        let names = [(Kind::Play, claims.play.into()), (Kind::Account, claims.pseudonym.into()), (Kind::Track, claims.track.into())];
        let begun = claims.play.minted_at();
        names.into_iter().find(|(kind, subject)| self.refuses(*kind, *subject, begun, now)).map(|(kind, _)| kind)
    }

    /// Whether `subject` is refused to something that began at `begun`: a play, or a session.
    #[must_use]
    pub fn refuses(&self, kind: Kind, subject: Subject, begun: UnixMs, now: UnixMs) -> bool {
        self.standing
            .get(&(kind, subject))
            .is_some_and(|entry| now < entry.until_ms && entry.lifted_at_ms.is_none_or(|lifted| begun <= lifted))
    }

    /// The entries after `after`, for a feed that is answered from this copy.
    #[must_use]
    pub fn page(&self, after: i64) -> FeedPage {
        let mut entries: Vec<Entry> = self.standing.values().filter(|entry| entry.seq > after).copied().collect();
        entries.sort_unstable_by_key(|entry| entry.seq);
        entries.truncate(PAGE_MAX);
        FeedPage { head: self.cursor, entries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MediaVersion, Plan, RungSet, token::Purpose};

    const NOW: UnixMs = UnixMs(1_795_556_280_000);

    fn claims(play_minted_at: UnixMs) -> Claims {
        Claims {
            purpose: Purpose::Media,
            plan: Plan::Free,
            rungs: RungSet::NONE,
            territory: "DE".parse().unwrap(),
            buffer: 0,
            expires_at: NOW,
            duration_ms: 1,
            play: PlayId::v7(play_minted_at, [1; 10]),
            track: TrackId::v7(NOW, [2; 10]),
            version: MediaVersion([3; 16]),
            pseudonym: Pseudonym([4; 16]),
        }
    }

    fn entry(seq: i64, kind: Kind, subject: Subject) -> Entry {
        Entry { seq, kind, subject, at_ms: NOW, lifted_at_ms: None, until_ms: NOW.plus_ms(LIFE_MS) }
    }

    fn copy_of(entries: &[Entry]) -> Revocations {
        let mut copy = Revocations::default();
        assert!(copy.take(&FeedPage { head: entries.last().map_or(0, |entry| entry.seq), entries: entries.to_vec() }, NOW));
        copy
    }

    #[test]
    fn a_play_an_account_and_a_track_are_each_refused() {
        let claims = claims(NOW);
        for (kind, subject) in
            [(Kind::Play, claims.play.into()), (Kind::Account, claims.pseudonym.into()), (Kind::Track, claims.track.into())]
        {
            assert_eq!(copy_of(&[entry(1, kind, subject)]).judge(&claims, NOW), Some(kind));
        }
        let strangers = [entry(1, Kind::Play, Subject([9; 16])), entry(2, Kind::Track, claims.pseudonym.into())];
        assert_eq!(copy_of(&strangers).judge(&claims, NOW), None);
    }

    #[test]
    fn a_play_minted_at_an_edge_that_had_not_heard_yet_is_refused_too() {
        let late = claims(NOW.plus_ms(20_000));
        assert_eq!(copy_of(&[entry(1, Kind::Account, late.pseudonym.into())]).judge(&late, NOW.plus_ms(30_000)), Some(Kind::Account));
    }

    #[test]
    fn what_is_lifted_counts_for_what_began_before_and_for_nothing_later() {
        let (before, after) = (claims(NOW), claims(NOW.plus_ms(60_001)));
        let lifted = Entry { seq: 2, lifted_at_ms: Some(NOW.plus_ms(60_000)), ..entry(1, Kind::Account, before.pseudonym.into()) };
        let copy = copy_of(&[entry(1, Kind::Account, before.pseudonym.into()), lifted]);
        assert_eq!((copy.judge(&before, NOW), copy.judge(&after, NOW)), (Some(Kind::Account), None));
    }

    #[test]
    fn a_copy_is_bounded_in_time_and_in_number() {
        let mut copy = copy_of(&[entry(1, Kind::Play, Subject([1; 16]))]);
        copy.take(&FeedPage { head: 1, entries: Vec::new() }, NOW.plus_ms(LIFE_MS));
        assert!(copy.is_empty());

        let mut copy = Revocations::default();
        for seq in 1..=i64::try_from(ENTRIES_MAX).unwrap() + 10 {
            let mut subject = [0; 16];
            subject[..8].copy_from_slice(&seq.to_be_bytes());
            let entry = Entry { until_ms: NOW.plus_ms(LIFE_MS + seq), ..entry(seq, Kind::Play, Subject(subject)) };
            copy.take(&FeedPage { head: seq, entries: vec![entry] }, NOW);
        }
        assert_eq!(copy.len(), ENTRIES_MAX);
        // Those that end soonest went.
        assert_eq!(copy.page(0).entries.first().map(|entry| entry.seq), Some(11));
    }

    #[test]
    fn a_copy_fed_from_a_copy_is_equal_page_by_page() {
        let entries: Vec<Entry> = (1..=5000i64)
            .map(|seq| {
                let mut subject = [7; 16];
                subject[..8].copy_from_slice(&seq.to_be_bytes());
                entry(seq, Kind::Track, Subject(subject))
            })
            .collect();
        let mut first = Revocations::default();
        for page in entries.chunks(PAGE_MAX) {
            first.take(&FeedPage { head: 5000, entries: page.to_vec() }, NOW);
        }
        let (mut second, mut pages) = (Revocations::default(), 0);
        loop {
            pages += 1;
            if second.take(&first.page(second.cursor()), NOW) {
                break;
            }
        }
        assert_eq!((second.len(), second.cursor(), pages), (5000, 5000, 3));
    }

    #[test]
    fn a_gateway_that_is_behind_moves_nobody_back() {
        let mut copy = copy_of(&[entry(7, Kind::Play, Subject([1; 16]))]);
        assert!(copy.take(&FeedPage { head: 3, entries: Vec::new() }, NOW));
        assert_eq!((copy.cursor(), copy.len()), (7, 1));
    }

    #[test]
    fn the_feed_is_written_as_the_contract_says() {
        let page = FeedPage { head: 12, entries: vec![entry(12, Kind::Account, Subject([0xab; 16]))] };
        let text = serde_json::to_string(&page).unwrap();
        assert!(text.contains(r#""kind":"account","subject":"abababababababababababababababab""#), "{text}");
        assert_eq!(serde_json::from_str::<FeedPage>(&text).unwrap(), page);
    }
}
