//! Finding music: tracks, artists and albums by what people type, one key stroke at a time, with slips of the finger forgiven.
//!
//! The index is a copy that this service makes for itself from the catalogue's outbox. It can be lost at any time and is made again from the
//! beginning; it is never behind by more than the last pull, well under a second.
//!
//! ```text
//!  catalog outbox ──pull──► indexer ──► index on disk (commit = documents + outbox position)
//!                                           │ candidates
//!  royalty popularity ──poll──► ties        ▼
//!  GET /v1/search?q= ──► fold ──► look up ──► rank ──► page           GET /v1/search/suggest?q=
//! ```

mod entry;
mod fold;
mod index;
mod indexer;
mod popularity;
mod rank;
mod routes;

use std::sync::Arc;

use axum::Router;
use entry::Entry;
use index::{Catalogue, Kinds};
use indexer::CaughtUp;
use platform::{Clock, Config, Problem, Shutdown, feed::Outbox, openapi};
use popularity::Popularity;
use rank::{Matches, Rank, Wanted};
use tokio::sync::Semaphore;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Candidates that are ranked; nobody pages further than that through the answers to one query.
const CANDIDATES_MAX: usize = 400;
/// Searches at the same time; each keeps a thread busy for about a millisecond.
const SEARCHES_MAX: usize = 32;

/// Everything the routes use.
#[derive(Clone)]
pub struct Search {
    catalogue: Catalogue,
    popularity: Popularity,
    clock: Clock,
    turns: Arc<Semaphore>,
}

/// An answer to a query.
struct Answer {
    entry: Entry,
    rank: Rank,
    matches: Matches,
}

impl Search {
    fn new(catalogue: Catalogue, popularity: Popularity, clock: Clock) -> Self {
        Self { catalogue, popularity, clock, turns: Arc::new(Semaphore::new(SEARCHES_MAX)) }
    }

    /// All answers to a query, best first.
    async fn find(&self, wanted: Wanted, kinds: Kinds) -> Result<Vec<Answer>, Problem> {
        let now = self.clock.now();
        let listens = self.popularity.now();
        self.on_a_thread(move |catalogue| {
            let popular: Vec<_> = listens.keys().copied().collect();
            let candidates = catalogue.candidates(&wanted, &kinds, &popular, CANDIDATES_MAX, now)?;
            let mut answers: Vec<_> = candidates
                .into_iter()
                .filter_map(|entry| {
                    let heard = listens.get(&entry.id).copied().unwrap_or(0);
                    rank::rank(&wanted, &entry, heard).map(|(rank, matches)| Answer { entry, rank, matches })
                })
                .collect();
            answers.sort_by_key(|answer| answer.rank);
            Ok(answers)
        })
        .await
    }

    /// Reads the index where it may block.
    async fn on_a_thread<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Catalogue) -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let _turn = self.turns.acquire().await.map_err(|_| Problem::unavailable(1))?;
        let catalogue = self.catalogue.clone();
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "the index could not be read");
            Problem::internal()
        };
        tokio::task::spawn_blocking(move || read(&catalogue)).await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }
}

/// The routes and their description.
pub fn router(search: Search) -> (Router, OpenApi) {
    routes().with_state(search).split_for_parts()
}

/// The description alone.
#[must_use]
pub fn openapi() -> OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<Search> {
    OpenApiRouter::with_openapi(openapi::base("Antiphon search", "Finding tracks, artists and albums."))
        .routes(routes!(routes::search::search))
        .routes(routes!(routes::suggest::suggest))
}

/// Serves search until shutdown.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let (catalogue, writer) = index::open(&config.state.dir.join("search"))?;
    let (caught_up, popularity) = (CaughtUp::default(), Popularity::default());
    let outbox = Outbox::at(&config.service_url("catalog")?)?;
    let indexer = tokio::spawn(indexer::keep_up(writer, outbox, caught_up.clone(), shutdown.clone()));
    let royalty = config.service_url("royalty")?;
    let poller = tokio::spawn(popularity::keep_up(popularity.clone(), catalogue.clone(), royalty, shutdown.clone()));
    let search = Search::new(catalogue, popularity, Clock::system());
    let ready = move || {
        let missing = if caught_up.is() { Vec::new() } else { vec!["index: catching up with the catalogue".to_owned()] };
        std::future::ready(missing)
    };
    platform::serve(config.listen_addr("search")?, "search", router(search), ready, shutdown).await?;
    indexer.await?;
    poller.await?;
    Ok(())
}
