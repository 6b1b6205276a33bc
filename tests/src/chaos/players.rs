//! Many players at once: each sends posts of some events at a steady pace, by the edge or by the gateway, until each is acknowledged.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use futures::future::try_join_all;
use protocol::{
    PlayId,
    token::{Pseudonym, Purpose},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Plan;
use crate::{Keys, System};

const PLAYERS: u32 = 8;
const EVENTS_PER_POST: u32 = 50;
/// Then the player goes on with a play of another account: the rule looks at all events of an account, and a real one does not have millions.
const POSTS_PER_PLAY: u32 = 20;
/// Media that an event reports, ms. A play never becomes a listen, so that no money moves.
const EVENT_MS: u32 = 10;
/// One post in so many is sent again although it was acknowledged.
const SENT_AGAIN_ONE_IN: u32 = 20;
/// As `antiphon edge-vars` has it: a ticket names one of so many buffers.
const BUFFERS: u16 = 64;
/// An answer that takes longer is as good as none.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Between two attempts. An account may post 20 times a second.
const PAUSE: Duration = Duration::from_millis(50);
/// Nobody acknowledges a post for so long: the system is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the players share.
pub(super) struct Scene<'a> {
    pub(super) system: &'a System,
    http: reqwest::Client,
    keys: Keys,
    /// A genuine ticket.
    ticket: &'a str,
    seed: u64,
    /// Between two posts of a player.
    pace: Duration,
    repeated: AtomicU64,
}

/// What was acknowledged.
pub(super) struct Sent {
    /// Each play and how many events of it, numbered from 0.
    pub(super) plays: Vec<(PlayId, u32)>,
    pub(super) repeated: u64,
}

/// A play that only this test knows of.
pub(super) struct Play {
    pub(super) id: PlayId,
    ticket: String,
}

/// A way to the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    Edge,
    Gateway,
}

impl Path {
    const fn other(self) -> Self {
        match self {
            Self::Edge => Self::Gateway,
            Self::Gateway => Self::Edge,
        }
    }
}

impl<'a> Scene<'a> {
    pub(super) fn new(system: &'a System, keys: Keys, ticket: &'a str, plan: &Plan) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(ANSWER_WITHIN).build()?;
        let pace = Duration::from_secs(1) * PLAYERS * EVENTS_PER_POST / plan.rate.max(1);
        Ok(Self { system, http, keys, ticket, seed: plan.seed, pace, repeated: AtomicU64::new(0) })
    }

    /// Plays until `over` is set and what was begun is acknowledged.
    pub(super) async fn play_until(&self, over: &AtomicBool) -> Result<Sent> {
        let players = (1..=PLAYERS).map(|player| self.player(StdRng::seed_from_u64(self.seed ^ u64::from(player) << 32), over));
        let plays = try_join_all(players).await?.into_iter().flatten().collect();
        Ok(Sent { plays, repeated: self.repeated.load(Ordering::Relaxed) })
    }

    async fn player(&self, mut dice: StdRng, over: &AtomicBool) -> Result<Vec<(PlayId, u32)>> {
        let mut plays = Vec::new();
        // A player that was held up catches up, so that the rate holds over the whole time.
        let mut due = Instant::now() + self.pace.mul_f64(dice.random());
        while !over.load(Ordering::Relaxed) {
            let play = self.begin(&mut dice)?;
            let mut acknowledged = 0;
            while acknowledged < POSTS_PER_PLAY * EVENTS_PER_POST && !over.load(Ordering::Relaxed) {
                sleep_until(due).await;
                due += self.pace;
                let body = play.post(acknowledged..acknowledged + EVENTS_PER_POST);
                let path = if dice.random() { Path::Edge } else { Path::Gateway };
                self.acknowledged(path, &body).await?;
                acknowledged += EVENTS_PER_POST;
                if dice.random_range(0..SENT_AGAIN_ONE_IN) == 0 {
                    // Whatever comes of it: it is acknowledged already.
                    let _ = self.post(path.other(), &body).await;
                }
            }
            plays.push((play.id, acknowledged));
        }
        Ok(plays)
    }

    /// A new play of a new account, signed with the system's own keys.
    pub(super) fn begin(&self, dice: &mut StdRng) -> Result<Play> {
        let id = PlayId::v7(crate::now(), dice.random());
        let ticket = self.keys.token(self.ticket, Purpose::Event, |claims| {
            claims.play = id;
            claims.pseudonym = Pseudonym(dice.random());
            claims.buffer = dice.random_range(0..BUFFERS);
        })?;
        Ok(Play { id, ticket })
    }

    /// Sends until it is acknowledged: by `path`, then by the other, in turn.
    async fn acknowledged(&self, path: Path, body: &Value) -> Result<()> {
        let repeating = async {
            let mut path = path;
            while !self.post(path, body).await? {
                self.repeated.fetch_add(1, Ordering::Relaxed);
                path = path.other();
                sleep(PAUSE).await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, repeating).await.with_context(|| format!("nobody acknowledged a post within {PATIENCE:?}"))?
    }

    /// As [`Self::acknowledged`], by one path alone.
    pub(super) async fn acknowledged_by(&self, path: Path, body: &Value) -> Result<()> {
        let repeating = async {
            while !self.post(path, body).await? {
                sleep(PAUSE).await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, repeating).await.with_context(|| format!("{path:?} acknowledged nothing within {PATIENCE:?}"))?
    }

    /// One attempt; whether all of it was acknowledged.
    ///
    /// # Errors
    /// When it was refused, which no repetition mends.
    async fn post(&self, path: Path, body: &Value) -> Result<bool> {
        let base = match path {
            Path::Edge => &self.system.run.edge,
            Path::Gateway => &self.system.run.gateway,
        };
        let Ok(answer) = self.http.post(format!("{base}/v1/me/play-event")).json(body).send().await else { return Ok(false) };
        let status = answer.status();
        // An acknowledgement that is cut off is none.
        let Ok(said) = answer.json::<Value>().await else { return Ok(false) };
        let is_all = said["rejected"].as_array().is_some_and(Vec::is_empty);
        match status {
            StatusCode::ACCEPTED if is_all => Ok(true),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Ok(false),
            _ => bail!("{path:?} answered {status}: {said}"),
        }
    }
}

impl Play {
    /// A post of the events of these numbers.
    pub(super) fn post(&self, numbers: std::ops::Range<u32>) -> Value {
        let event = |seq: u32| json!({"seq": seq, "kind": "progress", "from_ms": seq * EVENT_MS, "to_ms": (seq + 1) * EVENT_MS});
        json!({"ticket": self.ticket, "sender": "chaos", "events": numbers.map(event).collect::<Vec<_>>()})
    }
}
