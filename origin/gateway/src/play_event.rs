//! `POST /v1/me/play-event` without an edge: judge the post as the edge does, wrap it as a batch of its own, and answer 202 only after
//! royalty's transaction. The gateway keeps nothing: what royalty has not taken, the player still has. What it knows of an account's plays
//! (`protocol::beats`) is what was posted to this process: the edge's buffer and the gateway do not tell each other.

use std::sync::{
    PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bytes::Bytes;
use protocol::{
    Problem, admission,
    beats::{self, too_many_heartbeats},
    heartbeat::{Batch, PlayEventPost, PostAnswer, StoredPost},
    tally::{Hour, HourTally, Report, Since},
};
use serde::Deserialize;

use crate::{answer::Answer, gateway::Gateway, routes::Service};

/// Names the gateway's batches. The buffer's storage is this process, so the epoch is made at its start.
pub(crate) struct Batches {
    epoch: String,
    taken: AtomicU64,
    /// Posts that wait for royalty now.
    merging: AtomicUsize,
}

/// One of the posts that wait for royalty, until it is dropped.
struct Turn<'a>(&'a Batches);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.merging.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A second attempt has the same bytes, so a merge whose answer was lost is recognised.
const ATTEMPTS: u32 = 2;
const RETRY_AFTER_S: u32 = 5;
/// So many posts may wait for royalty at once. From half of it on, players are asked to beat less often.
const MERGING_MAX: usize = 512;
/// When it is that full, an outage is under way and everybody is here.
const FULL_RETRY_AFTER_S: u32 = 30;

impl Batches {
    pub(crate) fn new(epoch: [u8; 16]) -> Self {
        Self { epoch: hex::encode(epoch), taken: AtomicU64::new(0), merging: AtomicUsize::new(0) }
    }

    /// A place among the posts that wait, and how often the player is asked to beat meanwhile.
    fn turn(&self) -> Result<(Turn<'_>, Option<u32>), Problem> {
        let before = self.merging.fetch_add(1, Ordering::Relaxed);
        let turn = Turn(self);
        if before >= MERGING_MAX {
            let detail = "too many posts wait to be kept: keep these events and send them again";
            return Err(Problem::unavailable("buffer_full", detail, FULL_RETRY_AFTER_S));
        }
        Ok((turn, beats::asked_interval_ms(before, MERGING_MAX)))
    }

    /// `refused` events of the post are in no batch. Nothing is acknowledged before the merge, so a number that never arrives lost nothing.
    fn wrap(&self, post: StoredPost, refused: usize) -> Batch {
        let number = self.taken.fetch_add(1, Ordering::Relaxed) + 1;
        let count = |events: usize| u64::try_from(events).unwrap_or(u64::MAX);
        let (kept, refused) = (count(post.events.len()), count(refused));
        let hour = Hour::of_ticket(&post.ticket).unwrap_or_else(|| Hour::of(post.received_at_ms));
        let tally = HourTally { hour, offered: kept + refused, refused, duplicate: 0, stored: kept, frozen: kept };
        let report = Report { since: Since::Batch, hours: vec![tally], posts_waiting: 0, set_aside: Vec::new() };
        let (buffer, epoch, frozen_at_ms) = ("gateway".to_owned(), self.epoch.clone(), post.received_at_ms);
        Batch { buffer, epoch, number, frozen_at_ms, posts: vec![post], report: Some(report) }
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
    let now = gateway.clock.now();
    let claims = gateway.revoked.judged(|revoked| admission::heartbeat(&gateway.token_keys, revoked, &post, now))?;
    let receipts_dropped = post.receipts_dropped;
    let (kept, rejected) = post.receive(claims.duration_ms, now);
    let stop = {
        let mut known = gateway.beats.lock().unwrap_or_else(PoisonError::into_inner);
        known.admit(claims.pseudonym, now).map_err(too_many_heartbeats)?;
        known.beat(claims.pseudonym, claims.play, claims.plan.streams(), beats::go_on(&kept.events), now)
    };
    let (_turn, heartbeat_every_ms) = gateway.batches.turn()?;
    let stop = stop.then(|| "elsewhere".to_owned());
    let mut told =
        PostAnswer { accepted: kept.events.len(), rejected, receipts_dropped, stop, heartbeat_every_ms, ..PostAnswer::default() };
    if !kept.is_empty() {
        let merged = merge(gateway, &gateway.batches.wrap(kept, told.rejected.len()), request_id).await?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::*;

    #[test]
    fn a_gateway_that_fills_says_so_before_it_refuses_and_takes_posts_again_when_others_are_done() {
        let batches = Batches::new([0; 16]);
        let (mut turns, asked): (Vec<_>, Vec<_>) = (0..MERGING_MAX).map(|_| batches.turn().unwrap()).unzip();
        assert_eq!(asked.iter().filter(|asked| asked.is_none()).count(), MERGING_MAX / 2 + 1, "half of it at the usual pace");
        assert!(asked.is_sorted(), "then ever less often");
        let refused = batches.turn().map(|_| ()).unwrap_err();
        assert_eq!((refused.status, refused.code, refused.retry_after_s), (503, "buffer_full", Some(30)));
        turns.pop();
        assert!(batches.turn().is_ok());
    }
}
