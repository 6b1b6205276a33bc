//! Every way identity can refuse, and the one mapping to what a client sees.

use platform::{Problem, memberships::NotAllowed};

use crate::member::{ARTISTS_MAX, MEMBERS_MAX};

/// Why a call was refused.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Places of the request that are wrong.
    #[error("the request is not valid: {}", .0.iter().map(|(pointer, detail)| format!("{pointer} {detail}")).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<(&'static str, String)>),
    /// Another account has the address.
    #[error("an account with this email address exists already")]
    EmailTaken,
    /// The address is unknown or the password is wrong; which of the two is not said.
    #[error("email address and password do not belong together")]
    BadCredentials,
    /// Too many failed log-ins, or addresses looked up.
    #[error("too many attempts; try again in {0} seconds")]
    Throttled(u32),
    /// Passwords are being checked as fast as this machine can.
    #[error("too many log-ins at this moment")]
    Busy,
    /// Not a refresh token of ours, or of a family that was logged out.
    #[error("the refresh token is not valid: log in again")]
    RefreshInvalid,
    /// Used before: whoever used it may be a thief, so the family ends.
    #[error("the refresh token was used before, so its session has been ended: log in again")]
    RefreshReused,
    /// Its family has come to its end.
    #[error("the session has reached its longest age: log in again")]
    RefreshExpired,
    /// The account was revoked. Told only to who knows its password or holds its refresh token.
    #[error("this account has been suspended")]
    Suspended,
    /// No account to revoke.
    #[error("there is no account with this id")]
    NoSuchAccount,
    /// Who revokes their own account could not take it back.
    #[error("an administrator cannot revoke their own account")]
    OwnAccount,
    /// The caller may not manage the artist's members.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// No account to invite.
    #[error("no account has this id or address: its owner signs up first")]
    NoSuchMember,
    /// Nothing to accept.
    #[error("this artist has not invited you, or has taken the invitation back")]
    NoSuchInvitation,
    /// Nobody could manage the artist any more.
    #[error("an artist keeps an owner: make another member one first, and wait until it has accepted")]
    LastOwner,
    /// As many members as an artist can have.
    #[error("an artist has {} members at most, the invited ones included", MEMBERS_MAX)]
    TooManyMembers,
    /// As many artists as an account can act for.
    #[error("an account acts for {} artists at most", ARTISTS_MAX)]
    TooManyArtists,
    /// Nothing to lift.
    #[error("nothing of this name is revoked")]
    NoSuchRevocation,
    /// The hasher failed, which no input should cause.
    #[error("a password could not be hashed: {0}")]
    Hash(String),
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        let detail = error.to_string();
        match error {
            IdentityError::Invalid(errors) => {
                Self::bad_request("invalid_body", "the body is not what this call takes; see `errors`").with_errors(errors)
            }
            IdentityError::EmailTaken => Self::conflict("email_taken", detail).with_errors([("/email", "belongs to another account")]),
            IdentityError::BadCredentials => Self::unauthorized("bad_credentials", detail),
            IdentityError::Throttled(seconds) => Self::too_many_requests(detail, seconds),
            IdentityError::Busy => Self::unavailable(1),
            IdentityError::RefreshInvalid => Self::unauthorized("refresh_invalid", detail),
            IdentityError::RefreshReused => Self::unauthorized("refresh_reused", detail),
            IdentityError::RefreshExpired => Self::unauthorized("refresh_expired", detail),
            IdentityError::Suspended => Self::forbidden("account_suspended", detail),
            IdentityError::NoSuchAccount => Self::unprocessable("no_such_account", detail).with_errors([("/id", "is not an account")]),
            IdentityError::OwnAccount => Self::unprocessable("own_account", detail).with_errors([("/id", "is the caller's own account")]),
            IdentityError::NotAllowed(refusal) => refusal.into(),
            IdentityError::NoSuchMember => Self::not_found("no_such_account", detail),
            IdentityError::NoSuchInvitation => Self::not_found("no_such_invitation", detail),
            IdentityError::LastOwner => Self::conflict("last_owner", detail),
            IdentityError::TooManyMembers => Self::conflict("too_many_members", detail),
            IdentityError::TooManyArtists => Self::conflict("too_many_artists", detail),
            IdentityError::NoSuchRevocation => Self::not_found("no_such_revocation", detail),
            IdentityError::Hash(_) => {
                tracing::error!(detail, "hashing failed");
                Self::internal()
            }
            IdentityError::Database(error) => error.into(),
        }
    }
}
