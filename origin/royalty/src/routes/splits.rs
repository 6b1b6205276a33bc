//! `/v1/me/tracks/{id}/splits`: who shares what a track earns. The owners of its artist may say; what was earned is read by each payee alone,
//! whoever acts for the artist.

use std::collections::BTreeMap;

use axum::extract::State;
use platform::{
    Caller, Json, Path, Problem,
    memberships::{MemberRole, NotAllowed, require},
};
use protocol::{AccountId, TrackId, UnixMs};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Royalty,
    error::RoyaltyError,
    settle::WHOLE,
    store::splits::{self, Split},
};

const SHARES_MAX: usize = 100;

/// Shares from an instant on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Splits {
    /// Listens that begin here or later, RFC 3339.
    effective_from: String,
    /// Sum exactly 10,000 basis points.
    shares: Vec<Share>,
}

/// A payee's share.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Share {
    /// The account that is paid.
    #[schema(value_type = uuid::Uuid)]
    payee: AccountId,
    /// Hundredths of a percent.
    basis_points: u32,
}

impl Splits {
    fn validate(&self, track: TrackId) -> Result<Split, RoyaltyError> {
        let bad = |pointer: &str, detail: String| RoyaltyError::BadItem { pointer: pointer.to_owned(), detail };
        let from: jiff::Timestamp = self
            .effective_from
            .parse()
            .map_err(|_| bad("/effective_from", "an instant such as 2026-11-01T00:00:00Z is needed".to_owned()))?;
        if self.shares.is_empty() || self.shares.len() > SHARES_MAX {
            return Err(bad("/shares", format!("a split has 1 to {SHARES_MAX} shares")));
        }
        let mut shares = BTreeMap::new();
        for (index, share) in self.shares.iter().enumerate() {
            if share.basis_points == 0 {
                return Err(bad(&format!("/shares/{index}/basis_points"), "a share is at least one basis point".to_owned()));
            }
            if shares.insert(share.payee, share.basis_points).is_some() {
                return Err(bad(&format!("/shares/{index}/payee"), "a payee has one share".to_owned()));
            }
        }
        let sum: i64 = shares.values().map(|points| i64::from(*points)).sum();
        if sum != i64::from(WHOLE) {
            return Err(RoyaltyError::SplitsDoNotAddUp(sum));
        }
        Ok(Split { track, effective_from: UnixMs(from.as_millisecond()), shares })
    }
}

/// Set who shares what the track earns from an instant on. Owners of its artist may.
#[utoipa::path(
    put,
    path = "/v1/me/tracks/{id}/splits",
    tag = "royalties",
    params(("id" = uuid::Uuid, Path, description = "The track")),
    request_body = Splits,
    responses(
        (status = 200, body = Splits),
        (status = 400, description = "`invalid_body`"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 403, description = "`needs_owner`"),
        (status = 404, description = "`no_such_track`: there is none, or it is another's"),
        (status = 422, description = "`splits_do_not_add_up`, `bad_item`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn put(
    caller: Caller,
    State(royalty): State<Royalty>,
    Path(track): Path<TrackId>,
    Json(wanted): Json<Splits>,
) -> Result<Json<Splits>, Problem> {
    may_split(&royalty, caller.account, track).await?;
    let split = wanted.validate(track)?;
    splits::put(&royalty.pool, &split, caller.account, royalty.clock.now()).await?;
    let shares = split.shares.iter().map(|(payee, basis_points)| Share { payee: *payee, basis_points: *basis_points }).collect();
    Ok(Json(Splits { effective_from: split.effective_from.rfc3339(), shares }))
}

/// Whether the caller has a say in the track's splits at this moment. A track of others is not there.
async fn may_split(royalty: &Royalty, caller: AccountId, track: TrackId) -> Result<(), Problem> {
    let not_there = || RoyaltyError::NotFound("track");
    let say = splits::say(&royalty.pool, track).await?.ok_or_else(not_there)?;
    let allowed = match say.acts_for {
        Some(artist) => require(royalty.memberships.role(caller, artist).await?, MemberRole::Owner),
        None if say.owner == caller => Ok(()),
        None => Err(NotAllowed::NotAMember),
    };
    match allowed {
        Err(NotAllowed::NotAMember) => Err(not_there().into()),
        allowed => Ok(allowed?),
    }
}
