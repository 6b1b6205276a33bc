//! What is listened to most, as royalty counts it: tracks, and through them artists and albums. It breaks ties; when royalty is away the last
//! known numbers do, or none.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use platform::{Shutdown, feed};
use protocol::TrackId;
use serde::Deserialize;
use uuid::Uuid;

use crate::index::Catalogue;

const EVERY_MS: u64 = 30_000;
const TRACKS_MAX: u32 = 500;

/// Listens by id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Popularity(Arc<RwLock<Arc<HashMap<Uuid, u64>>>>);

impl Popularity {
    pub(crate) fn now(&self) -> Arc<HashMap<Uuid, u64>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, listens: HashMap<Uuid, u64>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(listens);
    }
}

#[derive(Deserialize)]
struct Listened {
    track: TrackId,
    listens: u64,
}

#[derive(Deserialize)]
struct Most {
    items: Vec<Listened>,
}

/// Asks royalty now and then, until shutdown.
pub(crate) async fn keep_up(popularity: Popularity, catalogue: Catalogue, royalty_url: String, shutdown: Shutdown) {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap_or_default();
    let url = format!("{royalty_url}/internal/popularity?limit={TRACKS_MAX}");
    loop {
        match ask(&http, &url).await {
            Ok(most) => {
                let catalogue = catalogue.clone();
                match tokio::task::spawn_blocking(move || sum_up(&catalogue, most)).await {
                    Ok(Ok(listens)) => popularity.set(listens),
                    Ok(Err(error)) => tracing::warn!(%error, "popularity could not be summed up"),
                    Err(error) => tracing::warn!(%error, "popularity could not be summed up"),
                }
            }
            Err(error) => tracing::debug!(error = %feed::describe(&error), "royalty does not tell what is popular"),
        }
        if !shutdown.pause(EVERY_MS).await {
            return;
        }
    }
}

async fn ask(http: &reqwest::Client, url: &str) -> Result<Vec<Listened>, reqwest::Error> {
    let most: Most = http.get(url).send().await?.error_for_status()?.json().await?;
    Ok(most.items)
}

/// Adds each track's listens to its artist's and its album's.
fn sum_up(catalogue: &Catalogue, most: Vec<Listened>) -> anyhow::Result<HashMap<Uuid, u64>> {
    let by_track: HashMap<Uuid, u64> = most.into_iter().map(|listened| (listened.track.uuid(), listened.listens)).collect();
    let tracks = catalogue.entries(&by_track.keys().copied().collect::<Vec<_>>())?;
    let mut listens = by_track.clone();
    for track in tracks {
        let heard = by_track.get(&track.id).copied().unwrap_or(0);
        let names = [track.artist.as_ref().map(|artist| artist.id.uuid()), track.album_id()];
        for name in names.into_iter().flatten() {
            *listens.entry(name).or_default() += heard;
        }
    }
    Ok(listens)
}
