//! Sessions that this isolate has authenticated: a listener asks for many manifests by one access token, and its signature (Ed25519) costs more than all
//! of the rest of a manifest. Remembered is what the token says, which never changes; whether it is in force, and whether its account was revoked, is
//! judged each time (`protocol::admission::session`). Keys change with the settings, and those with the isolate.

use std::cell::RefCell;

use protocol::session::{Session, SessionError, SessionVerifier, fingerprint};

use crate::remembered::Remembered;

/// Sessions that an isolate remembers; one is below half a kilobyte.
const REMEMBERED_MAX: usize = 1_024;

thread_local! {
    /// By the token's fingerprint: whoever reads this memory has no session.
    static SESSIONS: RefCell<Remembered<[u8; 32], Session>> = RefCell::new(Remembered::of(REMEMBERED_MAX));
}

/// What `jwt` says, if it was signed by us.
pub(crate) fn authenticate(verifier: &SessionVerifier, jwt: &str) -> Result<Session, SessionError> {
    let name = fingerprint(jwt);
    if let Some(session) = SESSIONS.with_borrow(|sessions| sessions.get(&name)) {
        return Ok(session);
    }
    let session = verifier.authenticate(jwt)?;
    SESSIONS.with_borrow_mut(|sessions| sessions.insert(name, session.clone()));
    Ok(session)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use protocol::{
        AccountId, Plan, Problem, Role, UnixMs, admission,
        keys::TokenKeys,
        revocation::{Entry, FeedPage, Kind, LIFE_MS, Revocations},
        session::SessionSigner,
    };

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_556_280_000);
    const TOKEN_KEYS: &str = r#"{"current":1,"keys":{"1":"1111111111111111111111111111111111111111111111111111111111111111"}}"#;

    fn signer() -> SessionSigner {
        SessionSigner::parse(&format!(r#"{{"current":"k1","keys":{{"k1":"{}"}}}}"#, "0a".repeat(32))).unwrap()
    }

    fn session() -> Session {
        Session {
            account: AccountId::v7(NOW, [1; 10]),
            role: Role::Listener,
            plan: Plan::Premium,
            country: "DE".parse().unwrap(),
            family: uuid::Uuid::from_u128(7),
            name: "Ada".to_owned(),
            issued_at: NOW,
            expires_at: NOW.plus_ms(900_000),
            play_until: NOW.plus_ms(43_200_000),
        }
    }

    fn revoking(account: AccountId, keys: &TokenKeys) -> Revocations {
        let at_ms = NOW.plus_ms(1_000);
        let subject = keys.pseudonym(account).into();
        let entry = Entry { seq: 1, kind: Kind::Account, subject, at_ms, lifted_at_ms: None, until_ms: at_ms.plus_ms(LIFE_MS) };
        let mut revoked = Revocations::default();
        revoked.take(&FeedPage { head: 1, entries: vec![entry] }, at_ms);
        revoked
    }

    #[test]
    fn a_remembered_session_is_refused_once_it_has_ended_or_was_revoked() {
        let (keys, verifier) = (TokenKeys::parse(TOKEN_KEYS).unwrap(), SessionVerifier::from_jwks(&signer().jwks().to_string()).unwrap());
        let bearer = format!("Bearer {}", signer().sign(&session()));
        let judged = |revoked: &Revocations, now| -> Result<Session, Problem> {
            admission::session(&keys, |jwt| authenticate(&verifier, jwt), revoked, Some(&bearer), now)
        };
        let none = Revocations::default();
        assert_eq!(judged(&none, NOW.plus_ms(2_000)).unwrap(), session());
        // Without the memory this verifier would know none of its signatures.
        let stranger = SessionVerifier::from_jwks(r#"{"keys":[]}"#).unwrap();
        assert_eq!(authenticate(&stranger, bearer.trim_start_matches("Bearer ")), Ok(session()), "it is remembered");
        let refusal = |revoked: &Revocations, now| judged(revoked, now).map(|_| ()).map_err(|problem| problem.code);
        assert_eq!(refusal(&revoking(session().account, &keys), NOW.plus_ms(2_000)), Err("session_revoked"));
        assert_eq!(refusal(&none, session().play_until.plus_ms(30_001)), Err("session_expired"));
        assert_eq!(refusal(&none, NOW.plus_ms(-30_001)), Err("session_invalid"));
        assert_eq!(refusal(&none, NOW.plus_ms(3_000)), Ok(()), "nor was a refusal remembered");
    }

    #[test]
    fn what_is_not_ours_is_not_remembered() {
        let verifier = SessionVerifier::from_jwks(&signer().jwks().to_string()).unwrap();
        let forged = format!("{}A", signer().sign(&session()));
        for _ in 0..2 {
            assert_eq!(authenticate(&verifier, &forged), Err(SessionError::Invalid));
        }
    }
}
