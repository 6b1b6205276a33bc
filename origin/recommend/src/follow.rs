//! Keeps the shelf current: the catalogue's outbox from its beginning, and royalty's popularity every few seconds.

use std::time::Duration;

use platform::{
    Shutdown,
    feed::{Outbox, OutboxKind, describe},
};
use protocol::TrackId;
use serde::Deserialize;

use crate::Recommend;

const POLL_MS: u64 = 5_000;
const RANKED_MAX: u32 = 10_000;

/// Follows published and taken-down tracks until the stop.
pub(crate) async fn tracks(recommend: Recommend, outbox: Outbox, shutdown: Shutdown) {
    let mut position = 0;
    while let Some(page) = outbox.pull_patiently(position, &shutdown).await {
        if page.events.is_empty() && page.head >= position {
            continue;
        }
        recommend.change(|shelf| {
            if page.head < position {
                tracing::warn!(head = page.head, position, "the catalogue's outbox begins anew; so do recommendations");
                shelf.clear();
                position = 0;
                return;
            }
            for event in page.events {
                position = position.max(event.seq);
                match event.kind {
                    OutboxKind::TrackPublished => shelf.put(event.track),
                    OutboxKind::TrackTakenDown => shelf.remove(event.track.id),
                }
            }
        });
    }
}

#[derive(Deserialize)]
struct Popularity {
    items: Vec<Rank>,
}

#[derive(Deserialize)]
struct Rank {
    track: TrackId,
    listens: i64,
}

/// Follows valid listens until the stop.
pub(crate) async fn popularity(recommend: Recommend, royalty_url: String, shutdown: Shutdown) {
    let Ok(http) = reqwest::Client::builder().timeout(Duration::from_secs(5)).build() else { return };
    let url = format!("{royalty_url}/internal/popularity?limit={RANKED_MAX}");
    loop {
        match read(&http, &url).await {
            Ok(popularity) => {
                let listens = popularity.items.into_iter().map(|rank| (rank.track, rank.listens)).collect();
                recommend.change(|shelf| shelf.rank(listens));
            }
            // The last ranking stays: an old one is better than none.
            Err(error) => tracing::debug!(error = %describe(&error), "royalty does not say what is popular"),
        }
        if !shutdown.pause(POLL_MS).await {
            return;
        }
    }
}

async fn read(http: &reqwest::Client, url: &str) -> Result<Popularity, reqwest::Error> {
    http.get(url).send().await?.error_for_status()?.json().await
}
