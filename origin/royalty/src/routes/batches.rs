//! `/internal/batches`: where buffers hand their heartbeats over.

use axum::{body::Bytes, extract::State};
use platform::{Json, Problem};

use crate::{
    Royalty,
    intake::{Accepted, Frozen},
};

/// Bytes of a batch. A buffer freezes far less; this only bounds memory.
pub(crate) const BATCH_BYTES_MAX: usize = 16 << 20;
/// Batches whose bytes are held at a time; others wait before their bodies are read.
pub(crate) const BATCHES_MAX: usize = 32;

/// Take a frozen batch. Answered when it is durable, so that the buffer may forget it: merged, or queued for the merge. The same bytes again change nothing.
#[utoipa::path(
    post,
    path = "/internal/batches",
    tag = "internal",
    request_body(content_type = "application/json", description = "A frozen batch (`protocol::heartbeat::Batch`)", content = Object),
    responses(
        (status = 200, body = Accepted, description = "`merged` or `already_merged` with what became of the records, or `queued`"),
        (status = 400, description = "`invalid_body`, `bad_batch`"),
        (status = 409, description = "`batch_conflict`: the batch was merged with other bytes"),
        (status = 503, description = "`unavailable`, `intake_away`: it may not be durable; send the same bytes again"),
    )
)]
pub(crate) async fn merge(State(royalty): State<Royalty>, body: Bytes) -> Result<Json<Accepted>, Problem> {
    let batch = platform::json::parse(&body)?;
    let frozen = Frozen::new(body, batch, String::new())?;
    Ok(Json(royalty.intake.accept(frozen).await?))
}
