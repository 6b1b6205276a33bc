//! Members of an artist: what an owner asks for, and what members see of each other and of the artists they act for. From the request bodies to
//! `store::members`.
//!
//! An owner invites an account and the account accepts; until then it has no right, and the owner learns no more of it than that it exists.

use platform::memberships::MemberRole;
use protocol::{AccountId, ArtistId, UnixMs};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Members of an artist, the invited ones included.
pub(crate) const MEMBERS_MAX: i64 = 100;
/// Artists that one account acts for. What others let an account in for does not count before it accepts.
pub(crate) const ARTISTS_MAX: i64 = 100;
/// Invitations that an account is shown, the latest first.
pub(crate) const INVITATIONS_SHOWN_MAX: i64 = 50;

/// The body of `POST /v1/artists/{id}/members`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvitationRequest {
    /// The address that the account logs in with.
    #[schema(example = "grace@example.org", max_length = 254)]
    pub(crate) email: String,
    /// What it may do once it has accepted.
    pub(crate) role: MemberRole,
}

/// The body of `PUT /v1/artists/{id}/members/{account}`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleRequest {
    /// What the account may do.
    pub(crate) role: MemberRole,
}

/// Whether a membership gives its rights yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    /// It waits for the account to accept, and gives none.
    Invited,
    /// It does.
    Active,
}

/// A member of an artist, as the other members see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Member {
    /// The account, for `PUT` and `DELETE`, and as a payee of splits.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) account_id: AccountId,
    /// The name that others see; null until the account has accepted.
    pub(crate) name: Option<String>,
    /// The address as it was invited; null once the account has accepted, and to who is no owner.
    pub(crate) email: Option<String>,
    /// What it may do.
    pub(crate) role: MemberRole,
    /// Whether it may yet.
    pub(crate) state: Standing,
    /// When it was invited, or accepted.
    #[serde(with = "protocol::time::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: UnixMs,
}

/// An artist that the caller acts for, or is invited to act for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct OwnArtist {
    /// The artist.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) id: ArtistId,
    /// Its name.
    pub(crate) name: String,
    /// What the caller may do for it.
    pub(crate) role: MemberRole,
    /// Whether it may yet.
    pub(crate) state: Standing,
}
