//! Whom an account acts for, asked at identity each time: services that let members of an artist do something ask before they do it and keep
//! nothing, so a member who is removed is refused from the next call on. When identity is away the answer is 503, and nothing is done.

use std::time::Duration;

use protocol::{AccountId, ArtistId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Problem, feed::describe};

const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// What a member may do for an artist; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    /// Sees the artist's tracks and members.
    Viewer,
    /// Uploads, cancels and takes down.
    Editor,
    /// Manages members, and sets who shares what a track earns.
    Owner,
}

impl MemberRole {
    /// As it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Owner => "owner",
        }
    }

    /// From how it is stored.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Viewer, Self::Editor, Self::Owner].into_iter().find(|role| role.name() == name)
    }
}

/// An artist that an account acts for: an item of `GET /internal/accounts/{id}/memberships`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Membership {
    /// The artist.
    #[schema(value_type = String, format = Uuid)]
    pub artist_id: ArtistId,
    /// Its name.
    pub artist_name: String,
    /// What the account may do for it.
    pub role: MemberRole,
    /// The account that is paid for what is uploaded now, unless a split says otherwise: of the artist's owners the one who is it longest.
    #[schema(value_type = String, format = Uuid)]
    pub payee: AccountId,
}

/// Why an account may not act for an artist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// It is no member; nor is anyone of an artist that does not exist.
    #[error("you are no member of this artist: an owner can invite you")]
    NotAMember,
    /// Its role does not suffice.
    #[error("this takes {} of the artist, and you are {}: an owner can change that", at_least(.needs), a(.is))]
    RoleTooLow {
        /// The lowest role that suffices.
        needs: MemberRole,
        /// What the account is.
        is: MemberRole,
    },
}

const fn a(role: &MemberRole) -> &'static str {
    match role {
        MemberRole::Viewer => "a viewer",
        MemberRole::Editor => "an editor",
        MemberRole::Owner => "an owner",
    }
}

const fn at_least(role: &MemberRole) -> &'static str {
    match role {
        MemberRole::Viewer => "a member",
        MemberRole::Editor => "an owner or editor",
        MemberRole::Owner => "an owner",
    }
}

impl From<NotAllowed> for Problem {
    fn from(refusal: NotAllowed) -> Self {
        let code = match refusal {
            NotAllowed::NotAMember => "not_a_member",
            NotAllowed::RoleTooLow { needs: MemberRole::Owner, .. } => "needs_owner",
            NotAllowed::RoleTooLow { .. } => "needs_editor",
        };
        Self::forbidden(code, refusal.to_string())
    }
}

/// Holds a role, or its absence, to what is needed.
///
/// # Errors
/// [`NotAllowed`].
pub fn require(role: Option<MemberRole>, needs: MemberRole) -> Result<(), NotAllowed> {
    match role {
        None => Err(NotAllowed::NotAMember),
        Some(is) if is < needs => Err(NotAllowed::RoleTooLow { needs, is }),
        Some(_) => Ok(()),
    }
}

/// Identity, asked for memberships.
#[derive(Debug, Clone)]
pub struct Memberships {
    url: String,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<Membership>,
}

impl Memberships {
    /// At identity's base URL.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn at(identity_url: &str) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().connect_timeout(CONNECT_WITHIN).timeout(ANSWER_WITHIN).no_proxy().build()?;
        Ok(Self { url: format!("{identity_url}/internal/accounts"), http })
    }

    /// All that `account` acts for now; a bounded list.
    ///
    /// # Errors
    /// 503 `unavailable` when identity does not say.
    pub async fn of(&self, account: AccountId) -> Result<Vec<Membership>, Problem> {
        let request = self.http.get(format!("{}/{account}/memberships", self.url));
        let answer = async { request.send().await?.error_for_status()?.json::<Answer>().await };
        answer.await.map(|answer| answer.items).map_err(|error| {
            tracing::warn!(error = describe(&error), "identity did not say whom an account acts for");
            Problem::unavailable(2)
        })
    }

    /// What `account` may do for `artist` now, if anything.
    ///
    /// # Errors
    /// 503 `unavailable` when identity does not say.
    pub async fn role(&self, account: AccountId, artist: ArtistId) -> Result<Option<MemberRole>, Problem> {
        Ok(self.of(account).await?.into_iter().find(|membership| membership.artist_id == artist).map(|membership| membership.role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_do_what_those_below_it_may_and_no_more() {
        use MemberRole::{Editor, Owner, Viewer};
        for (is, needs, code) in [
            (Some(Owner), Editor, ""),
            (Some(Editor), Editor, ""),
            (Some(Viewer), Viewer, ""),
            (Some(Viewer), Editor, "needs_editor"),
            (Some(Viewer), Owner, "needs_owner"),
            (Some(Editor), Owner, "needs_owner"),
            (None, Viewer, "not_a_member"),
        ] {
            let said = require(is, needs).map_err(|refusal| Problem::from(refusal).code());
            assert_eq!(said.err().unwrap_or_default(), code, "{is:?} {needs:?}");
        }
        assert_eq!(
            NotAllowed::RoleTooLow { needs: Editor, is: Viewer }.to_string(),
            "this takes an owner or editor of the artist, and you are a viewer: an owner can change that"
        );
    }
}
