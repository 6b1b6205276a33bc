//! The activity lake: every play, skip, like and unlike as Parquet in the object store, for whoever trains on it or counts it. Nothing here is
//! asked while music plays, and nothing is written that is not already durable elsewhere: the lake may lag, it cannot lose.
//!
//! ```text
//!  royalty ─/internal/plays─┐                         ┌─► objects   activity/kind=play/day=2026-11-25/….parquet
//!                           ├─► write ─► keys ─► rows ┤
//!  catalog ─/internal/likes─┘                         └─► manifest  (files, positions, counts: one transaction)
//!                                                             │
//!                  compact: many small files of a day ─► one ─┤
//!                  sweep: what no snapshot needs any more     └─► query (DataFusion), export
//! ```
//! A commit is one row of [`manifest`]: the files it adds or replaces, the place in the feed, the counts. So a reader sees whole commits, and a
//! process that dies between any two steps neither loses nor repeats a row ([`write`]). A listener appears under a pseudonym made with a key
//! of their own; deleting the key makes the rows nobody's ([`keys`]). `docs/lake.md` is the schema.

pub mod compact;
mod error;
pub mod export;
mod feed;
mod keeper;
pub mod keys;
pub mod manifest;
pub mod query;
mod routes;
pub mod rows;
pub mod step;
pub mod sweep;
pub mod write;

use axum::Router;
use platform::{Clock, Config, Shutdown, objects::Objects};
use protocol::keys::TokenKeys;
use sqlx::PgPool;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use crate::error::LakeError;
use crate::feed::Feeds;

/// What writer, compactor, sweeper and readers stand on.
#[derive(Clone)]
pub struct Lake {
    pool: PgPool,
    objects: Objects,
    bucket: String,
    keys: TokenKeys,
    feeds: Feeds,
    clock: Clock,
}

/// Connections to PostgreSQL: the keeper works on one thing at a time.
const CONNECTIONS: u32 = 6;

impl Lake {
    /// With the deployment's database role, store and keys.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(config: &Config, clock: Clock) -> anyhow::Result<Self> {
        let keys = config.keys()?;
        Ok(Self {
            pool: platform::pg::pool(&config.role_database_url("lake")?, CONNECTIONS)?,
            objects: Objects::new(config, &keys)?,
            bucket: config.objects.lake_bucket.clone(),
            feeds: Feeds::at(&config.service_url("royalty")?, &config.service_url("catalog")?)?,
            keys: keys.token,
            clock,
        })
    }

    /// Makes the bucket unless it is there.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn ensure_bucket(&self) -> Result<(), LakeError> {
        Ok(self.objects.ensure_bucket(&self.bucket).await?)
    }
}

fn api_router() -> OpenApiRouter<Lake> {
    OpenApiRouter::with_openapi(platform::openapi::base("Antiphon activity lake", "What was written, and forgetting an account."))
        .routes(routes!(routes::hours))
        .routes(routes!(routes::forget))
}

/// The routes and their description. All are internal.
pub fn router(lake: Lake) -> (Router, OpenApi) {
    api_router().with_state(lake).split_for_parts()
}

/// The description alone.
#[must_use]
pub fn openapi() -> OpenApi {
    api_router().into_openapi()
}

/// Keeps the lake on `listen.lake` until the stop.
///
/// # Errors
/// When the configuration or the address cannot be used.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let lake = Lake::new(&config, Clock::system())?;
    let health = keeper::Health::default();
    let keeper = tokio::spawn(keeper::run(lake.clone(), config.lake.every_ms, health.clone(), shutdown.clone()));
    let pool = lake.pool.clone();
    let ready = move || {
        let (pool, health) = (pool.clone(), health.clone());
        async move { platform::pg::missing(&pool).await.into_iter().chain(health.missing()).collect() }
    };
    platform::serve(config.listen_addr("lake")?, "lake", router(lake), ready, shutdown).await?;
    keeper.await?;
    Ok(())
}
