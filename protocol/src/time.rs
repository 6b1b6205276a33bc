//! Instants as integer milliseconds since the Unix epoch: one representation in the Worker, in PostgreSQL (`BIGINT`) and in
//! the rules. Text (RFC 3339, UTC) exists only where people or clients read it.

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub i64);

const DAY_MS: i64 = 86_400_000;

impl UnixMs {
    /// This instant moved by `ms` milliseconds; saturates instead of wrapping.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this instant, negative when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole days since the epoch (UTC), rounding towards the past.
    #[must_use]
    pub const fn day(self) -> i64 {
        self.0.div_euclid(DAY_MS)
    }

    /// `(year, month, day)` in UTC, by the proleptic Gregorian calendar.
    #[must_use]
    pub const fn date(self) -> (i64, u8, u8) {
        civil_from_days(self.day())
    }

    /// The calendar month in UTC as `YYYY-MM`, which is how an accounting period is named.
    #[must_use]
    pub fn month(self) -> String {
        let (year, month, _) = self.date();
        format!("{year:04}-{month:02}")
    }

    /// RFC 3339 in UTC with milliseconds, such as `2026-11-24T21:38:00.000Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let (year, month, day) = self.date();
        let ms = self.0.rem_euclid(DAY_MS);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
    }
}

impl std::fmt::Display for UnixMs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// Howard Hinnant's `civil_from_days`: eras of 400 years that begin on 1 March, so that the leap day comes last.
const fn civil_from_days(days: i64) -> (i64, u8, u8) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u8;
    let month = (if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 }) as u8;
    let year = year_of_era + era * 400 + (month <= 2) as i64;
    (year, month, day)
}

/// For `#[serde(with = "protocol::time::rfc3339")]`: an instant written as RFC 3339 text (write only; clients send text that
/// the origin parses with a calendar library).
pub mod rfc3339 {
    use super::UnixMs;

    /// Writes the instant as text.
    ///
    /// # Errors
    /// Only those of the serializer.
    pub fn serialize<S: serde::Serializer>(at: &UnixMs, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }

    /// The same for an instant that may be missing.
    pub mod option {
        use super::UnixMs;

        /// Writes the instant as text, or null.
        ///
        /// # Errors
        /// Only those of the serializer.
        pub fn serialize<S: serde::Serializer>(at: &Option<UnixMs>, serializer: S) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => serializer.collect_str(at),
                None => serializer.serialize_none(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_read_as_rfc3339() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_790_000_000_123, "2026-09-21T14:13:20.123Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ];
        for (ms, text) in table {
            assert_eq!(UnixMs(ms).rfc3339(), text);
        }
        assert_eq!(UnixMs(1_795_556_280_000).month(), "2026-11");
    }
}
