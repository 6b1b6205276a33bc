//! The heartbeat buffer: a durable object that keeps acknowledged posts until the origin has them.
//!
//! ```text
//!  play_event ──Envelope──► fetch ──► posts (one row each, those of a moment in one commit) ──► ack
//!                                       │  alarm: by age, by size, on the end of a play (pace)
//!                                       ▼
//!                            batches (frozen: number, bytes, SHA-256) ──► gateway ──200──► deleted
//!                                       │                                          │
//!                                       └──◄── once an hour, after all others ──◄── set aside when the origin refuses its bytes
//! ```
//!
//! There is one object a shard, named by the number in the ticket, so all events of an account meet in one. What memory holds (recent
//! events, plays that beat) is lost with the isolate and only ever an optimisation or a courtesy; what is acknowledged is in SQLite. What
//! SQLite holds is bounded: from half of the bound on, answers ask players to beat less often, and at the bound a post is refused, which its
//! player then keeps.
//! A batch that the origin refuses for what is in it does not block the ones behind it: it is set aside under its number and tried again
//! once an hour, until a better origin takes it or somebody looks. Its number is never given to other bytes, so that what is missing at the
//! origin shows as a gap in the numbers there, and a late merge closes the gap. Whatever else goes wrong is tried again and again.
//!
//! Sending happens in [`HeartbeatBuffer::alarm`] alone, of which the platform runs one at a time.

mod commit;
mod pace;
mod recent;
mod store;
mod tally;

use std::{
    cell::{Cell, RefCell},
    panic::AssertUnwindSafe,
};

use commit::Commits;
use futures::FutureExt as _;
use pace::Pace;
use protocol::{
    PlayId, UnixMs,
    beats::{self, Beats},
    heartbeat::StoredPost,
    tally::Hour,
    token::Pseudonym,
};
use recent::{Recent, Verdict};
use serde::{Deserialize, Serialize};
pub(crate) use store::Held;
use store::{Frozen, Store};
use tally::Told;
use worker::{DurableObject, Env, Method, Request, Response, State, durable_object};

use crate::{
    counters, log,
    origin::{self, Sent},
    settings::Settings,
};

/// The name of the binding in `wrangler.toml`.
pub(crate) const BINDING: &str = "HEARTBEATS";

/// So many posts are sent at once without waiting, and no more ride in one batch.
const POSTS_MAX: usize = 4_000;
/// So many bytes are sent at once without waiting. While a batch is frozen nobody is answered: its size is what the slowest acknowledgement waits.
const BYTES_AT_ONCE: usize = 128 * 1024;
/// When more than this waits, the origin was away, and batches are as large, so that few requests bring it up to date. A row of the platform's
/// SQLite holds 2 MB, and a batch is one.
const BYTES_MAX: usize = 1024 * 1024;
/// The path by which the Worker brings a post.
pub(crate) const POSTS: &str = "https://buffer/posts";
/// The path by which it asks what is held.
pub(crate) const HELD: &str = "https://buffer/held";
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
    /// Events of the post that were refused and are not in it.
    pub(crate) refused: usize,
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
        /// How often the player is asked to beat, while the buffer fills.
        every_ms: Option<u32>,
    },
    /// The account posts faster than it may. Nothing was stored.
    TooFast {
        /// When it may post again.
        retry_after_s: u32,
    },
    /// No room. Nothing was stored.
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
    commits: Commits,
    recent: RefCell<Recent>,
    beats: RefCell<Beats>,
    pace: RefCell<Pace>,
    /// The latest receipt given out: the clock may be set back, receipts never go back.
    stamped_at: Cell<UnixMs>,
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
            commits: Commits::default(),
            recent: RefCell::default(),
            beats: RefCell::default(),
            pace: RefCell::default(),
            stamped_at: Cell::new(UnixMs(0)),
            alarm_at: Cell::new(None),
            failures: Cell::new(0),
            quiet_until: Cell::new(UnixMs(0)),
        }
    }

    async fn fetch(&self, mut request: Request) -> worker::Result<Response> {
        if request.method() == Method::Get {
            return self.held().await;
        }
        // Text and serde_json: a value made by the platform's parser would cross into WebAssembly field by field.
        let text = request.text().await;
        let answer = match text.and_then(|text| serde_json::from_str::<Envelope>(&text).map_err(worker::Error::from)) {
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
        let flushed = AssertUnwindSafe(self.flush()).catch_unwind().await;
        let delay_ms = flushed.unwrap_or_else(|_| Some(self.back_off("sending", &"a panic", 0)));
        if let Some(delay_ms) = delay_ms {
            self.wake_at(crate::now().plus_ms(delay_ms)).await;
        }
        Response::empty()
    }
}

impl HeartbeatBuffer {
    async fn keep(&self, envelope: Envelope) -> worker::Result<Outcome> {
        let Some(store) = &self.store else { return Ok(Outcome::Failed) };
        let settings = Settings::of(&self.env).map_err(|problem| worker::Error::RustError(problem.detail))?;
        let now = crate::now().max(self.stamped_at.get());
        self.stamped_at.set(now);
        let Envelope { shard, account, play, streams, refused, mut post } = envelope;
        let account = Pseudonym::from_hex(&account).ok_or_else(|| worker::Error::RustError("an account without a name".to_owned()))?;
        if let Err(retry_after_s) = self.beats.borrow_mut().admit(account, now) {
            return Ok(Outcome::TooFast { retry_after_s });
        }
        let ends = post.events.iter().any(|event| event.kind.ends_play());
        let stop = self.beats.borrow_mut().beat(account, play, streams, beats::go_on(&post.events), now);

        let offered = post.events.len() + refused;
        let (mut duplicate, mut conflicts, mut fresh) = (0, Vec::new(), Vec::new());
        for (place, event) in post.events.drain(..).enumerate() {
            match self.recent.borrow().judge(play, &post.sender, &fresh, &event) {
                Verdict::New => fresh.push(event),
                Verdict::Duplicate => duplicate += 1,
                Verdict::Conflict => conflicts.push(place),
            }
        }
        let (refused, stored) = (refused + conflicts.len(), fresh.len());
        let told = Told { hour: Hour::of(play.minted_at()), offered, refused, duplicate, stored };
        let held = store.stored_bytes() + self.commits.waiting_bytes();
        let every_ms = beats::asked_interval_ms(held, settings.buffer_bytes_max);
        // Receipts are kept for themselves: merged twice they prove the same.
        if fresh.is_empty() && post.receipts.is_empty() {
            store.count([told])?;
            return Ok(Outcome::Kept { accepted: 0, duplicate, conflicts, stop, every_ms });
        }
        if held >= settings.buffer_bytes_max {
            return Ok(Outcome::Full);
        }
        post.events = fresh;
        post.received_at_ms = now;
        let gather = self.pace.borrow().is_busy(now);
        self.commits.write(store, shard, serde_json::to_string(&post)?, told, gather).await?;
        let due_at = self.pace.borrow_mut().posted(now, ends);
        self.wake_at(if full(store) { now } else { due_at }).await;
        // The platform holds the answer back until the write is on disk; this says so in the code, and turns a failure into a 503.
        self.state.storage().sync().await?;
        let accepted = post.events.len();
        self.recent.borrow_mut().remember(play, post.sender, post.events);
        Ok(Outcome::Kept { accepted, duplicate, conflicts, stop, every_ms })
    }

    /// What is held, for operators. A look also sets an alarm that was lost, which nothing but a defect of the platform can do.
    async fn held(&self) -> worker::Result<Response> {
        let Some(store) = &self.store else { return Response::error("no storage", 503) };
        let held = store.held()?;
        if held.posts + held.batches > 0 {
            let due_at = self.pace.borrow().due_at();
            self.wake_at(due_at.unwrap_or_else(crate::now)).await;
        }
        Response::from_json(&held)
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

    /// Sends what is due, oldest first, one batch after the other. Answers in how many milliseconds to go on, if anything is left.
    async fn flush(&self) -> Option<i64> {
        let store = self.store.as_ref()?;
        for _ in 0..BATCHES_PER_ALARM {
            let batch = match self.next(store, crate::now()) {
                Ok(Next::Send(batch)) => batch,
                Ok(Next::Later(delay_ms)) => return Some(delay_ms),
                Ok(Next::Nothing) => return None,
                Err(error) => return Some(self.back_off("freezing a batch", &error, 0)),
            };
            if let Err(Trouble { what, cause, retry_after_ms }) = self.send(store, &batch).await {
                return Some(self.back_off(&what, &cause, retry_after_ms));
            }
            self.failures.set(0);
            self.quiet_until.set(UnixMs(0));
        }
        Some(0)
    }

    /// The batch that was frozen and not acknowledged; else what waits, once it is due or fills a batch, so that a send is not followed by many small
    /// ones; else a batch that was set aside long enough ago.
    fn next(&self, store: &Store, now: UnixMs) -> worker::Result<Next> {
        if let Some(batch) = store.oldest_frozen()? {
            return Ok(Next::Send(batch));
        }
        if store.pending_posts() > 0 {
            let wait_ms = self.pace.borrow().due_at().map_or(0, |due_at| due_at.since(now));
            // A longer wait than there is means that the clock was set back.
            if (1..=pace::AGE_MS_MAX).contains(&wait_ms) && !full(store) {
                return Ok(Next::Later(wait_ms));
            }
            let batch = store.freeze(now, POSTS_MAX, if store.pending_bytes() > BYTES_MAX { BYTES_MAX } else { 2 * BYTES_AT_ONCE })?;
            self.pace.borrow_mut().frozen(store.pending_posts() > 0);
            return Ok(batch.map_or(Next::Nothing, Next::Send));
        }
        Ok(match store.oldest_set_aside()? {
            Some(aside) if now.since(aside.tried_at) >= ASIDE_EVERY_MS => Next::Send(aside.batch),
            Some(aside) => Next::Later(ASIDE_EVERY_MS - now.since(aside.tried_at)),
            None => Next::Nothing,
        })
    }

    /// Sends one batch and does with it what the answer says. The error tells what failed, and why.
    async fn send(&self, store: &Store, batch: &Frozen) -> Result<(), Trouble> {
        let trouble = |what: &str, cause: String| Trouble { what: what.to_owned(), cause, retry_after_ms: 0 };
        let while_doing = |what: &'static str| move |error: worker::Error| trouble(what, error.to_string());
        let settings = Settings::of(&self.env).map_err(|problem| trouble("reading the settings", problem.detail))?;
        // The batch must be on disk before its first byte leaves: a number is never used for two contents.
        self.state.storage().sync().await.map_err(while_doing("freezing a batch"))?;
        match origin::send_batch(&settings, &batch.body, &batch.sha256, crate::now(), ORIGIN_PATIENCE_MS).await {
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
            Sent::Again { cause, retry_after_s } => {
                let what = format!("sending batch {} ({})", batch.number, batch.sha256);
                Err(Trouble { what, cause, retry_after_ms: i64::from(retry_after_s) * 1_000 })
            }
        }
    }

    /// Leaves the origin alone for longer after each failure, and at least as long as it asked for.
    fn back_off(&self, what: &str, error: &dyn std::fmt::Display, retry_after_ms: i64) -> i64 {
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        let ceiling = BACK_OFF_MS_MIN.saturating_mul(1 << failures.min(10)).min(BACK_OFF_MS_MAX);
        // Half of it is fixed and half is drawn, so that many buffers do not come back to the origin in one instant.
        let [draw] = crate::random::<1>().unwrap_or([128]);
        let ceiling = ceiling.max(retry_after_ms.min(BACK_OFF_MS_MAX) * 2);
        let delay_ms = ceiling / 2 + ceiling / 2 * i64::from(draw) / 255;
        self.quiet_until.set(crate::now().plus_ms(delay_ms));
        let cause = error.to_string();
        log::warn("buffer_backs_off", serde_json::json!({ "what": what, "in_a_row": failures, "again_in_ms": delay_ms, "cause": cause }));
        delay_ms
    }
}

/// Whether what waits fills a batch.
fn full(store: &Store) -> bool {
    store.pending_posts() >= POSTS_MAX || store.pending_bytes() >= BYTES_AT_ONCE
}

/// Why a batch is not at the origin.
struct Trouble {
    what: String,
    cause: String,
    /// How long the origin asked to be left alone.
    retry_after_ms: i64,
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
