//! The catalogue: which tracks there are, whose they are, who may hear them where, and who likes them.
//!
//! Ingest hands over a track when everything that is needed to play it is in the object store. From then on the catalogue owns
//! it: its page, its card (what the edge asks before it signs a play), its likes, its end. Whatever happens to a track is written
//! to the outbox in the same transaction, and from there search, royalty and recommend keep their copies.
//!
//! ```text
//!  ingest ─► /internal/publications ─┐                       ┌─► /internal/outbox ─► search, royalty, recommend
//!  member ─► DELETE /v1/tracks/{id} ─┼─► one transaction ────┤
//!                                    │   (rows + outbox row) └─► /internal/cards/{track} ─► gateway ─► edge
//!  listener ─► likes, follows ───────┘                       └─► GET /v1/tracks/{id}
//! ```

mod jobs;
mod publication;
mod routes;
mod store;
mod track;

use axum::{Router, extract::FromRef};
use platform::{AuthState, Clock, Config, Shutdown, memberships::Memberships};
use sqlx::PgPool;
use tokio::sync::watch;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use crate::{
    publication::{Outcome, Publication, Published},
    track::ArtistRef,
};

/// What the routes stand on.
#[derive(Clone)]
pub struct Catalog {
    pool: PgPool,
    clock: Clock,
    auth: AuthState,
    memberships: Memberships,
    shutdown: Shutdown,
    outbox_growth: watch::Sender<()>,
}

impl Catalog {
    /// A catalogue over `pool`, which is this service's own role; `memberships` says who acts for a track's artist.
    #[must_use]
    pub fn new(pool: PgPool, clock: Clock, auth: AuthState, memberships: Memberships, shutdown: Shutdown) -> Self {
        Self { pool, clock, auth, memberships, shutdown, outbox_growth: watch::Sender::new(()) }
    }

    /// Wakes the readers of the outbox.
    fn outbox_grew(&self) {
        self.outbox_growth.send_replace(());
    }

    fn outbox_growth(&self) -> watch::Receiver<()> {
        self.outbox_growth.subscribe()
    }

    /// Sums likes and follows into counters until the stop.
    pub async fn count(&self) {
        jobs::counters::run(self.pool.clone(), self.shutdown.clone()).await;
    }
}

impl FromRef<Catalog> for AuthState {
    fn from_ref(catalog: &Catalog) -> Self {
        catalog.auth.clone()
    }
}

fn api_router() -> OpenApiRouter<Catalog> {
    OpenApiRouter::with_openapi(platform::openapi::base("Antiphon catalogue", "Tracks, likes, follows, and what happened to them"))
        .routes(routes!(routes::tracks::read, routes::tracks::take_down))
        .routes(routes!(routes::likes::list))
        .routes(routes!(routes::likes::like, routes::likes::unlike))
        .routes(routes!(routes::follows::follow, routes::follows::unfollow))
        .routes(routes!(routes::publications::create))
        .routes(routes!(routes::outbox::read))
        .routes(routes!(routes::like_changes::read))
        .routes(routes!(routes::cards::read))
}

/// The routes and their description.
pub fn router(catalog: Catalog) -> (Router, utoipa::openapi::OpenApi) {
    let (router, openapi) = api_router().split_for_parts();
    (router.with_state(catalog), openapi)
}

/// The description alone.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    api_router().into_openapi()
}

/// Connections to PostgreSQL: readers of the outbox hold none while they wait.
const CONNECTIONS: u32 = 16;

/// Runs the catalogue on `listen.catalog` until the stop.
///
/// # Errors
/// The keys or the address cannot be used.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let clock = Clock::system();
    let pool = platform::pg::pool(&config.role_database_url("catalog")?, CONNECTIONS)?;
    let auth = AuthState { verifier: config.keys()?.session_verifier, clock: clock.clone() };
    let memberships = Memberships::at(&config.service_url("identity")?)?;
    let catalog = Catalog::new(pool.clone(), clock, auth, memberships, shutdown.clone());
    let counting = catalog.clone();
    let counters = tokio::spawn(async move { counting.count().await });
    let ready = move || {
        let pool = pool.clone();
        async move { platform::pg::missing(&pool).await.into_iter().collect() }
    };
    platform::serve(config.listen_addr("catalog")?, "catalog", router(catalog), ready, shutdown).await?;
    counters.await?;
    Ok(())
}
