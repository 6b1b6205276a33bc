//! Refusals on their way out: `protocol::Problem` as an axum response, with the request's id and the headers that go with it.

use std::{convert::Infallible, fmt};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use protocol::{problem::FieldError, session::SessionError};

tokio::task_local! {
    /// The id of the request that the current task answers; set by [`crate::serve`].
    pub(crate) static REQUEST_ID: String;
}

/// The id of the request being answered, empty outside of one.
#[must_use]
pub fn request_id() -> String {
    REQUEST_ID.try_with(Clone::clone).unwrap_or_default()
}

/// An RFC 9457 answer: what is wrong and what the caller can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(protocol::Problem);

impl Problem {
    /// A refusal with a stable `code` and a sentence for a person.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(protocol::Problem::new(status.as_u16(), code, detail))
    }

    /// 400.
    #[must_use]
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401.
    #[must_use]
    pub fn unauthorized(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    /// 403.
    #[must_use]
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// 404.
    #[must_use]
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 409.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 422.
    #[must_use]
    pub fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 429 with `Retry-After`.
    #[must_use]
    pub fn too_many_requests(detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail).retry_after(retry_after_s)
    }

    /// 503 with `Retry-After`: something the service needs is away.
    #[must_use]
    pub fn unavailable(retry_after_s: u32) -> Self {
        Self(protocol::Problem::unavailable("unavailable", "the service cannot answer now; nothing was changed, try again", retry_after_s))
    }

    /// 500. Say what happened in the log, never here.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the service failed; the request id finds the cause in its log")
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// Adds the places of the body that are wrong, as (JSON Pointer, what is wrong).
    #[must_use]
    pub fn with_errors<P: Into<String>, D: Into<String>>(mut self, errors: impl IntoIterator<Item = (P, D)>) -> Self {
        let errors = errors.into_iter().map(|(pointer, detail)| FieldError { pointer: pointer.into(), detail: detail.into() });
        self.0.errors.extend(errors);
        self
    }

    /// The status it answers with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.0.code
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.0.status, self.0.code, self.0.detail)
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.0.json(&request_id())));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(protocol::Problem::CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.status == 401 {
            // RFC 9110 section 15.5.2: a 401 names the scheme that would do.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<protocol::Problem> for Problem {
    fn from(problem: protocol::Problem) -> Self {
        Self(problem)
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        Self::unauthorized(error.code(), error.to_string())
    }
}

impl From<Infallible> for Problem {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A database that is away answers 503; anything else is a fault of ours and answers 500. Neither tells the client more.
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        if is_away(&error) {
            tracing::warn!(%error, "the database is away");
            return Self::unavailable(2);
        }
        tracing::error!(%error, "a database call failed");
        Self::internal()
    }
}

/// Whether trying again later can help: the connection is gone, the server is stopping or full, or two writers met.
#[must_use]
pub fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) | sqlx::Error::Tls(_) => true,
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            // SQLSTATE classes: 08 connection exceptions, 53 insufficient resources, 57P operator intervention, and the two
            // conflicts that a retry resolves.
            code.starts_with("08") || code.starts_with("53") || code.starts_with("57P") || code == "40001" || code == "40P01"
        }),
        _ => false,
    }
}

/// The schema of the document, for OpenAPI.
#[derive(utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// A URN that ends in `code`.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// Stable, snake_case.
    pub code: String,
    /// Finds the request in the logs.
    pub request_id: String,
    /// Places in the body, when it is the body that is wrong.
    pub errors: Option<Vec<ProblemField>>,
}

/// What is wrong at one place of a body.
#[derive(utoipa::ToSchema)]
pub struct ProblemField {
    /// A JSON Pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}
