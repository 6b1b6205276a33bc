//! Sessions: short EdDSA access tokens (JWT, RFC 7519; Ed25519, RFC 8037) that edge and gateway verify without asking the origin.
//!
//! One algorithm, chosen by us and never by the token's header. `play_until` outlives `exp`: only the manifest honours it, so that
//! an identity outage stops no music.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{AccountId, Plan, Role, Territory, UnixMs, ids::parse_hex};

const ISSUER: &str = "antiphon";
const SKEW_MS: i64 = 30_000;
/// No access token of ours is longer; anything longer is refused before it is decoded.
const JWT_CHARS_MAX: usize = 2048;

/// Who calls, as their access token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The account.
    pub account: AccountId,
    /// Its role.
    pub role: Role,
    /// Its plan.
    pub plan: Plan,
    /// The country it signed up in.
    pub country: Territory,
    /// The refresh family the session belongs to.
    pub family: Uuid,
    /// Its display name.
    pub name: String,
    /// When the token was signed.
    pub issued_at: UnixMs,
    /// When it ends for every call but the manifest.
    pub expires_at: UnixMs,
    /// When it ends for the manifest.
    pub play_until: UnixMs,
}

impl Session {
    /// Whether it is in force for the manifest, which honours `play_until`.
    ///
    /// # Errors
    /// [`SessionError::Invalid`] before it was signed, [`SessionError::Expired`] when it has ended.
    pub fn may_play(&self, now: UnixMs) -> Result<(), SessionError> {
        self.is_in_force(self.play_until.max(self.expires_at), now)
    }

    fn is_in_force(&self, until: UnixMs, now: UnixMs) -> Result<(), SessionError> {
        if self.issued_at.since(now) > SKEW_MS {
            return Err(SessionError::Invalid);
        }
        if now.since(until) > SKEW_MS { Err(SessionError::Expired) } else { Ok(()) }
    }
}

/// A name for an access token that tells nothing of it (SHA-256).
#[must_use]
pub fn fingerprint(jwt: &str) -> [u8; 32] {
    Sha256::digest(jwt.as_bytes()).into()
}

/// Why a session is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// No bearer token was sent.
    #[error("this call needs a session: send `Authorization: Bearer <access_token>`")]
    Missing,
    /// Not signed by us, or altered.
    #[error("the session is not valid: log in again")]
    Invalid,
    /// Valid once.
    #[error("the session has expired: refresh it")]
    Expired,
}

impl SessionError {
    /// The stable code of the problem document.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "session_missing",
            Self::Invalid => "session_invalid",
            Self::Expired => "session_expired",
        }
    }
}

/// Why a key document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SessionKeysError {
    /// Not the expected JSON.
    #[error("the session keys are not readable: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// A key is not an Ed25519 key.
    #[error("session key {0:?} is not an Ed25519 key")]
    BadKey(String),
    /// `current` names a key that is not there.
    #[error("the current session key {0:?} is not among the keys")]
    NoCurrent(String),
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

#[derive(Serialize, Deserialize)]
struct JwtClaims {
    iss: String,
    sub: AccountId,
    iat: i64,
    exp: i64,
    play_until: i64,
    sid: Uuid,
    role: Role,
    plan: Plan,
    country: Territory,
    name: String,
}

/// Signs sessions; lives in identity alone.
pub struct SessionSigner {
    current: String,
    keys: BTreeMap<String, SigningKey>,
}

impl SessionSigner {
    /// Reads `{"current": "k1", "keys": {"k1": "<64 hex seed>"}}`.
    ///
    /// # Errors
    /// When the document is not of that form.
    pub fn parse(json: &str) -> Result<Self, SessionKeysError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Document {
            current: String,
            keys: BTreeMap<String, String>,
        }
        let document: Document = serde_json::from_str(json)?;
        let mut keys = BTreeMap::new();
        for (id, seed) in document.keys {
            let Some(seed) = parse_hex::<32>(&seed) else { return Err(SessionKeysError::BadKey(id)) };
            keys.insert(id, SigningKey::from_bytes(&seed));
        }
        if !keys.contains_key(&document.current) {
            return Err(SessionKeysError::NoCurrent(document.current));
        }
        Ok(Self { current: document.current, keys })
    }

    /// The access token for `session`.
    #[must_use]
    pub fn sign(&self, session: &Session) -> String {
        let header = Header { alg: "EdDSA".to_owned(), typ: "JWT".to_owned(), kid: self.current.clone() };
        let claims = JwtClaims {
            iss: ISSUER.to_owned(),
            sub: session.account,
            iat: session.issued_at.0 / 1000,
            exp: session.expires_at.0 / 1000,
            play_until: session.play_until.0 / 1000,
            sid: session.family,
            role: session.role,
            plan: session.plan,
            country: session.country,
            name: session.name.clone(),
        };
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.keys.get(&self.current).map(|key| key.sign(signed.as_bytes()).to_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.unwrap_or([0; 64])))
    }

    /// The public keys as a JWK set (RFC 7517, RFC 8037).
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|(id, key)| {
                let x = URL_SAFE_NO_PAD.encode(key.verifying_key().to_bytes());
                serde_json::json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": id, "x": x})
            })
            .collect();
        serde_json::json!({ "keys": keys })
    }
}

/// Verifies sessions; the same code at the edge and in every service.
#[derive(Debug, Clone)]
pub struct SessionVerifier {
    keys: BTreeMap<String, VerifyingKey>,
}

impl SessionVerifier {
    /// Reads a JWK set; keys of other kinds are passed over.
    ///
    /// # Errors
    /// When it is not a JWK set or holds a broken Ed25519 key.
    pub fn from_jwks(json: &str) -> Result<Self, SessionKeysError> {
        #[derive(Deserialize)]
        struct Jwks {
            keys: Vec<Jwk>,
        }
        #[derive(Deserialize)]
        struct Jwk {
            kid: String,
            crv: Option<String>,
            x: Option<String>,
        }
        let document: Jwks = serde_json::from_str(json)?;
        let mut keys = BTreeMap::new();
        for jwk in document.keys.into_iter().filter(|jwk| jwk.crv.as_deref() == Some("Ed25519")) {
            let key = jwk
                .x
                .as_deref()
                .and_then(|x| URL_SAFE_NO_PAD.decode(x).ok())
                .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
                .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
            keys.insert(jwk.kid.clone(), key.ok_or(SessionKeysError::BadKey(jwk.kid))?);
        }
        Ok(Self { keys })
    }

    /// The session of an `Authorization` header, for any call.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn verify_bearer(&self, authorization: Option<&str>, now: UnixMs) -> Result<Session, SessionError> {
        self.verify(bearer(authorization)?, now)
    }

    /// The session of an access token, for any call but the manifest.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn verify(&self, jwt: &str, now: UnixMs) -> Result<Session, SessionError> {
        let session = self.authenticate(jwt)?;
        session.is_in_force(session.expires_at, now).map(|()| session)
    }

    /// The session of an access token for the manifest, which honours `play_until`.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn verify_for_play(&self, jwt: &str, now: UnixMs) -> Result<Session, SessionError> {
        let session = self.authenticate(jwt)?;
        session.may_play(now).map(|()| session)
    }

    /// What an access token of ours says, whether or not it is in force: the same at any time, so it may be remembered, and is to be judged by
    /// [`Session::may_play`] whenever it is used.
    ///
    /// # Errors
    /// [`SessionError::Invalid`].
    pub fn authenticate(&self, jwt: &str) -> Result<Session, SessionError> {
        if jwt.len() > JWT_CHARS_MAX {
            return Err(SessionError::Invalid);
        }
        let (signed, signature) = jwt.rsplit_once('.').ok_or(SessionError::Invalid)?;
        let (header, claims) = signed.split_once('.').ok_or(SessionError::Invalid)?;
        let header: Header = decode(header)?;
        let key = self.keys.get(&header.kid).filter(|_| header.alg == "EdDSA").ok_or(SessionError::Invalid)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| SessionError::Invalid)?;
        let signature = Signature::from_slice(&signature).map_err(|_| SessionError::Invalid)?;
        key.verify_strict(signed.as_bytes(), &signature).map_err(|_| SessionError::Invalid)?;
        let claims: JwtClaims = decode(claims)?;
        if claims.iss != ISSUER {
            return Err(SessionError::Invalid);
        }
        Ok(Session {
            account: claims.sub,
            role: claims.role,
            plan: claims.plan,
            country: claims.country,
            family: claims.sid,
            name: claims.name,
            issued_at: UnixMs(claims.iat.saturating_mul(1000)),
            expires_at: UnixMs(claims.exp.saturating_mul(1000)),
            play_until: UnixMs(claims.play_until.saturating_mul(1000)),
        })
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750 section 2.1; the scheme's case does not matter, RFC 9110 section 11.1).
///
/// # Errors
/// [`SessionError::Missing`] without a header, [`SessionError::Invalid`] for another scheme.
pub fn bearer(authorization: Option<&str>) -> Result<&str, SessionError> {
    let (scheme, token) = authorization.ok_or(SessionError::Missing)?.split_once(' ').ok_or(SessionError::Invalid)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(SessionError::Invalid) }
}

fn encode(part: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).unwrap_or_default())
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, SessionError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| SessionError::Invalid)?;
    serde_json::from_slice(&bytes).map_err(|_| SessionError::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_795_556_280_000);

    fn signer(seed: &str) -> SessionSigner {
        SessionSigner::parse(&format!(r#"{{"current":"k1","keys":{{"k1":"{}"}}}}"#, seed.repeat(32))).unwrap()
    }

    fn session() -> Session {
        Session {
            account: AccountId::v7(NOW, [1; 10]),
            role: Role::Listener,
            plan: Plan::Premium,
            country: "DE".parse().unwrap(),
            family: Uuid::from_u128(7),
            name: "Ada".to_owned(),
            issued_at: NOW,
            expires_at: NOW.plus_ms(900_000),
            play_until: NOW.plus_ms(43_200_000),
        }
    }

    #[test]
    fn the_manifest_outlives_the_session_and_nothing_else_does() {
        let signer = signer("0a");
        let verifier = SessionVerifier::from_jwks(&signer.jwks().to_string()).unwrap();
        let jwt = signer.sign(&session());
        assert_eq!(verifier.verify(&jwt, NOW), Ok(session()));
        let later = NOW.plus_ms(3_600_000);
        assert_eq!(verifier.verify(&jwt, later), Err(SessionError::Expired));
        assert_eq!(verifier.verify_for_play(&jwt, later), Ok(session()));
        assert_eq!(verifier.verify_for_play(&jwt, NOW.plus_ms(43_300_000)), Err(SessionError::Expired));
    }

    #[test]
    fn a_forged_session_is_refused() {
        let (ours, theirs) = (signer("0a"), signer("0b"));
        let verifier = SessionVerifier::from_jwks(&ours.jwks().to_string()).unwrap();
        assert_eq!(verifier.verify(&theirs.sign(&session()), NOW), Err(SessionError::Invalid));
        let none = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT","kid":"k1"}"#), "e30");
        for forged in ["", ".", "..", "a.b.c", none.as_str()] {
            assert_eq!(verifier.verify(forged, NOW), Err(SessionError::Invalid), "{forged}");
        }
        let jwt = ours.sign(&session());
        let (head, tail) = jwt.split_at(jwt.len() / 2);
        let altered = format!("{head}{}{}", if tail.starts_with('A') { 'B' } else { 'A' }, &tail[1..]);
        assert_eq!(verifier.verify(&altered, NOW), Err(SessionError::Invalid));
        assert_eq!(verifier.verify_bearer(None, NOW), Err(SessionError::Missing));
        assert_eq!(verifier.verify_bearer(Some("Basic x"), NOW), Err(SessionError::Invalid));
    }
}
