//! Sessions as they are given out: an access token that others verify by themselves, and a refresh token that is good once.

use std::sync::Arc;

use platform::random_bytes;
use protocol::{
    UnixMs,
    session::{Session, SessionSigner},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    IdentityError,
    account::Account,
    store::{Spent, Store},
};

/// An access token is good for any call this long.
const ACCESS_MS: i64 = 15 * 60_000;
/// And for the manifest this long, so that an outage of identity stops no music.
const PLAY_MS: i64 = 12 * 3_600_000;
/// A person logs in again after this long at the latest.
const FAMILY_MS: i64 = 90 * 24 * 3_600_000;

/// The answer to a log-in or a refresh.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionAnswer {
    /// For `Authorization: Bearer`.
    pub(crate) access_token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    pub(crate) token_type: String,
    /// Seconds until the access token is to be refreshed.
    #[schema(example = 900)]
    pub(crate) expires_in_s: i64,
    /// Good once, for the next pair.
    pub(crate) refresh_token: String,
    /// Whose session it is.
    pub(crate) account: Account,
}

/// Gives out sessions.
#[derive(Clone)]
pub(crate) struct Sessions {
    store: Store,
    signer: Arc<SessionSigner>,
}

impl Sessions {
    pub(crate) const fn new(store: Store, signer: Arc<SessionSigner>) -> Self {
        Self { store, signer }
    }

    /// Begins a family.
    pub(crate) async fn begin(&self, account: Account, now: UnixMs) -> Result<SessionAnswer, IdentityError> {
        let family = uuid::Builder::from_unix_timestamp_millis(u64::try_from(now.0).unwrap_or(0), &random_bytes::<10>()).into_uuid();
        let token = random_bytes::<32>();
        self.store.begin_family(family, account.id, &sha256(&token), now, now.plus_ms(FAMILY_MS)).await?;
        Ok(self.answer(account, family, &token, now))
    }

    /// Spends a refresh token for the next pair. Plan, role and name are read anew.
    pub(crate) async fn refresh(&self, refresh_token: &str, now: UnixMs) -> Result<SessionAnswer, IdentityError> {
        let spent = decode(refresh_token).ok_or(IdentityError::RefreshInvalid)?;
        let next = random_bytes::<32>();
        match self.store.spend(&sha256(&spent), &sha256(&next), now).await? {
            Spent::Now { account, family } => Ok(self.answer(account, family, &next, now)),
            Spent::Before { family } => {
                tracing::warn!(%family, "a spent refresh token was used again; its family is revoked");
                Err(IdentityError::RefreshReused)
            }
            Spent::Ended => Err(IdentityError::RefreshExpired),
            Spent::Suspended => Err(IdentityError::Suspended),
            Spent::Unknown => Err(IdentityError::RefreshInvalid),
        }
    }

    fn answer(&self, account: Account, family: Uuid, refresh_token: &[u8; 32], now: UnixMs) -> SessionAnswer {
        let access_token = self.signer.sign(&Session {
            account: account.id,
            role: account.role,
            plan: account.plan,
            country: account.country,
            family,
            name: account.name.clone(),
            issued_at: now,
            expires_at: now.plus_ms(ACCESS_MS),
            play_until: now.plus_ms(PLAY_MS),
        });
        SessionAnswer {
            access_token,
            token_type: "Bearer".to_owned(),
            expires_in_s: ACCESS_MS / 1000,
            refresh_token: hex::encode(refresh_token),
            account,
        }
    }
}

fn sha256(token: &[u8; 32]) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn decode(token: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(token, &mut bytes).ok()?;
    Some(bytes)
}
