//! `GET /internal/buffers/{first}-{last}`: what some heartbeat buffers hold that the origin does not have yet, for operators and for whoever waits
//! until everything has arrived. Signed as the edge signs what it asks of the gateway, by the same secret; to anybody else there is nothing here.
//!
//! Buffers are asked at the same time, at most [`BUFFERS_MAX`] in one request. Only those that hold something are listed.

use futures::future::try_join_all;
use protocol::{Problem, edge_auth};
use serde::Serialize;

use crate::{
    Edge,
    answer::{self, Answer},
    asked::Asked,
    buffer::{self, Held},
};

/// Buffers in one answer: a Worker may ask so many objects for one request and has as much again in hand.
const BUFFERS_MAX: u16 = 256;

#[derive(Serialize)]
struct Listing {
    /// Posts that are in no batch yet.
    posts: usize,
    /// Batches on their way.
    batches: usize,
    /// Batches the origin refused.
    set_aside: usize,
    /// Bytes of all of them.
    bytes: usize,
    /// Those that hold something.
    buffers: Vec<Shard>,
}

#[derive(Serialize)]
struct Shard {
    shard: u16,
    #[serde(flatten)]
    held: Held,
}

/// Answers 200 with a listing.
pub(crate) async fn answer(edge: &Edge, asked: &Asked, range: &str) -> Result<Answer, Problem> {
    let nothing = || Problem::new(404, "not_found", "there is nothing at this address");
    let signature = asked.header(edge_auth::HEADER).ok_or_else(nothing)?;
    edge_auth::verify(&edge.settings.edge_secret, &signature, "GET", asked.path(), b"", edge.now).map_err(|_| nothing())?;
    if !asked.reads() {
        return Err(answer::only("GET"));
    }
    let (first, last) = parse(range, edge.settings.buffer_shards).ok_or_else(|| {
        let shards = edge.settings.buffer_shards;
        Problem::new(400, "bad_range", format!("buffers are 0 to {}, at most {BUFFERS_MAX} at a time", shards - 1))
    })?;
    let asked = try_join_all((first..=last).map(|shard| held(edge, shard)));
    let buffers = asked.await.map_err(|error| answer::fault("asking the buffers", &error))?;
    let sum = |figure: fn(&Held) -> usize| buffers.iter().map(|shard| figure(&shard.held)).sum();
    let listing = Listing {
        posts: sum(|held| held.posts),
        batches: sum(|held| held.batches),
        set_aside: sum(|held| held.set_aside),
        bytes: sum(|held| held.bytes),
        buffers: buffers.into_iter().filter(|shard| shard.held.bytes > 0).collect(),
    };
    serde_json::to_string(&listing).map(|body| Answer::json(200, body)).map_err(|error| answer::fault("writing an answer", &error))
}

async fn held(edge: &Edge, shard: u16) -> worker::Result<Shard> {
    let buffer = edge.env.durable_object(buffer::BINDING)?.get_by_name(&shard.to_string())?;
    let held = buffer.fetch_with_str(buffer::HELD).await?.json().await?;
    Ok(Shard { shard, held })
}

/// `first-last`, both of them buffers.
fn parse(range: &str, shards: u16) -> Option<(u16, u16)> {
    let (first, last) = range.split_once('-')?;
    let number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u16>().ok()).flatten();
    let (first, last) = (number(first)?, number(last)?);
    (first <= last && last < shards && last - first < BUFFERS_MAX).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_range_is_of_buffers_that_exist_and_not_of_too_many() {
        assert_eq!(parse("0-63", 64), Some((0, 63)));
        assert_eq!(parse("63-63", 64), Some((63, 63)));
        assert_eq!(parse("100-355", 4096), Some((100, 355)));
        for wrong in ["0-64", "5-4", "", "-", "1", "+1-2", "0-256", "1-99999"] {
            assert_eq!(parse(wrong, if wrong == "0-256" { 4096 } else { 64 }), None, "{wrong}");
        }
    }
}
