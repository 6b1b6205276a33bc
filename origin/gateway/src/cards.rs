//! Cards of tracks, from the catalogue: small, mutable, kept for seconds. While the catalogue does not answer the last one holds, since
//! playback must not need a database.

use std::{sync::Arc, time::Duration};

use moka::future::Cache;
use protocol::{TrackId, sheet::Card};

use crate::routes::Service;
use crate::upstream::Services;

const CARDS_MAX: u64 = 100_000;

/// The catalogue does not answer, and there is no old card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the catalogue does not answer")]
pub(crate) struct CardUnavailable;

pub(crate) struct Cards {
    services: Services,
    fresh: Cache<TrackId, Option<Arc<Card>>>,
    last_known: Cache<TrackId, Arc<Card>>,
}

impl Cards {
    pub(crate) fn new(services: Services, ttl: Duration) -> Self {
        let fresh = Cache::builder().max_capacity(CARDS_MAX).time_to_live(ttl).build();
        Self { services, fresh, last_known: Cache::new(CARDS_MAX) }
    }

    /// The card, or `None` when the catalogue knows no such track. Callers that ask at once share one call.
    pub(crate) async fn get(&self, track: TrackId) -> Result<Option<Arc<Card>>, CardUnavailable> {
        self.fresh.try_get_with(track, self.ask(track)).await.map_err(|error: Arc<CardUnavailable>| (*error).clone())
    }

    /// Asks the catalogue. When it does not answer, the old card counts as fresh once more: a catalogue that is down is asked once per
    /// time to live and track.
    async fn ask(&self, track: TrackId) -> Result<Option<Arc<Card>>, CardUnavailable> {
        match self.fetch(track).await {
            Ok(Some(card)) => {
                let card = Arc::new(card);
                self.last_known.insert(track, card.clone()).await;
                Ok(Some(card))
            }
            Ok(None) => {
                self.last_known.invalidate(&track).await;
                Ok(None)
            }
            Err(error) => {
                tracing::warn!(%track, %error, "the catalogue does not answer; an old card holds if there is one");
                self.last_known.get(&track).await.map(Some).ok_or(CardUnavailable)
            }
        }
    }

    async fn fetch(&self, track: TrackId) -> Result<Option<Card>, reqwest::Error> {
        let answer = self.services.get(Service::Catalog, &format!("/internal/cards/{track}")).await?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.error_for_status()?.json().await.map(Some)
    }
}
