//! `POST /v1/me/play-event`: what a player heard. Checked here, kept by the account's heartbeat buffer, acknowledged once durable there.

use std::rc::Rc;

use futures::StreamExt as _;
use protocol::{
    Problem, admission,
    beats::too_many_heartbeats,
    heartbeat::{POST_BYTES_MAX, PlayEventPost, PostAnswer, Rejected},
};
use worker::{Method, Request, RequestInit};

use crate::{
    Edge,
    answer::{self, Answer},
    asked::Asked,
    buffer::{self, Envelope, Outcome},
    log, revoked,
};

/// Answers 202 when every event that is not refused is durable.
pub(crate) async fn answer(edge: &Rc<Edge>, asked: &Asked) -> Result<Answer, Problem> {
    if asked.method != Some(Method::Post) {
        return Err(answer::only("POST"));
    }
    let body = read(asked).await?;
    let post = PlayEventPost::read(asked.header("content-type").as_deref(), asked.query(), &body)?;
    revoked::keep_up(edge).await;
    let claims = revoked::judge(|revoked| admission::heartbeat(&edge.settings.keys, revoked, &post, edge.now))?;
    let (sent, receipts_dropped) = (post.events.len(), post.receipts_dropped);
    let (post, mut rejected) = post.receive(claims.duration_ms, edge.now);
    let kept_places: Vec<usize> = (0..sent).filter(|place| !rejected.iter().any(|refusal| refusal.index == *place)).collect();

    let (account, refused) = (claims.pseudonym.to_string(), rejected.len());
    let envelope = Envelope { shard: claims.buffer, account, play: claims.play, streams: claims.plan.streams(), refused, post };
    let (accepted, duplicate, conflicts, stop, heartbeat_every_ms) = match keep(edge, &envelope).await? {
        Outcome::Kept { accepted, duplicate, conflicts, stop, every_ms } => (accepted, duplicate, conflicts, stop, every_ms),
        Outcome::TooFast { retry_after_s } => return Err(too_many_heartbeats(retry_after_s)),
        Outcome::Full => {
            let draw = crate::random::<1>().map_or(0, |[draw]| u32::from(draw));
            return Err(Problem::unavailable(
                "buffer_full",
                "heartbeats cannot be kept now: keep them and send them again",
                30 + draw % 30,
            ));
        }
        Outcome::Failed => return Err(not_kept()),
    };
    rejected.extend(conflicts.into_iter().filter_map(|place| kept_places.get(place)).map(|index| Rejected {
        index: *index,
        code: "conflicting_content".to_owned(),
        detail: "an event of this name was sent before with other content".to_owned(),
    }));
    rejected.sort_by_key(|refusal| refusal.index);
    let answer =
        PostAnswer { accepted, duplicate, rejected, receipts_dropped, stop: stop.then(|| "elsewhere".to_owned()), heartbeat_every_ms };
    serde_json::to_string(&answer).map(|body| Answer::json(202, body)).map_err(|error| answer::fault("writing an answer", &error))
}

fn not_kept() -> Problem {
    Problem::unavailable("not_kept", "heartbeats cannot be kept now: keep them and send them again", 5)
}

async fn keep(edge: &Edge, envelope: &Envelope) -> Result<Outcome, Problem> {
    let body = serde_json::to_string(envelope).map_err(|error| answer::fault("writing an envelope", &error))?;
    let ask = async {
        let buffer = edge.env.durable_object(buffer::BINDING)?.get_by_name(&envelope.shard.to_string())?;
        let mut init = RequestInit::new();
        init.with_method(Method::Post).with_body(Some(body.into()));
        let mut response = buffer.fetch_with_request(Request::new_with_init(buffer::POSTS, &init)?).await?;
        Ok(serde_json::from_str::<Outcome>(&response.text().await?)?)
    };
    ask.await.map_err(|error: worker::Error| {
        let fields = serde_json::json!({ "request_id": edge.request_id, "shard": envelope.shard, "cause": error.to_string() });
        log::error("buffer_failed", fields);
        not_kept()
    })
}

/// The body, at most one byte over the limit: whatever length it declares, no more is taken in.
async fn read(asked: &Asked) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::new();
    let unreadable = |error: worker::Error| Problem::new(400, "malformed_body", format!("the body could not be read: {error}"));
    let Ok(mut chunks) = Request::from(Clone::clone(asked.raw())).stream() else { return Ok(body) };
    while let Some(chunk) = chunks.next().await {
        body.extend(chunk.map_err(unreadable)?);
        if body.len() > POST_BYTES_MAX {
            break;
        }
    }
    Ok(body)
}
