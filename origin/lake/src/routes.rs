//! `/internal/lake/…`: what was written, hour by hour, and forgetting an account. For our own processes.

use axum::extract::State;
use platform::{Json, NoContent, Path, Problem, Query, activity::Place};
use protocol::{AccountId, UnixMs};
use serde::{Deserialize, Serialize};

use crate::{
    Lake,
    manifest::{self, Hour},
    query,
    rows::Kind,
};

/// Which hours.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Span {
    /// From this instant,
    from_ms: i64,
    /// until before this one: at most 32 days.
    until_ms: i64,
}

/// What went through the lake, and what is in it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Hours {
    /// What the feeds told and what became of it.
    hours: Vec<Hour>,
    /// What the lake's files hold, counted in them.
    held: Vec<query::Held>,
    /// The place in the feed of plays up to which all that it told is counted here.
    written_to: Place,
}

const SPAN_MS_MAX: i64 = 32 * 86_400_000;

/// Rows by hour, as they were counted on their way and as the files have them.
#[utoipa::path(
    get,
    path = "/internal/lake/hours",
    tag = "internal",
    params(Span),
    responses((status = 200, body = Hours), (status = 400, description = "`invalid_query`"))
)]
pub(crate) async fn hours(State(lake): State<Lake>, Query(span): Query<Span>) -> Result<Json<Hours>, Problem> {
    if span.until_ms < span.from_ms || span.until_ms.saturating_sub(span.from_ms) > SPAN_MS_MAX {
        return Err(Problem::bad_request("invalid_query", "from_ms to until_ms is at most 32 days"));
    }
    let (from, until) = (UnixMs(span.from_ms), UnixMs(span.until_ms));
    // Before the files are counted: these have it then, whatever is written meanwhile.
    let (_, written_to) = manifest::position(&lake.pool, Kind::Play).await?;
    let mut connection = lake.pool.acquire().await?;
    let hours = manifest::hours(&mut connection, from, until).await?;
    drop(connection);
    let held = query::held(&lake, from, until).await.map_err(|error| {
        tracing::error!(%error, "the lake's files cannot be counted");
        Problem::unavailable(5)
    })?;
    Ok(Json(Hours { hours, held, written_to }))
}

/// Destroy an account's key: what it did stays, and cannot be told from anybody else's.
#[utoipa::path(
    delete,
    path = "/internal/lake/accounts/{account}",
    tag = "internal",
    params(("account" = uuid::Uuid, Path, description = "The account")),
    responses((status = 204, description = "It is forgotten; again is no error"))
)]
pub(crate) async fn forget(State(lake): State<Lake>, Path(account): Path<AccountId>) -> Result<NoContent, Problem> {
    lake.forget(account).await?;
    Ok(NoContent)
}
