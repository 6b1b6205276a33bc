//! `/internal/popularity`: what search and recommendations rank by.

use axum::extract::State;
use platform::{Page, Problem, Query};
use serde::Deserialize;

use crate::{
    Royalty,
    store::plays::{self, Popularity},
};

const WINDOW_MS: i64 = 30 * 86_400_000;
const LIMIT_DEFAULT: i64 = 1_000;
const LIMIT_MAX: i64 = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Most {
    limit: Option<i64>,
}

/// The tracks with most valid listens of the last 30 days.
#[utoipa::path(
    get,
    path = "/internal/popularity",
    tag = "internal",
    params(("limit" = Option<i64>, Query, description = "How many, 1 to 100000")),
    responses((status = 200, body = Page<Popularity>), (status = 400, description = "`invalid_query`"))
)]
pub(crate) async fn list(State(royalty): State<Royalty>, Query(most): Query<Most>) -> Result<Page<Popularity>, Problem> {
    let limit = most.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    Ok(Page::whole(plays::popularity(&royalty.pool, royalty.clock.now().plus_ms(-WINDOW_MS), limit).await?))
}
