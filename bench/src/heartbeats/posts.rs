//! What players post, made before the clock starts: one event in a post, as a player that goes on playing sends it.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use protocol::{
    MediaVersion, Plan, PlayId, Rung, RungSet, TrackId,
    keys::TokenKeys,
    token::{self, Claims, Pseudonym, Purpose},
};
use serde_json::{Value, json};

use crate::machine;

const DURATION_MS: u32 = 210_000;
const TICKET_LIFE_MS: i64 = 3_600_000;

/// Listeners, each an account with one play on the same shard.
#[derive(Debug)]
pub(crate) struct Listeners {
    tickets: Vec<(PlayId, String)>,
    next: AtomicU32,
}

impl Listeners {
    /// `count` of them, whose events go to buffer `shard`. `salt` makes them other people than those of another call.
    ///
    /// # Errors
    /// When a ticket cannot be signed.
    pub(crate) fn new(keys: &TokenKeys, count: u32, shard: u16, salt: u8) -> Result<Self> {
        let now = machine::unix_now();
        let ticket = |n: u32| {
            let [a, b, c, d] = n.to_be_bytes();
            let play = PlayId::v7(now, [salt, a, b, c, d, 5, 6, 7, 8, 9]);
            let claims = Claims {
                purpose: Purpose::Event,
                plan: Plan::Premium,
                rungs: RungSet::of(&[Rung::Aac128]),
                territory: "DE".parse().map_err(|_| anyhow::anyhow!("DE is a country"))?,
                buffer: shard,
                expires_at: now.plus_ms(TICKET_LIFE_MS),
                duration_ms: DURATION_MS,
                play,
                track: TrackId::v7(now, [2; 10]),
                version: MediaVersion([0xab; 16]),
                pseudonym: Pseudonym([salt, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            };
            Ok((play, token::mint(keys, &claims, now)?))
        };
        Ok(Self { tickets: (0..count).map(ticket).collect::<Result<_>>()?, next: AtomicU32::new(0) })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.tickets.len()).unwrap_or(u32::MAX)
    }

    /// The next beat of the next listener: its play, its ticket, its event.
    pub(crate) fn beat(&self, kind: &str) -> (PlayId, &str, Value) {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.count().max(1);
        let (seq, place) = (n / count, n % count);
        let from_ms = (seq % 200) * 1_000;
        let event = json!({ "seq": seq, "kind": kind, "from_ms": from_ms, "to_ms": from_ms + 1_000, "muted": false, "background": false });
        let (play, ticket) = self
            .tickets
            .get(place as usize)
            .map_or((PlayId::v7(machine::unix_now(), [0; 10]), ""), |(play, ticket)| (*play, ticket.as_str()));
        (play, ticket, event)
    }

    /// A body of `POST /v1/me/play-event`.
    pub(crate) fn post(&self, kind: &str) -> String {
        let (_, ticket, event) = self.beat(kind);
        json!({ "ticket": ticket, "sender": SENDER, "events": [event] }).to_string()
    }

    /// A post as a buffer keeps it.
    pub(crate) fn stored(&self) -> Value {
        let (_, ticket, event) = self.beat("progress");
        json!({ "ticket": ticket, "sender": SENDER, "received_at_ms": machine::unix_now(), "events": [event] })
    }
}

/// As long as a player's own name.
pub(crate) const SENDER: &str = "5b1f0c2e9a7d4e8c93a1b2c3";
