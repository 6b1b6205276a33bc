//! What is revoked, and what a wish to revoke must look like. From the request body or the catalogue's outbox to the row, and from the row to
//! administrators and, as `protocol` writes it, to the feed.

use protocol::{
    AccountId, PlayId, TrackId, UnixMs,
    keys::TokenKeys,
    revocation::{Entry, Kind, Subject},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::IdentityError;

const REASON_CHARS_MAX: usize = 500;

/// The body of `POST /v1/revocations`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevocationRequest {
    /// `play`, `account` or `track`.
    #[schema(value_type = String, example = "play")]
    kind: Kind,
    /// The play's, account's or track's id.
    id: Uuid,
    /// Why, for whoever asks later.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// What is to be revoked, why, and by whom.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) kind: Kind,
    pub(crate) id: Uuid,
    pub(crate) reason: String,
    /// `None` is the catalogue.
    pub(crate) by: Option<AccountId>,
}

impl Wish {
    /// An administrator's.
    pub(crate) fn of(administrator: AccountId, request: RevocationRequest) -> Result<Self, IdentityError> {
        let reason = request.reason.trim();
        if !(1..=REASON_CHARS_MAX).contains(&reason.chars().count()) || reason.chars().any(char::is_control) {
            let detail = format!("must have 1 to {REASON_CHARS_MAX} printable characters");
            return Err(IdentityError::Invalid(vec![("/reason", detail)]));
        }
        if request.kind == Kind::Account && request.id == administrator.uuid() {
            return Err(IdentityError::OwnAccount);
        }
        Ok(Self { kind: request.kind, id: request.id, reason: reason.to_owned(), by: Some(administrator) })
    }
}

/// A revocation as an administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Revocation {
    /// Its place in the feed; a change moves it to a later one.
    pub(crate) seq: i64,
    /// `play`, `account` or `track`.
    #[schema(value_type = String)]
    pub(crate) kind: Kind,
    /// What is revoked.
    pub(crate) id: Uuid,
    /// Why.
    pub(crate) reason: String,
    /// The administrator; null when the track was taken down by its owner.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub(crate) revoked_by: Option<AccountId>,
    /// Since when.
    #[serde(with = "protocol::time::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub(crate) revoked_at: UnixMs,
    /// When it was lifted; what began before that instant stays refused.
    #[serde(with = "protocol::time::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) lifted_at: Option<UnixMs>,
    /// When no token it refuses can be alive any more. An account stays suspended beyond it, until it is lifted.
    #[serde(with = "protocol::time::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub(crate) until: UnixMs,
}

impl Revocation {
    /// As gateways and edges know it: an account by its pseudonym, which is all that tokens hold.
    pub(crate) fn entry(&self, keys: &TokenKeys) -> Entry {
        let subject: Subject = match self.kind {
            Kind::Play => PlayId(self.id).into(),
            Kind::Account => keys.pseudonym(AccountId(self.id)).into(),
            Kind::Track => TrackId(self.id).into(),
        };
        Entry { seq: self.seq, kind: self.kind, subject, at_ms: self.revoked_at, lifted_at_ms: self.lifted_at, until_ms: self.until }
    }
}

/// What is written down as the instant of a lifting. A session says its second alone (RFC 7519 section 4.1.6), so that one begun in the same
/// second but after the lifting must not look older than it.
pub(crate) fn lifted_at(revoked_at: UnixMs, now: UnixMs) -> UnixMs {
    UnixMs(now.0.div_euclid(1000) * 1000 - 1).max(revoked_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMIN: AccountId = AccountId(Uuid::from_u128(1));

    fn wish(kind: Kind, id: u128, reason: &str) -> Result<Wish, IdentityError> {
        Wish::of(ADMIN, RevocationRequest { kind, id: Uuid::from_u128(id), reason: reason.to_owned() })
    }

    #[test]
    fn a_revocation_has_a_reason_and_never_shuts_out_who_makes_it() {
        assert_eq!(wish(Kind::Play, 1, " stolen ").map(|wish| wish.reason).ok().as_deref(), Some("stolen"));
        for reason in ["", "  ", "a\nb", &"x".repeat(501)] {
            assert!(matches!(wish(Kind::Play, 1, reason), Err(IdentityError::Invalid(_))), "{reason:?}");
        }
        assert!(matches!(wish(Kind::Account, 1, "oops"), Err(IdentityError::OwnAccount)));
        assert!(wish(Kind::Account, 2, "spam").is_ok());
    }

    #[test]
    fn a_session_of_the_second_in_which_an_account_is_lifted_is_younger_than_the_lifting() {
        let (revoked_at, now) = (UnixMs(1_000_000), UnixMs(5_000_700));
        let issued_at = UnixMs(5_000_000);
        assert!(issued_at > lifted_at(revoked_at, now));
        assert_eq!(lifted_at(now, now), now, "never before it was revoked");
    }
}
