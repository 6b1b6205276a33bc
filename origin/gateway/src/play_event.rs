//! `POST /v1/me/play-event` without an edge: judge the post as the edge does, wrap it as a batch of its own, and answer 202 only after
//! royalty's transaction. The gateway keeps nothing: what royalty has not taken, the player still has.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use protocol::{
    Problem, admission,
    heartbeat::{Batch, PlayEventPost, PostAnswer, StoredPost},
};
use serde::Deserialize;

use crate::{answer::Answer, gateway::Gateway, routes::Service};

/// Names the gateway's batches. The buffer's storage is this process, so the epoch is made at its start.
pub(crate) struct Batches {
    epoch: String,
    taken: AtomicU64,
}

/// A second attempt has the same bytes, so a merge whose answer was lost is recognised.
const ATTEMPTS: u32 = 2;
const RETRY_AFTER_S: u32 = 5;

impl Batches {
    pub(crate) fn new(epoch: [u8; 16]) -> Self {
        Self { epoch: hex::encode(epoch), taken: AtomicU64::new(0) }
    }

    fn wrap(&self, post: StoredPost) -> Batch {
        let number = self.taken.fetch_add(1, Ordering::Relaxed) + 1;
        Batch { buffer: "gateway".to_owned(), epoch: self.epoch.clone(), number, frozen_at_ms: post.received_at_ms, posts: vec![post] }
    }
}

/// Answers a post, JSON or CMCD in event mode.
pub(crate) async fn answer(
    gateway: &Gateway,
    content_type: Option<&str>,
    query: Option<&str>,
    body: &[u8],
    request_id: &str,
) -> Result<Answer, Problem> {
    let post = PlayEventPost::read(content_type, query, body)?;
    let claims = gateway.revoked.judged(|revoked| admission::heartbeat(&gateway.token_keys, revoked, &post, gateway.clock.now()))?;
    let (kept, rejected) = post.receive(claims.duration_ms, gateway.clock.now());
    // `stop` stays null: which plays of an account are under way is known to its buffer at the edge alone.
    let mut told = PostAnswer { accepted: kept.events.len(), rejected, ..PostAnswer::default() };
    if !kept.events.is_empty() {
        let merged = merge(gateway, &gateway.batches.wrap(kept), request_id).await?;
        told.duplicate = merged.duplicate.min(told.accepted);
        told.accepted -= told.duplicate;
    }
    let text = serde_json::to_string(&told).map_err(|error| Problem::new(500, "internal", error.to_string()))?;
    Ok(Answer::whole(202, "application/json", text).header("cache-control", "no-store"))
}

/// What royalty says about a batch.
#[derive(Deserialize)]
struct Merged {
    #[serde(default)]
    duplicate: usize,
}

async fn merge(gateway: &Gateway, batch: &Batch, request_id: &str) -> Result<Merged, Problem> {
    let body: Bytes = serde_json::to_vec(batch).map_err(|error| Problem::new(500, "internal", error.to_string()))?.into();
    let not_kept = || Problem::unavailable("not_kept", "these events cannot be kept now: keep them and send them again", RETRY_AFTER_S);
    for _ in 0..ATTEMPTS {
        match gateway.services.post(Service::Royalty, "/internal/batches", request_id, body.clone()).await {
            Ok(answer) if answer.status() == reqwest::StatusCode::OK => return answer.json().await.map_err(|_| not_kept()),
            Ok(answer) => {
                tracing::warn!(status = %answer.status(), number = batch.number, "royalty does not take a batch");
                return Err(not_kept());
            }
            Err(error) => tracing::warn!(%error, number = batch.number, "royalty does not answer"),
        }
    }
    Err(not_kept())
}
