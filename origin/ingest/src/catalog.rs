//! What ingest asks of the catalogue over HTTP: to publish a track, and how a published one stands.

use std::time::Duration;

use protocol::{
    AccountId, ArtistId, MediaVersion, Territory, TrackId, UnixMs,
    sheet::{Card, CardState, Sheet},
};
use serde::{Deserialize, Serialize};

/// How long a page of ours waits for the catalogue before it shows what it knows itself.
const CARD_TIMEOUT: Duration = Duration::from_secs(1);
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(20);

/// The catalogue.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    http: reqwest::Client,
    url: String,
}

/// The body of `POST /internal/publications`.
#[derive(Debug, Serialize)]
pub(crate) struct Publication<'a> {
    pub(crate) track: TrackId,
    pub(crate) owner: AccountId,
    pub(crate) acts_for: ArtistId,
    pub(crate) fence: i64,
    pub(crate) title: &'a str,
    pub(crate) artist: &'a str,
    pub(crate) album: Option<&'a str>,
    pub(crate) isrc: Option<&'a str>,
    pub(crate) genre: Option<&'a str>,
    pub(crate) explicit: bool,
    pub(crate) territories: Option<&'a [Territory]>,
    pub(crate) release_at_ms: Option<UnixMs>,
    pub(crate) sheet: &'a Sheet,
}

/// What the catalogue made of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Handover {
    /// The track can be heard, first since `at`.
    Published { version: MediaVersion, at: UnixMs },
    /// Its owner has taken it down meanwhile.
    TakenDown,
    /// A later job has published it.
    FencedOut,
    /// It will not be taken however often it is sent.
    Refused(String),
}

#[derive(Deserialize)]
struct Answer {
    outcome: String,
    version: MediaVersion,
    published_at_ms: UnixMs,
}

impl Catalog {
    pub(crate) fn new(url: String) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(2)).no_proxy().build()?;
        Ok(Self { http, url })
    }

    /// Hands a track over.
    ///
    /// # Errors
    /// When the catalogue is away: the same call may succeed later.
    pub(crate) async fn publish(&self, publication: &Publication<'_>) -> anyhow::Result<Handover> {
        let request = self.http.post(format!("{}/internal/publications", self.url)).timeout(PUBLISH_TIMEOUT).json(publication);
        let response = request.send().await?;
        let status = response.status();
        if status.is_success() {
            let answer: Answer = response.json().await?;
            return Ok(match answer.outcome.as_str() {
                "taken_down" => Handover::TakenDown,
                _ => Handover::Published { version: answer.version, at: answer.published_at_ms },
            });
        }
        let said: String = response.text().await.unwrap_or_default().chars().take(500).collect();
        if status.is_client_error() && status.as_u16() != 429 {
            let fenced = status.as_u16() == 409 && said.contains("fenced_out");
            return Ok(if fenced { Handover::FencedOut } else { Handover::Refused(format!("{status} {said}")) });
        }
        anyhow::bail!("the catalogue answered {status} {said}")
    }

    /// How a track stands; `None` when the catalogue does not know it or does not answer.
    pub(crate) async fn state(&self, track: TrackId) -> Option<CardState> {
        let request = self.http.get(format!("{}/internal/cards/{track}", self.url)).timeout(CARD_TIMEOUT);
        let answer = async { request.send().await?.error_for_status()?.json::<Card>().await };
        match answer.await {
            Ok(card) => Some(card.state),
            Err(error) => {
                tracing::warn!(error = %error.without_url(), %track, "the catalogue did not say how a track stands");
                None
            }
        }
    }
}
