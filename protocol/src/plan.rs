//! What an account may do: its role, and what its plan buys.

use serde::{Deserialize, Serialize};

use crate::{Rung, RungSet};

/// What a person is to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Listens.
    Listener,
    /// Uploads and is paid; listens too.
    Artist,
    /// Takes revenue in and settles.
    Admin,
}

impl Role {
    /// The name in JSON and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Artist => "artist",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Listener, Self::Artist, Self::Admin]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| format!("`{text}` is not a role: listener, artist or admin"))
    }
}

/// What an account pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// Up to 128 kbit/s, one stream.
    Free,
    /// Every rung and lossless, three streams.
    Premium,
}

impl Plan {
    /// The name in JSON and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Premium => "premium",
        }
    }

    /// The byte in a token.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Free => 0,
            Self::Premium => 1,
        }
    }

    /// The plan a token's byte names.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Free),
            1 => Some(Self::Premium),
            _ => None,
        }
    }

    /// Rungs the plan pays for.
    #[must_use]
    pub fn rungs(self) -> RungSet {
        match self {
            Self::Free => RungSet::of(&[Rung::Aac64, Rung::Aac128]),
            Self::Premium => RungSet::of(&Rung::ALL),
        }
    }

    /// Plays that may beat at the same time.
    #[must_use]
    pub const fn streams(self) -> usize {
        match self {
            Self::Free => 1,
            Self::Premium => 3,
        }
    }
}

impl std::str::FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Free, Self::Premium]
            .into_iter()
            .find(|plan| plan.name() == text)
            .ok_or_else(|| format!("`{text}` is not a plan: free or premium"))
    }
}
