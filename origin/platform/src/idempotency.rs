//! `Idempotency-Key` on POST: the first answer under a key is kept in `<schema>.idempotency` and given again, for as long as it is kept, to
//! whoever sends the same request under the same key. A layer, so that handlers know nothing of it:
//!
//! ```text
//! router.route_layer(axum::middleware::from_fn_with_state(Idempotency::new(pool, "ingest", auth), idempotency::remember))
//! ```
//!
//! The table, in the migration of each service that uses it:
//!
//! ```sql
//! CREATE TABLE ingest.idempotency (
//!     scope TEXT NOT NULL, key TEXT NOT NULL, request_sha256 BYTEA NOT NULL, started_at_ms BIGINT NOT NULL,
//!     status SMALLINT, content_type TEXT, body BYTEA, PRIMARY KEY (scope, key));
//! CREATE INDEX idempotency_age ON ingest.idempotency (started_at_ms);
//! GRANT SELECT, INSERT, UPDATE, DELETE ON ingest.idempotency TO antiphon_ingest;
//! ```

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, PgPool};

use crate::{AuthState, Problem, random_bytes};

const HEADER: &str = "idempotency-key";
/// On an answer that is given again.
const REPLAYED: &str = "idempotency-replayed";
const KEY_CHARS_MAX: usize = 255;
const BODY_BYTES_MAX: usize = 1 << 20;
/// A request that has not been answered for this long is taken for dead, and may be made again.
const ABANDONED_MS: i64 = 60_000;
const KEPT_MS: i64 = 24 * 3_600_000;

/// Where answers are kept.
#[derive(Debug, Clone)]
pub struct Idempotency {
    pool: PgPool,
    schema: &'static str,
    auth: AuthState,
}

/// A request under a key.
struct Attempt {
    scope: String,
    key: String,
    sha256: [u8; 32],
}

#[derive(sqlx::FromRow)]
struct Kept {
    request_sha256: Vec<u8>,
    status: Option<i16>,
    content_type: Option<String>,
    body: Option<Vec<u8>>,
}

impl Idempotency {
    /// In the table `<schema>.idempotency`.
    #[must_use]
    pub const fn new(pool: PgPool, schema: &'static str, auth: AuthState) -> Self {
        Self { pool, schema, auth }
    }

    /// A statement on this service's table. The schema is a constant of the program.
    fn sql(&self, text: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(text.replace("{schema}", self.schema))
    }

    /// Takes the key for this attempt; `None` when it is taken, otherwise the answer that is kept under it.
    async fn begin(&self, attempt: &Attempt) -> Result<Option<Response>, Problem> {
        let now = self.auth.clock.now();
        if random_bytes::<1>() == [0] {
            let old = self.sql("DELETE FROM {schema}.idempotency WHERE started_at_ms < $1");
            sqlx::query(old).bind(now.plus_ms(-KEPT_MS).0).execute(&self.pool).await?;
        }
        let taken = sqlx::query(self.sql(
            "INSERT INTO {schema}.idempotency AS kept (scope, key, request_sha256, started_at_ms)
             VALUES ($1, $2, $3, $4)
                 ON CONFLICT (scope, key) DO UPDATE
                SET started_at_ms = EXCLUDED.started_at_ms
              WHERE kept.status IS NULL
                AND kept.request_sha256 = EXCLUDED.request_sha256
                AND kept.started_at_ms < $5",
        ))
        .bind(&attempt.scope)
        .bind(&attempt.key)
        .bind(attempt.sha256.as_slice())
        .bind(now.0)
        .bind(now.plus_ms(-ABANDONED_MS).0)
        .execute(&self.pool)
        .await?;
        if taken.rows_affected() == 1 {
            return Ok(None);
        }
        let kept: Option<Kept> = sqlx::query_as(
            self.sql("SELECT request_sha256, status, content_type, body FROM {schema}.idempotency WHERE scope = $1 AND key = $2"),
        )
        .bind(&attempt.scope)
        .bind(&attempt.key)
        .fetch_optional(&self.pool)
        .await?;
        let in_progress =
            || Problem::conflict("idempotency_in_progress", "the first request under this key is not answered yet").retry_after(1);
        match kept {
            Some(kept) if kept.request_sha256 != attempt.sha256 => {
                Err(Problem::unprocessable("idempotency_key_reused", "this `Idempotency-Key` belongs to another request; use a new one"))
            }
            Some(Kept { status: Some(status), content_type, body, .. }) => Ok(Some(replay(status, content_type, body.unwrap_or_default()))),
            _ => Err(in_progress()),
        }
    }

    /// Keeps the answer, or frees the key when the same request may fare better later.
    async fn end(&self, attempt: &Attempt, status: StatusCode, content_type: Option<&str>, body: &Bytes) -> Result<(), sqlx::Error> {
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::UNAUTHORIZED {
            let free = self.sql("DELETE FROM {schema}.idempotency WHERE scope = $1 AND key = $2");
            sqlx::query(free).bind(&attempt.scope).bind(&attempt.key).execute(&self.pool).await?;
            return Ok(());
        }
        sqlx::query(self.sql("UPDATE {schema}.idempotency SET status = $3, content_type = $4, body = $5 WHERE scope = $1 AND key = $2"))
            .bind(&attempt.scope)
            .bind(&attempt.key)
            .bind(i16::try_from(status.as_u16()).unwrap_or(500))
            .bind(content_type)
            .bind(body.as_ref())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

/// The layer.
pub async fn remember(State(idempotency): State<Idempotency>, request: Request, next: Next) -> Response {
    match remembered(&idempotency, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn remembered(idempotency: &Idempotency, request: Request, next: Next) -> Result<Response, Problem> {
    let key = key(request.headers())?.filter(|_| request.method() == Method::POST);
    let Some(key) = key else { return Ok(next.run(request).await) };

    let (parts, body) = request.into_parts();
    // Keys are the caller's own: two accounts that choose the same one do not meet.
    let scope = idempotency.auth.session(&parts).map_or_else(|_| "anonymous".to_owned(), |session| session.account.to_string());
    let body = to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "the body is too large or ended early"))?;
    let attempt = Attempt { scope, key, sha256: digest(parts.uri.path(), &body) };

    if let Some(kept) = idempotency.begin(&attempt).await? {
        return Ok(kept);
    }
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| Problem::internal())?;
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if let Err(error) = idempotency.end(&attempt, parts.status, content_type, &body).await {
        // The work is done and is told; sent again under this key it waits until the attempt counts as abandoned.
        tracing::error!(%error, "an answer could not be kept under its idempotency key");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=KEY_CHARS_MAX).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Problem::bad_request("invalid_idempotency_key", "`Idempotency-Key` is 1 to 255 ASCII characters")),
    }
}

fn digest(path: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(path.as_bytes());
    hash.update(b"\n");
    hash.update(body);
    hash.finalize().into()
}

fn replay(status: i16, content_type: Option<String>, body: Vec<u8>) -> Response {
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
    let mut response = (status, body).into_response();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    match content_type.and_then(|text| HeaderValue::from_str(&text).ok()) {
        Some(content_type) => response.headers_mut().insert(header::CONTENT_TYPE, content_type),
        None => response.headers_mut().remove(header::CONTENT_TYPE),
    };
    response
}
