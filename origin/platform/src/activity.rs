//! What listeners did, as royalty and the catalogue tell it to the activity lake: two feeds of the same form. A reader pulls what changed
//! after its position and stores the position together with what it made of it.
//!
//! A feed orders changes by the transaction that made them and ends before the oldest transaction that is still open. So what a reader has
//! passed stays as it was, no writer waits for another one, and a thing that changed several times meanwhile is told once, as it is now.

use protocol::{AccountId, PlayId, TrackId, UnixMs};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Most changes of one pull.
pub const CHANGES_MAX: i64 = 10_000;

/// A piece of a feed: the answer of `GET /internal/{plays,likes}?after=&limit=`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Changes<T> {
    /// What changed, each thing once.
    pub items: Vec<T>,
    /// Where to read on.
    pub next: Place,
    /// Whether there is more to read at once.
    pub more: bool,
    /// The oldest transaction still open, when something that changed cannot be told before it ends.
    pub held_by: Option<i64>,
}

/// A place in a feed: behind the change of this transaction with this name. Its text is `REVISION.NAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The transaction.
    pub revision: i64,
    /// Which of its changes: a UUID or a number, as 128 bits.
    pub name: Uuid,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.revision, self.name.simple())
    }
}

/// A place that no feed has named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a place in a feed is REVISION.NAME")]
pub struct BadPlace;

impl std::str::FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let (revision, name) = text.split_once('.').ok_or(BadPlace)?;
        Ok(Self { revision: revision.parse().map_err(|_| BadPlace)?, name: Uuid::try_parse(name).map_err(|_| BadPlace)? })
    }
}

impl Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Place {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        String::schema()
    }
}

impl utoipa::ToSchema for Place {}

/// Where to read on in a feed.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ReadOn {
    /// The place of the page before; without it, the beginning.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub after: Place,
    /// At most this many (1 to 10000).
    #[serde(default = "changes_max")]
    #[param(required = false)]
    pub limit: i64,
}

const fn changes_max() -> i64 {
    CHANGES_MAX
}

impl ReadOn {
    /// The number of rows to ask the database for: one more than is shown tells whether there is more.
    #[must_use]
    pub fn rows(&self) -> i64 {
        self.limit.clamp(1, CHANGES_MAX) + 1
    }

    /// The page from the rows that were found, each with its place, and what holds others back ([`Changes::held_by`]).
    #[must_use]
    pub fn page<T>(&self, mut rows: Vec<(Place, T)>, held_by: Option<i64>) -> Changes<T> {
        let shown = usize::try_from(self.limit.clamp(1, CHANGES_MAX)).unwrap_or(1);
        let more = rows.len() > shown;
        rows.truncate(shown);
        let next = rows.last().map_or(self.after, |(place, _)| *place);
        Changes { items: rows.into_iter().map(|(_, item)| item).collect(), next, more, held_by }
    }
}

/// A play as it is judged now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlayDoc {
    /// The play.
    #[schema(value_type = Uuid)]
    pub play: PlayId,
    /// The listener, as the ledger knows them.
    pub pseudonym: Uuid,
    /// What was played.
    #[schema(value_type = Uuid)]
    pub track: TrackId,
    /// In which encoding.
    pub version: Uuid,
    /// Where, as an ISO 3166 code.
    pub territory: String,
    /// On which plan.
    pub plan: String,
    /// The track's length.
    pub duration_ms: i64,
    /// When the play was permitted.
    #[schema(value_type = i64)]
    pub minted_at_ms: UnixMs,
    /// Media time that is credited.
    pub played_ms: i64,
    /// `open`, `provisional`, `final` or `void`.
    pub state: String,
    /// Why it is void.
    pub reason: Option<String>,
    /// Whether receipts show that what was heard was also fetched.
    pub corroborated: bool,
    /// The version of the rule that judged it.
    pub rule_version: Option<i32>,
    /// The period that pays for it, once it is final.
    pub settled_in: Option<String>,
}

/// A like, or one taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LikeDoc {
    /// Whose.
    #[schema(value_type = Uuid)]
    pub account: AccountId,
    /// Of what.
    #[schema(value_type = Uuid)]
    pub track: TrackId,
    /// False when it was taken back.
    pub liked: bool,
    /// When.
    #[schema(value_type = i64)]
    pub happened_at_ms: UnixMs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_text_and_nothing_else_is_one() {
        let place = Place { revision: 77, name: Uuid::from_u128(5) };
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in ["", "7", "x.00000000000000000000000000000005", "7.5", "7."] {
            assert_eq!(wrong.parse::<Place>(), Err(BadPlace), "{wrong}");
        }
    }

    #[test]
    fn a_page_ends_where_it_was_cut_and_an_empty_one_stays_where_it_was() {
        let at = |n: u128| Place { revision: 1, name: Uuid::from_u128(n) };
        let from = ReadOn { after: at(1), limit: 2 };
        let page = from.page(vec![(at(2), 'a'), (at(3), 'b'), (at(4), 'c')], None);
        assert_eq!((page.items, page.next, page.more), (vec!['a', 'b'], at(3), true));
        let page = from.page(Vec::<(Place, char)>::new(), Some(7));
        assert_eq!((page.next, page.more, page.held_by), (at(1), false, Some(7)));
    }
}
