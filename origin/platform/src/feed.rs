//! The catalogue's outbox, read from the other side: consumers (search, royalty, recommend) pull what changed and store their position
//! together with what they derive from it, so that a crash loses nothing and repeats nothing.

use std::time::Duration;

use protocol::{AccountId, ArtistId, MediaVersion, Territory, TrackId, UnixMs};
use serde::{Deserialize, Serialize};

use crate::Shutdown;

/// Most events one pull can bring.
pub const EVENTS_MAX: u32 = 500;
/// How long a pull waits at the catalogue for something to happen.
const WAIT_MS: u32 = 1000;
/// How long to stay away when the catalogue does not answer.
const PAUSE_MS: u64 = 500;

/// A piece of the outbox: the answer of `GET /internal/outbox?after=&limit=&wait_ms=`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxPage {
    /// What happened after the position asked for, in order.
    pub events: Vec<OutboxEvent>,
    /// The newest position there is.
    pub head: i64,
}

/// One change of the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxEvent {
    /// Its position; positions grow but may skip.
    pub seq: i64,
    /// What happened.
    pub kind: OutboxKind,
    /// When.
    pub at_ms: UnixMs,
    /// The track as it is after the change.
    pub track: TrackDoc,
}

/// Kinds of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxKind {
    /// It can be played.
    TrackPublished,
    /// It can no longer.
    TrackTakenDown,
}

/// What consumers know of a track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is what the contract's field of the same name is")]
pub struct TrackDoc {
    pub id: TrackId,
    pub title: String,
    pub artist: ArtistDoc,
    pub album: Option<String>,
    pub isrc: Option<String>,
    pub genre: Option<String>,
    pub duration_ms: i64,
    pub owner: AccountId,
    #[serde(default)]
    pub acts_for: Option<ArtistId>,
    pub version: MediaVersion,
    pub state: TrackState,
    pub territories: Option<Vec<Territory>>,
    pub release_at_ms: Option<UnixMs>,
    pub published_at_ms: UnixMs,
}

/// What consumers know of an artist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named for what they are")]
pub struct ArtistDoc {
    pub id: ArtistId,
    pub name: String,
}

/// Whether a track can be played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackState {
    /// It can.
    Published,
    /// It has been withdrawn.
    TakenDown,
}

impl TrackState {
    /// The name in JSON and in databases.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::TakenDown => "taken_down",
        }
    }
}

/// The catalogue's outbox.
#[derive(Debug, Clone)]
pub struct Outbox {
    url: String,
    http: reqwest::Client,
}

impl Outbox {
    /// At the catalogue's base URL.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn at(catalog_url: &str) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(2)).timeout(Duration::from_secs(10)).build()?;
        Ok(Self { url: format!("{catalog_url}/internal/outbox"), http })
    }

    /// What happened after `after`; waits about a second for something to happen.
    ///
    /// # Errors
    /// When the catalogue does not answer or answers something else.
    pub async fn pull(&self, after: i64) -> Result<OutboxPage, reqwest::Error> {
        let query = [("after", after), ("limit", i64::from(EVENTS_MAX)), ("wait_ms", i64::from(WAIT_MS))];
        self.http.get(&self.url).query(&query).send().await?.error_for_status()?.json().await
    }

    /// [`Self::pull`] until it works; `None` when the process is to stop. Failures are told once until it works again.
    pub async fn pull_patiently(&self, after: i64, shutdown: &Shutdown) -> Option<OutboxPage> {
        let mut told = false;
        loop {
            let pulled = tokio::select! {
                pulled = self.pull(after) => pulled,
                () = shutdown.requested() => return None,
            };
            match pulled {
                Ok(page) => return Some(page),
                Err(error) if !told => {
                    tracing::warn!(error = %describe(&error), "the catalogue's outbox does not answer; trying on");
                    told = true;
                }
                Err(_) => {}
            }
            if !shutdown.pause(PAUSE_MS).await {
                return None;
            }
        }
    }
}

/// An error with its causes; reqwest's own text names only the outermost.
pub fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
