//! Authorisation as a type in the handler's signature: a [`Caller`] has a session that this service verified itself, an [`Admin`] has the role
//! too. The session comes from the `Authorization` header, the keys from the keys directory. What a caller may do for an artist is for
//! [`crate::memberships`] to say.

use std::ops::Deref;

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{header, request::Parts},
};
use protocol::{
    Role, UnixMs,
    session::{Session, SessionVerifier},
};

use crate::{Clock, Problem};

/// What verifying a caller takes; a service's state gives it by `FromRef`.
#[derive(Debug, Clone)]
pub struct AuthState {
    /// The public keys.
    pub verifier: SessionVerifier,
    /// For expiry.
    pub clock: Clock,
}

impl AuthState {
    /// The session of a request.
    ///
    /// # Errors
    /// 401 `session_missing`, `session_invalid` or `session_expired`.
    pub fn session(&self, parts: &Parts) -> Result<Session, Problem> {
        Ok(self.verifier.verify_bearer(authorization(parts), self.now())?)
    }

    fn now(&self) -> UnixMs {
        self.clock.now()
    }
}

/// The `Authorization` header as text. One that is not text is as good as a wrong one.
fn authorization(parts: &Parts) -> Option<&str> {
    parts.headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or("-"))
}

/// Anyone with a session.
#[derive(Debug, Clone)]
pub struct Caller(pub Session);

/// An administrator.
#[derive(Debug, Clone)]
pub struct Admin(pub Session);

macro_rules! caller {
    ($name:ident, $check:expr) => {
        impl Deref for $name {
            type Target = Session;

            fn deref(&self) -> &Session {
                &self.0
            }
        }

        impl<S: Send + Sync> FromRequestParts<S> for $name
        where
            AuthState: FromRef<S>,
        {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
                let session = AuthState::from_ref(state).session(parts)?;
                let check: fn(&Session) -> Result<(), Problem> = $check;
                check(&session)?;
                Ok(Self(session))
            }
        }
    };
}

caller!(Caller, |_| Ok(()));
caller!(Admin, |session| match session.role {
    Role::Admin => Ok(()),
    _ => Err(Problem::forbidden("not_an_admin", "this call is for administrators")),
});
