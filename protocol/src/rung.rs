//! The ladder: the renditions a track is encoded to, and sets of them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One rendition. Order is from the smallest to the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// AAC-LC at 64 kbit/s.
    Aac64,
    /// AAC-LC at 128 kbit/s.
    Aac128,
    /// AAC-LC at 256 kbit/s.
    Aac256,
    /// FLAC: a mode of its own, since a player's adaptation never crosses codecs.
    Flac,
}

/// The text names no rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rung is one of aac-64, aac-128, aac-256, flac")]
pub struct NotARung;

impl Rung {
    /// Every rung, smallest first.
    pub const ALL: [Self; 4] = [Self::Aac64, Self::Aac128, Self::Aac256, Self::Flac];
    /// The lossy rungs, among which a player adapts.
    pub const LOSSY: [Self; 3] = [Self::Aac64, Self::Aac128, Self::Aac256];

    /// The name in URLs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aac64 => "aac-64",
            Self::Aac128 => "aac-128",
            Self::Aac256 => "aac-256",
            Self::Flac => "flac",
        }
    }

    /// Bit rate asked of the encoder, bit/s; for FLAC the rate a connection should be able to carry.
    #[must_use]
    pub const fn nominal_bps(self) -> u32 {
        match self {
            Self::Aac64 => 64_000,
            Self::Aac128 => 128_000,
            Self::Aac256 => 256_000,
            Self::Flac => 1_000_000,
        }
    }

    /// The bit in a [`RungSet`].
    #[must_use]
    pub const fn bit(self) -> u8 {
        match self {
            Self::Aac64 => 1,
            Self::Aac128 => 2,
            Self::Aac256 => 4,
            Self::Flac => 8,
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Rung {
    type Err = NotARung;

    fn from_str(text: &str) -> Result<Self, NotARung> {
        Self::ALL.into_iter().find(|rung| rung.name() == text).ok_or(NotARung)
    }
}

impl Serialize for Rung {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Rung {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A set of rungs, as the bit mask a token carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RungSet(u8);

impl RungSet {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The set of `rungs`.
    #[must_use]
    pub fn of(rungs: &[Rung]) -> Self {
        Self(rungs.iter().fold(0, |bits, rung| bits | rung.bit()))
    }

    /// From a token's byte; `None` when a bit names no rung.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits < 16 { Some(Self(bits)) } else { None }
    }

    /// The bit mask.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether the set has `rung`.
    #[must_use]
    pub const fn contains(self, rung: Rung) -> bool {
        self.0 & rung.bit() != 0
    }

    /// The set with `rung`.
    #[must_use]
    pub const fn with(self, rung: Rung) -> Self {
        Self(self.0 | rung.bit())
    }

    /// The set without `rung`.
    #[must_use]
    pub const fn without(self, rung: Rung) -> Self {
        Self(self.0 & !rung.bit())
    }

    /// Rungs in both sets.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Members, smallest rung first.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Rung> {
        Rung::ALL.into_iter().filter(move |rung| self.contains(*rung))
    }
}
