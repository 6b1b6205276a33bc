//! A frozen batch, and its parts for a log whose partitions divide accounts.
//!
//! Which posts a part holds is a function of the batch's bytes and the number of slots alone, and its bytes are the batch's own, post by
//! post. A batch that is sent again therefore falls into the same parts with the same bytes, whoever splits it, whenever; and should this
//! file ever split otherwise, the parts differ in their digests, which is a conflict and not a loss.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::{UnixMs, heartbeat::Batch};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{cells, collector, error::RoyaltyError, store::merge::BatchKey};

/// Bytes of a part at most: a broker's records are 1 MiB by default, with their headers.
pub const PART_BYTES_MAX: usize = 900_000;
/// Bytes of its posts at most. What is around them is the batch's name, which is bounded, and its buffer's report.
const POSTS_BYTES_MAX: usize = PART_BYTES_MAX - AROUND_BYTES_MAX;
/// A report tells of some hours and some numbers (`protocol::tally`).
const AROUND_BYTES_MAX: usize = 48_000;
const NAME_BYTES_MAX: usize = 32;

/// A batch as it was received: its bytes, and what they say.
#[derive(Debug, Clone)]
pub struct Frozen {
    /// The bytes.
    pub bytes: Bytes,
    /// What they say.
    pub batch: Batch,
    /// Which part of a batch it is; empty for the whole.
    pub part: String,
    number: i64,
}

#[derive(Deserialize)]
struct Posts<'a> {
    #[serde(borrow)]
    posts: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    report: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Part<'a> {
    buffer: &'a str,
    epoch: &'a str,
    number: u64,
    frozen_at_ms: UnixMs,
    posts: &'a [&'a RawValue],
    /// In every part, since any may be merged first; it is written once.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'a RawValue>,
}

impl Frozen {
    /// Reads a batch whose JSON is in `bytes`.
    ///
    /// # Errors
    /// [`RoyaltyError::BadBatch`] when its name could not be stored.
    pub fn new(bytes: Bytes, batch: Batch, part: String) -> Result<Self, RoyaltyError> {
        let number = collector::check_name(&batch)?;
        let nameable = part.len() <= NAME_BYTES_MAX && part.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'/' | b'.'));
        if !nameable {
            return Err(RoyaltyError::BadBatch("the name of the part is not one of ours".to_owned()));
        }
        Ok(Self { bytes, batch, part, number })
    }

    /// What makes it one batch, or one part of one.
    #[must_use]
    pub fn key(&self) -> BatchKey {
        BatchKey {
            buffer: self.batch.buffer.clone(),
            epoch: self.batch.epoch.clone(),
            number: self.number,
            part: self.part.clone(),
            sha256: Batch::digest(&self.bytes),
            frozen_at: self.batch.frozen_at_ms,
        }
    }

    /// The parts by slot, with the name of each. With one slot a batch that is not too large is its only part, bytes and all.
    ///
    /// # Errors
    /// [`RoyaltyError::BadBatch`] when a single post is too large for a part.
    pub fn split(&self, slots: u16) -> Result<Vec<(u16, String, Bytes)>, RoyaltyError> {
        if self.bytes.len() <= PART_BYTES_MAX && (slots <= 1 || self.batch.posts.is_empty()) {
            return Ok(vec![(0, String::new(), self.bytes.clone())]);
        }
        let raw: Posts = serde_json::from_slice(&self.bytes).map_err(|error| RoyaltyError::BadBatch(error.to_string()))?;
        let mut chunks: BTreeMap<(u16, usize), Vec<&RawValue>> = BTreeMap::new();
        let mut filled: BTreeMap<u16, (usize, usize)> = BTreeMap::new();
        for (post, post_bytes) in self.batch.posts.iter().zip(&raw.posts) {
            let size = post_bytes.get().len() + 1;
            if size > POSTS_BYTES_MAX {
                return Err(RoyaltyError::BadBatch(format!("a post of {size} bytes is more than a buffer takes")));
            }
            let slot = cells::slot(&post.ticket, slots);
            let (chunk, bytes) = filled.entry(slot).or_default();
            if *bytes + size > POSTS_BYTES_MAX {
                (*chunk, *bytes) = (*chunk + 1, 0);
            }
            *bytes += size;
            chunks.entry((slot, *chunk)).or_default().push(post_bytes);
        }
        let Batch { buffer, epoch, number, frozen_at_ms, .. } = &self.batch;
        chunks
            .into_iter()
            .map(|((slot, chunk), posts)| {
                let name = if chunk == 0 { format!("{slot}/{slots}") } else { format!("{slot}/{slots}.{chunk}") };
                let part = Part { buffer, epoch, number: *number, frozen_at_ms: *frozen_at_ms, posts: &posts, report: raw.report };
                let bytes = serde_json::to_vec(&part).map_err(|error| RoyaltyError::Invariant(error.to_string()))?;
                Ok((slot, name, bytes.into()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn frozen(tickets: impl IntoIterator<Item = String>) -> Frozen {
        // Spaces, an escape and a field order that this program would not write.
        let posts: Vec<String> = tickets
            .into_iter()
            .map(|ticket| format!(r#"{{ "sender":"\u0073", "ticket":"{ticket}","events":[],"received_at_ms":5}}"#))
            .collect();
        let text = format!(r#"{{"epoch":"e","buffer":"b","number":7,"frozen_at_ms":9,"posts":[{}]}}"#, posts.join(" ,"));
        let batch = serde_json::from_str(&text).unwrap();
        Frozen::new(text.into(), batch, String::new()).unwrap()
    }

    #[test]
    fn every_post_is_in_one_part_byte_for_byte_and_accounts_stay_together() {
        let whole = frozen((0..200).map(|n| format!("ticket {}", n % 50)));
        let parts = whole.split(8).unwrap();
        assert_eq!(whole.split(8).unwrap(), parts);
        let mut seen = Vec::new();
        for (slot, name, bytes) in &parts {
            let batch: Batch = serde_json::from_slice(bytes).unwrap();
            let part = Frozen::new(bytes.clone(), batch, name.clone()).unwrap();
            assert_eq!((part.batch.number, part.batch.buffer.as_str(), part.part.as_str()), (7, "b", format!("{slot}/8").as_str()));
            assert!(part.batch.posts.iter().all(|post| cells::slot(&post.ticket, 8) == *slot));
            assert!(String::from_utf8_lossy(bytes).contains(r#"{ "sender":"\u0073", "ticket":"#));
            seen.extend(part.batch.posts);
        }
        assert!(parts.len() > 4 && seen.len() == 200);
        let sorted = |mut posts: Vec<protocol::heartbeat::StoredPost>| {
            posts.sort_by(|one, other| one.ticket.cmp(&other.ticket));
            posts
        };
        assert_eq!(sorted(seen), sorted(whole.batch.posts.clone()));
    }

    #[test]
    fn a_batch_too_large_for_a_record_becomes_several_and_a_small_one_is_itself() {
        let small = frozen(["t".to_owned()]);
        assert_eq!(small.split(1).unwrap(), [(0, String::new(), small.bytes.clone())]);
        let large = frozen((0..40).map(|n| format!("{n}{}", "x".repeat(60_000))));
        let parts = large.split(1).unwrap();
        assert_eq!(parts.iter().map(|(_, name, _)| name.as_str()).collect::<Vec<_>>(), ["0/1", "0/1.1", "0/1.2"]);
        assert!(parts.iter().all(|(_, _, bytes)| bytes.len() <= PART_BYTES_MAX));
        assert!(frozen(["x".repeat(PART_BYTES_MAX)]).split(1).is_err());
    }
}
