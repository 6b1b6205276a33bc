//! `/v1/revocations`, for administrators, and `/internal/revocations`, the feed that gateways keep their copies by.

use std::time::Duration;

use axum::{extract::State, http::StatusCode};
use platform::{Admin, Json, NoContent, Page, Paging, Path, Problem, Query, problem::ProblemDocument};
use protocol::revocation::{FeedPage, Kind, PAGE_MAX};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{
    Identity, IdentityError,
    revocation::{Revocation, RevocationRequest, Wish},
    store::revocations::Revoked,
};

/// Short enough that a reader whose connection died unnoticed is back before a revocation is late.
const WAIT_MS_MAX: u64 = 1000;
/// A change made by another process of this service is seen after this long at the latest; one made here, at once.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Revoke a play, an account or a track: within seconds no edge and no gateway serves it. An account's log-ins end too. Again is no error: 200
/// and the revocation that stands.
#[utoipa::path(
    post, path = "/v1/revocations", tag = "identity", security(("session" = [])), request_body = RevocationRequest,
    responses(
        (status = 201, description = "It is revoked", body = Revocation),
        (status = 200, description = "It was revoked before", body = Revocation),
        (status = 400, description = "`invalid_body`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, description = "`session_missing`, `session_invalid` or `session_expired`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "`not_an_admin`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`no_such_account`, `own_account`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn create(
    admin: Admin,
    State(app): State<Identity>,
    Json(request): Json<RevocationRequest>,
) -> Result<(StatusCode, Json<Revocation>), Problem> {
    let wish = Wish::of(admin.account, request)?;
    match app.store.revoke(&wish, app.now()).await? {
        Revoked::Now(revocation) => {
            app.feed_grew();
            tracing::info!(kind = wish.kind.name(), id = %wish.id, by = %admin.account, "revoked");
            Ok((StatusCode::CREATED, Json(revocation)))
        }
        Revoked::Before(revocation) => Ok((StatusCode::OK, Json(revocation))),
    }
}

/// What is revoked or was lifted lately, the latest change first.
#[utoipa::path(
    get, path = "/v1/revocations", tag = "identity", security(("session" = [])),
    params(
        ("limit" = Option<u32>, Query, description = "1 to 200, 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of revocations", body = Page<Revocation>),
        (status = 400, description = "`invalid_query`, `invalid_cursor`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, description = "`session_missing`, `session_invalid` or `session_expired`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "`not_an_admin`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list(_: Admin, State(app): State<Identity>, paging: Paging) -> Result<Page<Revocation>, Problem> {
    let revocations = app.store.revocations(paging.after()?, paging.rows()).await?;
    Ok(Page::of(revocations, &paging, |revocation| revocation.seq))
}

/// Lift a revocation: what begins from now on is served again, what began before stays refused.
#[utoipa::path(
    delete, path = "/v1/revocations/{kind}/{id}", tag = "identity", security(("session" = [])),
    params(
        ("kind" = String, Path, description = "`play`, `account` or `track`"),
        ("id" = Uuid, Path, description = "What was revoked"),
    ),
    responses(
        (status = 204, description = "It is lifted"),
        (status = 401, description = "`session_missing`, `session_invalid` or `session_expired`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "`not_an_admin`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`no_such_revocation`: nothing of this name is revoked", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn lift(admin: Admin, State(app): State<Identity>, Path((kind, id)): Path<(Kind, Uuid)>) -> Result<NoContent, Problem> {
    if !app.store.lift(kind, id, app.now()).await? {
        return Err(IdentityError::NoSuchRevocation.into());
    }
    app.feed_grew();
    tracing::info!(kind = kind.name(), %id, by = %admin.account, "a revocation is lifted");
    Ok(NoContent)
}

/// Where to read on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadOn {
    /// The place the reader's copy has reached.
    #[serde(default)]
    after: i64,
    /// How long to wait for the first change, at most 1,000 ms.
    #[serde(default)]
    wait_ms: u64,
}

/// What changed after a place in the feed, waiting for a change when there is none. `protocol::revocation` has the shape.
#[utoipa::path(
    get, path = "/internal/revocations", tag = "internal", params(ReadOn),
    responses((status = 200, description = "The changes, in order", body = Object))
)]
pub(crate) async fn feed(State(app): State<Identity>, Query(from): Query<ReadOn>) -> Result<Json<FeedPage>, Problem> {
    let deadline = Instant::now() + Duration::from_millis(from.wait_ms.min(WAIT_MS_MAX));
    let rows = i64::try_from(PAGE_MAX).unwrap_or(i64::MAX);
    let mut growth = app.feed_growth();
    loop {
        // Marked as seen before the look, so that what is committed during the look wakes us.
        growth.mark_unchanged();
        let (head, revocations) = app.store.revocation_feed(from.after, rows, app.now()).await?;
        if !revocations.is_empty() || Instant::now() >= deadline {
            let entries = revocations.iter().map(|revocation| revocation.entry(&app.token_keys)).collect();
            return Ok(Json(FeedPage { head, entries }));
        }
        let look_again = deadline.min(Instant::now() + LOOK_AGAIN);
        let _ = timeout_at(look_again, growth.changed()).await;
    }
}
