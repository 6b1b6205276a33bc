//! What only the system itself can make: sessions, tokens, tickets and upload addresses, signed with the keys in its state directory. They are
//! genuine but for the one thing a test wants to be different, so that a refusal can have no other reason.

use std::time::Duration;

use anyhow::{Context as _, Result};
use protocol::{
    UnixMs,
    keys::TokenKeys,
    session::{Session, SessionSigner, SessionVerifier},
    token::{self, Claims, Purpose, Verifier as _},
};
use reqwest::Url;
use rusty_s3::{Bucket, Credentials, S3Action as _, UrlStyle};
use serde::Deserialize;

use crate::{System, Upload, objects::REGION};

/// The keys of a running system.
pub struct Keys {
    sessions: SessionSigner,
    tokens: TokenKeys,
    objects: ObjectKeys,
}

/// What opens the object store.
#[derive(Deserialize)]
pub(crate) struct ObjectKeys {
    access_key: String,
    secret_key: String,
}

impl ObjectKeys {
    pub(crate) fn of(system: &System) -> Result<Self> {
        Ok(serde_json::from_str(&read(system, "objects.json")?)?)
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::new(&self.access_key, &self.secret_key)
    }
}

fn read(system: &System, name: &str) -> Result<String> {
    std::fs::read_to_string(system.state.join("keys").join(name)).with_context(|| name.to_owned())
}

impl Keys {
    /// Reads the keys of `system`.
    ///
    /// # Errors
    /// When they are not where the system keeps them.
    pub fn of(system: &System) -> Result<Self> {
        Ok(Self {
            sessions: SessionSigner::parse(&read(system, "session.json")?)?,
            tokens: TokenKeys::parse(&read(system, "token.json")?)?,
            objects: ObjectKeys::of(system)?,
        })
    }

    /// The same session with `change` made to it.
    ///
    /// # Errors
    /// When `access_token` is not the system's.
    pub fn session(&self, access_token: &str, change: impl FnOnce(&mut Session)) -> Result<String> {
        let mut session = SessionVerifier::from_jwks(&self.sessions.jwks().to_string())?.verify(access_token, crate::now())?;
        change(&mut session);
        Ok(self.sessions.sign(&session))
    }

    /// The same media token or event ticket with `change` made to what it says.
    ///
    /// # Errors
    /// When `token` is not the system's.
    pub fn token(&self, token: &str, purpose: Purpose, change: impl FnOnce(&mut Claims)) -> Result<String> {
        let now = crate::now();
        let mut claims = self.tokens.verify(token, purpose, now)?;
        change(&mut claims);
        Ok(token::mint(&self.tokens, &claims, now)?)
    }

    /// The same upload with an address that was signed at `at` and holds for `expires`.
    ///
    /// # Errors
    /// When the upload's own address is not that of an object.
    pub fn presigned_again(&self, upload: &Upload, at: UnixMs, expires: Duration) -> Result<Upload> {
        let url = Url::parse(&upload.url)?;
        let (bucket, key) = url.path().trim_start_matches('/').split_once('/').context("a bucket and a key")?;
        let bucket = Bucket::new(url.join("/")?, UrlStyle::Path, bucket.to_owned(), REGION)?;
        let credentials = self.objects.credentials();
        let mut action = bucket.put_object(Some(&credentials), key);
        for (name, value) in &upload.headers {
            action.headers_mut().insert(name.clone(), value.clone());
        }
        let url = action.sign_with_time(expires, &jiff::Timestamp::from_millisecond(at.0)?).to_string();
        Ok(Upload { url, ..upload.clone() })
    }
}
