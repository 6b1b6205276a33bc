//! ISO 3166-1 alpha-2 country codes, as two upper-case ASCII letters. `ZZ` (user-assigned) stands for "not known".

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A country, or [`Territory::UNKNOWN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Territory([u8; 2]);

/// The text is not two upper-case letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a territory is an ISO 3166-1 alpha-2 code: two upper-case letters")]
pub struct NotATerritory;

impl Territory {
    /// The user-assigned code that stands for a country that is not known.
    pub const UNKNOWN: Self = Self(*b"ZZ");

    /// From the two bytes of the binary token.
    ///
    /// # Errors
    /// When they are not upper-case ASCII letters.
    pub fn from_bytes(bytes: [u8; 2]) -> Result<Self, NotATerritory> {
        if bytes.iter().all(u8::is_ascii_uppercase) { Ok(Self(bytes)) } else { Err(NotATerritory) }
    }

    /// The two letters.
    #[must_use]
    pub const fn bytes(self) -> [u8; 2] {
        self.0
    }
}

impl fmt::Display for Territory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0;
        write!(f, "{}{}", char::from(first), char::from(second))
    }
}

impl FromStr for Territory {
    type Err = NotATerritory;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes().try_into().map_err(|_| NotATerritory)?;
        Self::from_bytes(bytes)
    }
}

impl Serialize for Territory {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Territory {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
