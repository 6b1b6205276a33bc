//! Names of things. Each is its own type, so that a track cannot be passed where a play is meant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::UnixMs;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new UUIDv7 (RFC 9562) made at `now` from the caller's random bytes.
            #[must_use]
            pub fn v7(now: UnixMs, random: [u8; 10]) -> Self {
                let ms = u64::try_from(now.0).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid())
            }

            /// The bare UUID, for storage.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The instant inside a UUIDv7; zero for any other version.
            #[must_use]
            pub fn minted_at(self) -> UnixMs {
                if self.0.get_version_num() != 7 {
                    return UnixMs(0);
                }
                let bytes = self.0.as_bytes();
                UnixMs(bytes.iter().take(6).fold(0, |ms, byte| (ms << 8) | i64::from(*byte)))
            }

            /// [`Self::minted_at`] as a bare number.
            #[must_use]
            pub fn timestamp_ms(self) -> i64 {
                self.minted_at().0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            /// Accepts the hyphenated lower-case form only, so that one thing has one URL.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let uuid = Uuid::try_parse(text)?;
                if uuid.to_string() == text { Ok(Self(uuid)) } else { Uuid::try_parse("not canonical").map(Self) }
            }
        }
    };
}

id!(
    /// An account: a person who listens, uploads or administers.
    AccountId
);
id!(
    /// An artist, for whom accounts act through memberships.
    ArtistId
);
id!(
    /// A track: a recording as it stands on a release.
    TrackId
);
id!(
    /// A release (album, single).
    ReleaseId
);
id!(
    /// An upload in progress.
    UploadId
);
id!(
    /// A play: one signed permission to play one track. Its timestamp is the instant the play was minted.
    PlayId
);

/// A media version: the content address of one encoding of one source, 16 bytes, written as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaVersion(pub [u8; 16]);

/// The text is not 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a media version is 32 lower-case hex digits")]
pub struct NotAMediaVersion;

impl fmt::Display for MediaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for MediaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MediaVersion({self})")
    }
}

impl FromStr for MediaVersion {
    type Err = NotAMediaVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex(text).map(Self).ok_or(NotAMediaVersion)
    }
}

impl Serialize for MediaVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MediaVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Exactly `N` bytes from lower-case hex.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().try_fold(0u8, |value, digit| {
            let nibble = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            Some((value << 4) | nibble)
        })?;
    }
    Some(bytes)
}

/// Lower-case hex.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(*DIGITS.get(usize::from(nibble)).unwrap_or(&b'0'));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_play_carries_the_instant_it_was_minted() {
        let play = PlayId::v7(UnixMs(1_795_556_280_123), [7; 10]);
        assert_eq!(play.minted_at(), UnixMs(1_795_556_280_123));
        assert_eq!(play.to_string().parse::<PlayId>().unwrap(), play);
        assert!(play.to_string().to_uppercase().parse::<PlayId>().is_err());
    }

    #[test]
    fn a_media_version_has_one_spelling() {
        let version = MediaVersion([0xab; 16]);
        assert_eq!(version.to_string().parse(), Ok(version));
        assert!("AB".repeat(16).parse::<MediaVersion>().is_err());
        assert!("ab".repeat(15).parse::<MediaVersion>().is_err());
    }
}
