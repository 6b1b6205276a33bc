//! `/v1/sessions`

use axum::{
    extract::State,
    http::{HeaderName, header},
};
use platform::{Caller, Created, Json, NoContent, Peer, Problem, problem::ProblemDocument};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    Identity, IdentityError,
    account::{Account, email_key},
    session::SessionAnswer,
};

/// The answers hold secrets: no cache may keep them (RFC 6749 section 5.1).
const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// The body of a log-in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogIn {
    /// The account's address.
    email: String,
    /// Its password.
    password: String,
}

/// The body of a refresh.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    /// The newest refresh token of the session.
    refresh_token: String,
}

/// Log in. Takes as long for an address that nobody has as for a wrong password, and says the same.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "identity", request_body = LogIn,
    responses(
        (status = 201, description = "A session", body = SessionAnswer),
        (status = 401, description = "`bad_credentials`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "`account_suspended`, when address and password are right", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_requests`, with Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn create(
    State(app): State<Identity>,
    Peer(peer): Peer,
    Json(log_in): Json<LogIn>,
) -> Result<([(HeaderName, &'static str); 1], Created<SessionAnswer>), Problem> {
    let (email_key, now) = (email_key(&log_in.email), app.now());
    app.throttles.charge(&email_key, peer, now)?;
    let account = match check(&app, &email_key, &log_in.password).await {
        Err(IdentityError::BadCredentials) => return Err(IdentityError::BadCredentials.into()),
        // A fault of ours is no guess of theirs.
        Err(error) => {
            app.throttles.refund(&email_key, peer);
            return Err(error.into());
        }
        Ok(account) => account,
    };
    app.throttles.forgive(&email_key, peer);
    Ok((NO_STORE, Created(app.sessions.begin(account, now).await?)))
}

/// The account that address and password belong to.
async fn check(app: &Identity, email_key: &str, password: &str) -> Result<Account, IdentityError> {
    let found = app.store.find_by_email(email_key).await?;
    let phc = found.as_ref().map(|found| found.password_phc.as_str());
    let matches = app.hasher.verify(password, phc).await?;
    found.filter(|_| matches).map(|found| found.account).ok_or(IdentityError::BadCredentials)
}

/// Exchange a refresh token for the next pair. A token that was used before ends the whole session.
#[utoipa::path(
    post, path = "/v1/sessions/refresh", tag = "identity", request_body = Refresh,
    responses(
        (status = 201, description = "The next pair", body = SessionAnswer),
        (status = 401, description = "`refresh_invalid`, `refresh_reused` or `refresh_expired`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "`account_suspended`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn refresh(
    State(app): State<Identity>,
    Json(refresh): Json<Refresh>,
) -> Result<([(HeaderName, &'static str); 1], Created<SessionAnswer>), Problem> {
    Ok((NO_STORE, Created(app.sessions.refresh(&refresh.refresh_token, app.now()).await?)))
}

/// Log out: the session's refresh token is dead at once, its access token within 15 minutes.
#[utoipa::path(
    delete, path = "/v1/sessions", tag = "identity", security(("session" = [])),
    responses(
        (status = 204, description = "Logged out"),
        (status = 401, description = "`session_missing`, `session_invalid` or `session_expired`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn end(State(app): State<Identity>, caller: Caller) -> Result<NoContent, Problem> {
    app.store.log_out(caller.account, caller.family, app.now()).await?;
    Ok(NoContent)
}
