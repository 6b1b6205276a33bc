//! `/internal/batches`: where buffers hand their heartbeats over.

use axum::{body::Bytes, extract::State};
use platform::{Json, Problem};
use protocol::heartbeat::Batch;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Royalty, collector,
    store::merge::{self, BatchKey, Outcome, Tally},
};

/// Bytes of a batch. A buffer freezes far less; this only bounds memory.
pub(crate) const BATCH_BYTES_MAX: usize = 16 << 20;

/// What became of a batch. Sent only after the commit: the buffer may forget it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Merged {
    outcome: Outcome,
    #[serde(flatten)]
    tally: Tally,
}

/// Merge a frozen batch. The same bytes again change nothing and answer `already_merged`.
#[utoipa::path(
    post,
    path = "/internal/batches",
    tag = "internal",
    request_body(content_type = "application/json", description = "A frozen batch (`protocol::heartbeat::Batch`)", content = Object),
    responses(
        (status = 200, body = Merged),
        (status = 400, description = "`invalid_body`, `bad_batch`"),
        (status = 409, description = "`batch_conflict`: the batch was merged with other bytes"),
        (status = 503, description = "Nothing was merged; send the same bytes again"),
    )
)]
pub(crate) async fn merge(State(royalty): State<Royalty>, body: Bytes) -> Result<Json<Merged>, Problem> {
    let batch: Batch = platform::json::parse(&body)?;
    let number = collector::check_name(&batch)?;
    let now = royalty.clock.now();
    let sorted = collector::sort(&batch, &royalty.keys, now)?;
    let key = BatchKey { sha256: Batch::digest(&body), buffer: batch.buffer, epoch: batch.epoch, number, frozen_at: batch.frozen_at_ms };
    let (outcome, tally) = merge::merge(&royalty.pool, &royalty.partitions, &key, sorted, now).await?;
    royalty.merged.notify_one();
    if tally.quarantined > 0 && outcome == Outcome::Merged {
        tracing::warn!(buffer = key.buffer, number, quarantined = tally.quarantined, "records were quarantined");
    }
    Ok(Json(Merged { outcome, tally }))
}
