//! `/internal/outbox`: where search, royalty and recommend read what happened to tracks. Each keeps its own cursor beside what it
//! derives, so that a replay is exact.

use std::time::Duration;

use axum::extract::State;
use platform::{Json, Problem, Query};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};

use crate::{
    Catalog,
    store::outbox::{self, Event},
};

const LIMIT_MAX: i64 = 1000;
const WAIT_MS_MAX: u64 = 30_000;
/// A change made by another process of this service is seen after this long at the latest; one made here, at once.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Where to read on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadOn {
    /// The last sequence number the reader has.
    #[serde(default)]
    after: i64,
    /// At most this many events (1 to 1000).
    #[serde(default = "default_limit")]
    limit: i64,
    /// How long to wait for the first event, at most 30,000 ms.
    #[serde(default)]
    wait_ms: u64,
}

const fn default_limit() -> i64 {
    500
}

/// Events in commit order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Batch {
    events: Vec<Event>,
    /// The newest sequence number there is; the reader's lag is the difference to its own.
    head: i64,
}

/// Read on in the outbox, waiting for news when there are none.
#[utoipa::path(
    get,
    path = "/internal/outbox",
    tag = "internal",
    params(ReadOn),
    responses((status = 200, body = Batch))
)]
pub(crate) async fn read(State(catalog): State<Catalog>, Query(from): Query<ReadOn>) -> Result<Json<Batch>, Problem> {
    let deadline = Instant::now() + Duration::from_millis(from.wait_ms.min(WAIT_MS_MAX));
    let limit = from.limit.clamp(1, LIMIT_MAX);
    let mut growth = catalog.outbox_growth();
    loop {
        // Marked as seen before the look, so that what is committed during the look wakes us.
        growth.mark_unchanged();
        let events = outbox::after(&catalog.pool, from.after, limit).await?;
        if !events.is_empty() || Instant::now() >= deadline || catalog.shutdown.is_requested() {
            let head = outbox::head(&catalog.pool).await?;
            return Ok(Json(Batch { events, head }));
        }
        let look_again = deadline.min(Instant::now() + LOOK_AGAIN);
        let _ = timeout_at(look_again, growth.changed()).await;
    }
}
