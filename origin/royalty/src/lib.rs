//! From heartbeats to money. Buffers hand over batches of what players reported; each record is counted once or says why not. A rule
//! decides which plays are listens. Once a month the money that listeners paid is shared by those listens, and every step of it
//! is a row in a ledger that only grows.
//!
//! ```text
//!  edge, gateway ─batch─► intake ─► collector ─► events, plays ─► fold (protocol::listen) ─► provisional ─┐
//!                                       └─► quarantine                    └─► history, popularity        ▼
//!  billing ─revenue─► ledger: pool ─────────────────────────────────────────────────────────────────► settle
//!  catalogue ─outbox─► tracks, splits ─────────────────────────────────────────────────────────────────┘ │
//!                                                     statements, proofs, balances ◄─ ledger: payees ◄───┘
//! ```
//! Exactly one place makes events unique ([`store::merge`]), exactly one moves money ([`ledger`]), and what lies between is pure
//! ([`settle`], [`sum_tree`], `protocol::listen`).

pub mod cells;
pub mod collector;
pub mod dsr;
mod error;
pub mod intake;
pub mod jobs;
pub mod lake;
pub mod ledger;
pub mod money;
pub mod period;
pub mod quarantine;
pub mod reconcile;
pub mod revenue;
mod routes;
pub mod settle;
pub mod settlement;
pub mod store;
pub mod sum_tree;

use std::sync::Arc;

use anyhow::Context as _;
use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef},
    middleware::from_fn_with_state,
};
use platform::{
    AuthState, Clock, Config, Shutdown,
    feed::Outbox,
    idempotency::{self, Idempotency},
    memberships::Memberships,
};
use protocol::{keys::TokenKeys, listen::Uncorroborated};
use sqlx::PgPool;
use tokio::sync::Notify;
use tower::limit::GlobalConcurrencyLimitLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use crate::{
    error::RoyaltyError,
    money::{Currency, Money},
    period::Period,
    settle::Model,
    settlement::{SettleRequest, Settlement, settle},
};
use crate::{
    intake::{EventIntake, Merger},
    store::partitions::Partitions,
};

/// What the routes stand on.
#[derive(Clone)]
pub struct Royalty {
    pool: PgPool,
    keys: TokenKeys,
    clock: Clock,
    auth: AuthState,
    memberships: Memberships,
    currency: Currency,
    uncorroborated: Uncorroborated,
    merger: Merger,
    intake: Arc<dyn EventIntake>,
    lake: Option<lake::Lake>,
}

impl Royalty {
    /// Over `pool`, which is this service's own role; `memberships` says who acts for a track's artist.
    #[must_use]
    pub fn new(pool: PgPool, keys: TokenKeys, clock: Clock, auth: AuthState, memberships: Memberships, currency: Currency) -> Self {
        let uncorroborated = Uncorroborated::default();
        let (partitions, merged) = (Arc::<Partitions>::default(), Arc::<Notify>::default());
        let merger = Merger { pool: pool.clone(), partitions, keys: keys.clone(), clock: clock.clone(), merged };
        let intake = Arc::new(intake::Postgres::new(merger.clone()));
        Self { pool, keys, clock, auth, memberships, currency, uncorroborated, merger, intake, lake: None }
    }

    /// With another way in for batches, which merges by [`Self::merger`].
    #[must_use]
    pub fn with_intake(self, intake: Arc<dyn EventIntake>) -> Self {
        Self { intake, ..self }
    }

    /// With an activity lake, whose files are held against the plays when a period is reconciled.
    #[must_use]
    pub fn with_lake(self, lake: lake::Lake) -> Self {
        Self { lake: Some(lake), ..self }
    }

    /// What merges batches here.
    #[must_use]
    pub fn merger(&self) -> Merger {
        self.merger.clone()
    }

    /// With another policy on listens that no receipts corroborate.
    #[must_use]
    pub fn with_uncorroborated(self, uncorroborated: Uncorroborated) -> Self {
        Self { uncorroborated, ..self }
    }

    /// Settles a period in this deployment's currency.
    ///
    /// # Errors
    /// [`RoyaltyError`].
    pub async fn settle(&self, request: SettleRequest) -> Result<Settlement, RoyaltyError> {
        if request.currency != self.currency {
            return Err(RoyaltyError::OtherCurrency { ours: self.currency, asked: request.currency });
        }
        settlement::settle(&self.pool, &self.keys, self.uncorroborated, request, self.clock.now()).await
    }

    /// Folds listens until the stop.
    pub async fn fold(&self, shutdown: Shutdown) {
        jobs::fold::run(self.pool.clone(), self.uncorroborated, self.clock.clone(), self.merger.merged.clone(), shutdown).await;
    }

    /// Keeps partitions ready until the stop.
    pub async fn keep_partitions(&self, shutdown: Shutdown) {
        jobs::partitions::run(self.pool.clone(), self.merger.partitions.clone(), self.clock.clone(), shutdown).await;
    }

    /// Merges what the intake has made durable, until the stop.
    pub async fn merge_accepted(&self, shutdown: Shutdown) {
        self.intake.run(shutdown).await;
    }

    /// Follows the catalogue until the stop.
    pub async fn follow_catalog(&self, outbox: Outbox, shutdown: Shutdown) {
        jobs::catalog::run(self.pool.clone(), outbox, shutdown).await;
    }
}

impl FromRef<Royalty> for AuthState {
    fn from_ref(royalty: &Royalty) -> Self {
        royalty.auth.clone()
    }
}

fn api_router() -> OpenApiRouter<Royalty> {
    let batches = OpenApiRouter::new()
        .routes(routes!(routes::batches::merge))
        .layer(DefaultBodyLimit::max(routes::batches::BATCH_BYTES_MAX))
        .layer(GlobalConcurrencyLimitLayer::new(routes::batches::BATCHES_MAX));
    OpenApiRouter::with_openapi(platform::openapi::base(
        "Antiphon royalties",
        "Heartbeats, listens, the ledger, settlements and statements",
    ))
    .routes(routes!(routes::counts::read))
    .routes(routes!(routes::history::list))
    .routes(routes!(routes::popularity::list))
    .routes(routes!(routes::quarantine::list))
    .routes(routes!(routes::quarantine::read))
    .routes(routes!(routes::quarantine::replay))
    .routes(routes!(routes::reconciliation::read))
    .routes(routes!(routes::revenue::create))
    .routes(routes!(routes::settlements::create))
    .routes(routes!(routes::splits::put))
    .routes(routes!(routes::statements::list))
    .routes(routes!(routes::statements::read))
    .routes(routes!(routes::statements::proof))
    .routes(routes!(routes::balance::read))
    .routes(routes!(routes::plays::read))
    .merge(batches)
}

/// The routes and their description.
pub fn router(royalty: Royalty) -> (Router, OpenApi) {
    let (router, openapi) = api_router().split_for_parts();
    let kept = Idempotency::new(royalty.pool.clone(), "royalty", royalty.auth.clone());
    (router.route_layer(from_fn_with_state(kept, idempotency::remember)).with_state(royalty), openapi)
}

/// The description alone.
#[must_use]
pub fn openapi() -> OpenApi {
    api_router().into_openapi()
}

/// Connections to PostgreSQL: one for each merge, fold and read under way.
const CONNECTIONS: u32 = 24;
/// Folds that run at once, each on another account.
const FOLDS: usize = 2;

/// Runs royalty on `listen.royalty` until the stop.
///
/// # Errors
/// The keys, the currency or the address cannot be used.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let clock = Clock::system();
    let keys = config.keys()?;
    let pool = platform::pg::pool(&config.role_database_url("royalty")?, CONNECTIONS)?;
    let auth = AuthState { verifier: keys.session_verifier, clock: clock.clone() };
    let memberships = Memberships::at(&config.service_url("identity")?)?;
    let currency = config.royalty.currency.parse().with_context(|| format!("royalty.currency = {:?}", config.royalty.currency))?;
    let royalty =
        Royalty::new(pool.clone(), keys.token, clock, auth, memberships, currency).with_uncorroborated(config.royalty.uncorroborated);
    let intake = intake::of_config(&config.royalty, royalty.merger())?;
    let royalty = royalty.with_intake(intake.clone()).with_lake(lake::Lake::at(&config.service_url("lake")?)?);
    let outbox = Outbox::at(&config.service_url("catalog")?)?;

    let mut jobs = tokio::task::JoinSet::new();
    let (partitions, stop) = (royalty.clone(), shutdown.clone());
    jobs.spawn(async move { partitions.keep_partitions(stop).await });
    let (follower, stop) = (royalty.clone(), shutdown.clone());
    jobs.spawn(async move { follower.follow_catalog(outbox, stop).await });
    let (merging, stop) = (royalty.clone(), shutdown.clone());
    jobs.spawn(async move { merging.merge_accepted(stop).await });
    for _ in 0..FOLDS {
        let (folder, stop) = (royalty.clone(), shutdown.clone());
        jobs.spawn(async move { folder.fold(stop).await });
    }
    let ready = move || {
        let (pool, intake) = (pool.clone(), intake.clone());
        async move { platform::pg::missing(&pool).await.into_iter().chain(intake.missing().await).collect() }
    };
    platform::serve(config.listen_addr("royalty")?, "royalty", router(royalty), ready, shutdown).await?;
    while jobs.join_next().await.is_some() {}
    Ok(())
}
