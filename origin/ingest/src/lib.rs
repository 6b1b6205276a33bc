//! Ingest: from an artist's file to a track that can be played.
//!
//! Who acts for an artist (as identity says, at each call) declares a file and gets a presigned URL for exactly those bytes. When they have arrived the object store says so on the queue; a worker
//! fetches them, checks them against the declaration, encodes the ladder, stores it under names made from its content, and hands the track to the
//! catalogue, which publishes it in one transaction.
//!
//! ```text
//!  artist ─► POST /v1/ingest/upload ─► uploads: pending
//!     └────► PUT raw/{upload} ─► object store ─► queue: object-created ─┐
//!                                                                       ▼
//!            GET /v1/ingest/tracks/{id} ◄── jobs ◄── worker: fetch ─► media ─► media/{version}/* ─► catalog /internal/publications
//!                                                    (jobs)          (media)
//! ```

mod acting;
mod catalog;
mod countries;
mod jobs;
pub mod media;
mod routes;
mod store;
mod upload;

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use axum::{Router, extract::FromRef};
use platform::{
    AuthState, Clock, Config, Problem, Shutdown,
    idempotency::{self, Idempotency},
    memberships::Memberships,
    objects::Objects,
    queue::Queue,
};
use protocol::AccountId;
use sqlx::PgPool;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use crate::jobs::{OBJECT_CREATED, Workers};
use crate::{acting::Acting, catalog::Catalog, media::Studio};

/// What the routes stand on.
#[derive(Clone)]
pub struct Ingest {
    pool: PgPool,
    clock: Clock,
    auth: AuthState,
    objects: Objects,
    catalog: Catalog,
    memberships: Memberships,
    raw_bucket: String,
    media_bucket: String,
    upload_bytes_max: u64,
}

impl FromRef<Ingest> for AuthState {
    fn from_ref(ingest: &Ingest) -> Self {
        ingest.auth.clone()
    }
}

/// Connections to PostgreSQL: a worker takes one at a time, and so does a request.
const CONNECTIONS: u32 = 16;
/// Encoding runs some ten times faster than the music plays, and more on an idle machine; a job that runs at its speed is stuck.
const SECONDS_PER_MINUTE: u64 = 60;
/// The longest source the media pipeline takes, whatever is configured; how long token keys are kept counts on it.
const SECONDS_MAX: u64 = protocol::token::TRACK_MS_MAX.unsigned_abs() / 1000;

impl Ingest {
    /// Ingest over `pool`, which is this service's own role.
    ///
    /// # Errors
    /// The configured addresses or keys cannot be used.
    pub fn new(config: &Config, pool: PgPool, clock: Clock) -> anyhow::Result<Self> {
        let keys = config.keys()?;
        Ok(Self {
            pool,
            auth: AuthState { verifier: keys.session_verifier.clone(), clock: clock.clone() },
            clock,
            objects: Objects::new(config, &keys)?,
            catalog: Catalog::new(config.service_url("catalog")?)?,
            memberships: Memberships::at(&config.service_url("identity")?)?,
            raw_bucket: config.objects.raw_bucket.clone(),
            media_bucket: config.objects.media_bucket.clone(),
            upload_bytes_max: config.ingest.upload_bytes_max,
        })
    }

    /// Whom an account acts for at this moment.
    async fn acting(&self, account: AccountId) -> Result<Acting, Problem> {
        Ok(Acting(self.memberships.of(account).await?))
    }

    /// The workers that go with it.
    ///
    /// # Errors
    /// There is no usable ffmpeg.
    pub fn workers(&self, config: &Config, shutdown: Shutdown) -> anyhow::Result<Workers> {
        let mut studio = Studio::new(PathBuf::from(&config.ingest.ffmpeg), SECONDS_PER_MINUTE)
            .context("ingest needs an ffmpeg with the AAC encoder: set `ingest.ffmpeg`, or run cargo xtask setup")?;
        studio.limits.seconds_max = (config.ingest.duration_ms_max / 1000).min(SECONDS_MAX);
        tracing::info!(encoder = studio.encoder, "the encoder");
        Ok(Workers {
            pool: self.pool.clone(),
            queue: Queue::with_clock(self.pool.clone(), self.clock.clone()),
            objects: self.objects.clone(),
            catalog: self.catalog.clone(),
            studio: Arc::new(studio),
            clock: self.clock.clone(),
            shutdown,
            folder: config.state.dir.join("ingest"),
            raw_bucket: self.raw_bucket.clone(),
            media_bucket: self.media_bucket.clone(),
            raw_days_max: config.ingest.raw_days_max,
        })
    }
}

fn api_router() -> OpenApiRouter<Ingest> {
    OpenApiRouter::with_openapi(platform::openapi::base("Antiphon ingest", "Uploads, and how they become tracks"))
        .routes(routes!(routes::uploads::create))
        .routes(routes!(routes::tracks::read, routes::tracks::cancel))
        .routes(routes!(routes::tracks::list))
}

/// The routes and their description.
pub fn router(ingest: Ingest) -> (Router, utoipa::openapi::OpenApi) {
    let (router, openapi) = api_router().split_for_parts();
    let kept = Idempotency::new(ingest.pool.clone(), "ingest", ingest.auth.clone());
    let layer = axum::middleware::from_fn_with_state(kept, idempotency::remember);
    (router.route_layer(layer).with_state(ingest), openapi)
}

/// The description alone.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    api_router().into_openapi()
}

/// Runs the routes on `listen.ingest` and the workers, until the stop.
///
/// # Errors
/// The keys, the address or ffmpeg cannot be used.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let pool = platform::pg::pool(&config.role_database_url("ingest")?, CONNECTIONS)?;
    let ingest = Ingest::new(&config, pool.clone(), Clock::system())?;
    let workers = tokio::spawn(ingest.workers(&config, shutdown.clone())?.run(config.ingest.workers));
    let ready = move || {
        let pool = pool.clone();
        async move { platform::pg::missing(&pool).await.into_iter().collect() }
    };
    platform::serve(config.listen_addr("ingest")?, "ingest", router(ingest), ready, shutdown).await?;
    workers.await.context("the workers")
}
