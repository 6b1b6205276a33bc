//! An accounting period: a calendar month in UTC, named `YYYY-MM`. A play belongs to the month of its mint, which is inside its
//! UUIDv7, so a period is a range of plays and of partitions.

use std::{fmt, str::FromStr};

use jiff::{civil, tz::TimeZone};
use protocol::{UnixMs, tally::Hour};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A calendar month in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    year: i16,
    month: i8,
}

/// The text is not a month between 2020 and 2199.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a period is a month such as 2026-11")]
pub struct NotAPeriod;

impl Period {
    /// The month an instant lies in.
    ///
    /// # Errors
    /// When it is not between 2020 and 2199: no such instant comes from a clock.
    pub fn of(at: UnixMs) -> Result<Self, NotAPeriod> {
        at.month().parse()
    }

    /// Its first instant.
    #[must_use]
    pub fn starts_at(self) -> UnixMs {
        let midnight = civil::date(self.year, self.month, 1).to_zoned(TimeZone::UTC);
        UnixMs(midnight.map_or(0, |at| at.timestamp().as_millisecond()))
    }

    /// The first instant after it.
    #[must_use]
    pub fn ends_at(self) -> UnixMs {
        let next = if self.month == 12 { Self { year: self.year + 1, month: 1 } } else { Self { month: self.month + 1, ..self } };
        next.starts_at()
    }

    /// The hours of the period, as a half-open range.
    #[must_use]
    pub fn hours(self) -> (Hour, Hour) {
        (Hour::of(self.starts_at()), Hour::of(self.ends_at()))
    }

    /// The plays of the period, as a half-open range of UUIDs.
    #[must_use]
    pub fn plays(self) -> (Uuid, Uuid) {
        (play_floor(self.starts_at()), play_floor(self.ends_at()))
    }
}

/// The smallest UUIDv7 of an instant, as `royalty.play_floor` has it.
#[must_use]
pub fn play_floor(at: UnixMs) -> Uuid {
    Uuid::from_u128(u128::try_from(at.0).unwrap_or(0) << 80)
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Period {
    type Err = NotAPeriod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (year, month) = text.split_once('-').filter(|_| text.len() == 7).ok_or(NotAPeriod)?;
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(year) || !digits(month) {
            return Err(NotAPeriod);
        }
        let period = Self { year: year.parse().map_err(|_| NotAPeriod)?, month: month.parse().map_err(|_| NotAPeriod)? };
        if (2020..2200).contains(&period.year) && (1..=12).contains(&period.month) { Ok(period) } else { Err(NotAPeriod) }
    }
}

impl Serialize for Period {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_period_is_a_month_and_nothing_else() {
        let november: Period = "2026-11".parse().unwrap();
        assert_eq!(november.starts_at().rfc3339(), "2026-11-01T00:00:00.000Z");
        assert_eq!(november.ends_at().rfc3339(), "2026-12-01T00:00:00.000Z");
        assert_eq!("2026-12".parse::<Period>().unwrap().ends_at().rfc3339(), "2027-01-01T00:00:00.000Z");
        assert_eq!(Period::of(november.ends_at().plus_ms(-1)), Ok(november));
        for text in ["2026-13", "2026-00", "2026-1", "26-11", "2026-11 ", "+026-11", "2026-+1", "1970-01", "", "2026/11"] {
            assert_eq!(text.parse::<Period>(), Err(NotAPeriod), "{text}");
        }
    }

    #[test]
    fn the_plays_of_a_period_are_those_minted_in_it() {
        let november: Period = "2026-11".parse().unwrap();
        let (first, end) = november.plays();
        let minted = |at: UnixMs, random| protocol::PlayId::v7(at, random).uuid();
        assert!(minted(november.starts_at(), [0; 10]) >= first);
        assert!(minted(november.ends_at().plus_ms(-1), [255; 10]) < end);
        assert!(minted(november.ends_at(), [0; 10]) >= end);
        assert!(minted(november.starts_at().plus_ms(-1), [255; 10]) < first);
    }
}
