//! The heartbeat buffer: a durable object that keeps acknowledged posts until the origin has them.
//!
//! ```text
//!  play_event ──Envelope──► fetch ──► posts (one row each) ──► ack
//!                                       │  alarm: by age, by size, on the end of a play
//!                                       ▼
//!                            batches (frozen: number, bytes, SHA-256) ──► gateway ──200──► deleted
//!                                       │                                          │
//!                                       └──◄── once an hour, after all others ──◄── set aside when the origin refuses its bytes
//! ```
//!
//! There is one object a shard, named by the number in the ticket, so all events of an account meet in one. What memory holds (recent
//! events, plays that beat) is lost with the isolate and only ever an optimisation or a courtesy; what is acknowledged is in SQLite.
//! A batch that the origin refuses for what is in it does not block the ones behind it: it is set aside under its number and tried again
//! once an hour, until a better origin takes it or somebody looks. Its number is never given to other bytes, so that what is missing at the
//! origin shows as a gap in the numbers there, and a late merge closes the gap. Whatever else goes wrong is tried again and again.
//!
//! Sending happens in [`HeartbeatBuffer::alarm`] alone, of which the platform runs one at a time.

mod recent;
mod store;
mod streams;

use std::cell::{Cell, RefCell};

use protocol::{
    PlayId, UnixMs,
    heartbeat::{EventKind, StoredPost},
};
use recent::{Recent, Verdict};
use serde::{Deserialize, Serialize};
use store::{Frozen, Store};
use streams::Streams;
use worker::{DurableObject, Env, Request, Response, State, durable_object};

use crate::{
    counters, log,
    origin::{self, Sent},
    settings::Settings,
};

/// The name of the binding in `wrangler.toml`.
pub(crate) const BINDING: &str = "HEARTBEATS";

/// A post waits at most this long before it is sent.
const AGE_MS_MAX: i64 = 2_000;
/// So many posts are sent at once without waiting.
const POSTS_MAX: usize = 500;
/// So many bytes are sent at once without waiting.
const BYTES_MAX: usize = 256 * 1024;
/// Beyond this the origin has been away for hours, and players keep their events themselves.
const STORED_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Batches one alarm sends before it lets the next begin.
const BATCHES_PER_ALARM: usize = 20;
const ORIGIN_PATIENCE_MS: u64 = 10_000;
/// How often a batch that was set aside is tried again.
const ASIDE_EVERY_MS: i64 = 3_600_000;
const BACK_OFF_MS_MIN: i64 = 250;
const BACK_OFF_MS_MAX: i64 = 30_000;

/// A checked post on its way from the Worker to its buffer.
#[derive(Serialize, Deserialize)]
pub(crate) struct Envelope {
    /// Which buffer.
    pub(crate) shard: u16,
    /// The account's pseudonym.
    pub(crate) account: String,
    /// The play the ticket belongs to.
    pub(crate) play: PlayId,
    /// How many plays the plan lets beat at once.
    pub(crate) streams: usize,
    /// The post; the buffer stamps it anew, so that all receipts of an account are by one clock.
    pub(crate) post: StoredPost,
}

/// What the buffer did with it.
#[derive(Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Durable.
    Kept {
        /// Events stored now.
        accepted: usize,
        /// Events known to be stored already.
        duplicate: usize,
        /// Places in the post whose name is taken by other content.
        conflicts: Vec<usize>,
        /// Whether a newer play takes this one's place.
        stop: bool,
    },
    /// No room.
    Full,
    /// Nothing was stored.
    Failed,
}

/// The durable object. `state` and `env` come from the platform; everything else is rebuilt from storage when it starts.
#[durable_object]
pub struct HeartbeatBuffer {
    state: State,
    env: Env,
    store: Option<Store>,
    recent: RefCell<Recent>,
    streams: RefCell<Streams>,
    /// When the alarm is set for, as far as this instance knows.
    alarm_at: Cell<Option<UnixMs>>,
    /// Sends that failed in a row, and until when the origin is left alone.
    failures: Cell<u32>,
    quiet_until: Cell<UnixMs>,
}

// A panic may leave what memory holds half changed; what is acknowledged is in storage, whose statements between two awaits hold together.
impl std::panic::RefUnwindSafe for HeartbeatBuffer {}
impl std::panic::UnwindSafe for HeartbeatBuffer {}

impl DurableObject for HeartbeatBuffer {
    fn new(state: State, env: Env) -> Self {
        let store = Store::open(state.storage().sql()).map_err(|error| failed("opening a buffer", &error)).ok();
        Self {
            state,
            env,
            store,
            recent: RefCell::default(),
            streams: RefCell::default(),
            alarm_at: Cell::new(None),
            failures: Cell::new(0),
            quiet_until: Cell::new(UnixMs(0)),
        }
    }

    async fn fetch(&self, mut request: Request) -> worker::Result<Response> {
        let answer = match request.json::<Envelope>().await {
            Ok(envelope) => self.keep(envelope).await.unwrap_or_else(|error| {
                failed("storing a post", &error);
                Outcome::Failed
            }),
            Err(error) => {
                failed("reading an envelope", &error);
                Outcome::Failed
            }
        };
        Response::from_json(&answer)
    }

    /// Never an error: after six of them the platform would forget the alarm, and with it what is stored.
    async fn alarm(&self) -> worker::Result<Response> {
        self.alarm_at.set(None);
        let delay_ms = self.flush().await;
        if let Some(delay_ms) = delay_ms {
            self.wake_at(crate::now().plus_ms(delay_ms)).await;
        }
        Response::empty()
    }
}

impl HeartbeatBuffer {
    async fn keep(&self, envelope: Envelope) -> worker::Result<Outcome> {
        let Some(store) = &self.store else { return Ok(Outcome::Failed) };
        let now = crate::now();
        let Envelope { shard, account, play, streams, mut post } = envelope;
        let ends = post.events.iter().any(|event| event.kind.ends_play());
        let beats = post.events.last().is_some_and(|event| !event.kind.ends_play() && event.kind != EventKind::Pause);
        let stop = self.streams.borrow_mut().beat(&account, play, streams, beats, now);

        let (mut duplicate, mut conflicts, mut fresh) = (0, Vec::new(), Vec::new());
        for (place, event) in post.events.drain(..).enumerate() {
            match self.recent.borrow().judge(play, &post.sender, &fresh, &event) {
                Verdict::New => fresh.push(event),
                Verdict::Duplicate => duplicate += 1,
                Verdict::Conflict => conflicts.push(place),
            }
        }
        if fresh.is_empty() {
            return Ok(Outcome::Kept { accepted: 0, duplicate, conflicts, stop });
        }
        if store.stored_bytes() >= STORED_BYTES_MAX {
            return Ok(Outcome::Full);
        }
        post.events = fresh;
        post.received_at_ms = now;
        store.append(shard, &post)?;
        let full = store.pending_posts() >= POSTS_MAX || store.pending_bytes() >= BYTES_MAX;
        self.wake_at(if ends || full { now } else { now.plus_ms(AGE_MS_MAX) }).await;
        // The platform holds the answer back until the write is on disk; this says so in the code, and turns a failure into a 503.
        self.state.storage().sync().await?;
        let accepted = post.events.len();
        self.recent.borrow_mut().remember(play, post.sender, post.events);
        Ok(Outcome::Kept { accepted, duplicate, conflicts, stop })
    }

    /// Sets the alarm for `at` unless it is set for earlier, and never into the time the origin is left alone.
    async fn wake_at(&self, at: UnixMs) {
        let at = at.max(self.quiet_until.get());
        if self.alarm_at.get().is_some_and(|set| set <= at) {
            return;
        }
        self.alarm_at.set(Some(at));
        let date = worker::js_sys::Date::new(&(at.0 as f64).into());
        if let Err(error) = self.state.storage().set_alarm(worker::ScheduledTime::new(date)).await {
            failed("setting the alarm", &error);
            self.alarm_at.set(None);
        }
    }

    /// Sends what is stored, oldest first, one batch after the other. Answers in how many milliseconds to go on, if anything is left.
    async fn flush(&self) -> Option<i64> {
        let store = self.store.as_ref()?;
        for _ in 0..BATCHES_PER_ALARM {
            let now = crate::now();
            let batch = match store.next_batch(now, POSTS_MAX, BYTES_MAX).and_then(|next| self.or_set_aside(store, next, now)) {
                Ok(Next::Send(batch)) => batch,
                Ok(Next::Later(delay_ms)) => return Some(delay_ms),
                Ok(Next::Nothing) => return None,
                Err(error) => return Some(self.back_off("freezing a batch", &error)),
            };
            if let Err((what, cause)) = self.send(store, &batch).await {
                return Some(self.back_off(&what, &cause));
            }
            self.failures.set(0);
            self.quiet_until.set(UnixMs(0));
        }
        Some(0)
    }

    /// When nothing is waiting: a batch that was set aside long enough ago.
    fn or_set_aside(&self, store: &Store, next: Option<Frozen>, now: UnixMs) -> worker::Result<Next> {
        if let Some(batch) = next {
            return Ok(Next::Send(batch));
        }
        Ok(match store.oldest_set_aside()? {
            Some(aside) if now.since(aside.tried_at) >= ASIDE_EVERY_MS => Next::Send(aside.batch),
            Some(aside) => Next::Later(ASIDE_EVERY_MS - now.since(aside.tried_at)),
            None => Next::Nothing,
        })
    }

    /// Sends one batch and does with it what the answer says. The error tells what failed, and why.
    async fn send(&self, store: &Store, batch: &Frozen) -> Result<(), (String, String)> {
        let while_doing = |what: &str| {
            let what = what.to_owned();
            move |error: worker::Error| (what, error.to_string())
        };
        let settings = Settings::of(&self.env).map_err(|problem| ("reading the settings".to_owned(), problem.detail))?;
        // The batch must be on disk before its first byte leaves: a number is never used for two contents.
        self.state.storage().sync().await.map_err(while_doing("freezing a batch"))?;
        match origin::send_batch(&settings, &batch.body, crate::now(), ORIGIN_PATIENCE_MS).await {
            Sent::Merged => store.delete_batch(batch).map_err(while_doing("deleting a batch")),
            Sent::Refused { status } => {
                let now = crate::now();
                counters::count(&self.env, "heartbeats", "batch_set_aside", now, 0);
                let fields = serde_json::json!({
                    "number": batch.number, "sha256": batch.sha256, "status": status, "bytes": batch.body.len(),
                });
                log::error("batch_set_aside", fields);
                store.set_aside(batch, status, now).map_err(while_doing("setting a batch aside"))
            }
            Sent::Again(cause) => Err((format!("sending batch {} ({})", batch.number, batch.sha256), cause)),
        }
    }

    fn back_off(&self, what: &str, error: &dyn std::fmt::Display) -> i64 {
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        let ceiling = BACK_OFF_MS_MIN.saturating_mul(1 << failures.min(10)).min(BACK_OFF_MS_MAX);
        // Half of it is fixed and half is drawn, so that many buffers do not come back to the origin in one instant.
        let [draw] = crate::random::<1>().unwrap_or([128]);
        let delay_ms = ceiling / 2 + ceiling / 2 * i64::from(draw) / 255;
        self.quiet_until.set(crate::now().plus_ms(delay_ms));
        let cause = error.to_string();
        log::warn("buffer_backs_off", serde_json::json!({ "what": what, "in_a_row": failures, "again_in_ms": delay_ms, "cause": cause }));
        delay_ms
    }
}

/// What an alarm does next.
enum Next {
    /// Send this.
    Send(Frozen),
    /// Nothing before so many milliseconds.
    Later(i64),
    /// Nothing.
    Nothing,
}

fn failed(what: &str, error: &dyn std::fmt::Display) {
    log::error("buffer_failed", serde_json::json!({ "what": what, "cause": error.to_string() }));
}
