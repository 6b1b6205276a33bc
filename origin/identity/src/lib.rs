//! Who is calling: accounts, log-ins, the keys that others verify them with, the artists an account acts for, and what was revoked.
//!
//! A log-in begins a *family*: a chain of refresh tokens of which one at a time can be used. Each use spends it and gives the next one,
//! with a fresh access token that every other part verifies by itself with the public keys, so nobody asks identity per request.
//!
//! ```text
//!  POST /v1/accounts ──► account ──► credentials, membership
//!  POST /v1/sessions ──► throttle ──► password ──► family ──► access token (15 min; music until 12 h) + refresh token
//!  POST /v1/sessions/refresh ──► spend ──► the next pair          spent before? ──► the whole family is revoked
//!  GET /.well-known/jwks.json ──► edge, gateway, services
//!  POST /v1/revocations ──► revocations ──► /internal/revocations ──► gateways ──► edges
//!  catalogue's outbox ───────────┘ (a track is taken down)
//!  /v1/artists/{id}/members ──► memberships ──► /internal/accounts/{id}/memberships ──► ingest, catalogue, royalty
//!  /v1/me/artists ────────────────┘ (accept, leave)
//! ```

pub mod account;
mod error;
mod jobs;
mod member;
mod password;
mod revocation;
mod routes;
mod session;
mod store;
mod throttle;

use std::sync::Arc;

use account::NewAccount;
use axum::{Router, extract::FromRef, middleware::from_fn_with_state};
pub use error::IdentityError;
use password::Hasher;
use platform::{AuthState, Clock, Config, Keys, Shutdown, feed::Outbox, idempotency, idempotency::Idempotency, openapi, pg};
use protocol::{AccountId, Plan, Role, Territory, UnixMs, keys::TokenKeys, session::SessionSigner};
use session::Sessions;
use sqlx::PgPool;
use store::Store;
use throttle::Throttles;
use tokio::sync::watch;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

const CONNECTIONS_MAX: u32 = 8;

/// Everything the routes use.
#[derive(Clone)]
pub struct Identity {
    store: Store,
    hasher: Hasher,
    sessions: Sessions,
    throttles: Arc<Throttles>,
    auth: AuthState,
    signer: Arc<SessionSigner>,
    token_keys: TokenKeys,
    feed_growth: watch::Sender<()>,
    idempotency: Idempotency,
}

impl FromRef<Identity> for AuthState {
    fn from_ref(identity: &Identity) -> Self {
        identity.auth.clone()
    }
}

impl Identity {
    /// On a database, with the deployment's keys.
    ///
    /// # Errors
    /// When the password hasher refuses its parameters.
    pub fn new(pool: PgPool, keys: &Keys, clock: Clock) -> Result<Self, IdentityError> {
        let auth = AuthState { verifier: keys.session_verifier.clone(), clock };
        let store = Store::new(pool.clone());
        Ok(Self {
            hasher: Hasher::new()?,
            sessions: Sessions::new(store.clone(), keys.session_signer.clone()),
            throttles: Arc::default(),
            signer: keys.session_signer.clone(),
            token_keys: keys.token.clone(),
            feed_growth: watch::Sender::new(()),
            idempotency: Idempotency::new(pool, "identity", auth.clone()),
            store,
            auth,
        })
    }

    /// Turns the catalogue's take-downs into revocations until the stop.
    pub async fn follow_catalog(self, outbox: Outbox, shutdown: Shutdown) {
        jobs::follow_catalog(self, outbox, shutdown).await;
    }

    fn now(&self) -> UnixMs {
        self.auth.clock.now()
    }

    /// Wakes the readers of the feed.
    fn feed_grew(&self) {
        self.feed_growth.send_replace(());
    }

    fn feed_growth(&self) -> watch::Receiver<()> {
        self.feed_growth.subscribe()
    }
}

/// The routes and their description.
pub fn router(identity: Identity) -> (Router, OpenApi) {
    let kept = from_fn_with_state(identity.idempotency.clone(), idempotency::remember);
    routes().merge(once().route_layer(kept)).with_state(identity).split_for_parts()
}

/// The description alone.
#[must_use]
pub fn openapi() -> OpenApi {
    routes().merge(once()).into_openapi()
}

/// What a repeated `Idempotency-Key` answers as it did the first time.
fn once() -> OpenApiRouter<Identity> {
    OpenApiRouter::new().routes(routes!(routes::accounts::create)).routes(routes!(routes::members::invite))
}

fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::with_openapi(openapi::base("Antiphon identity", "Accounts, sessions, public keys, members of artists, and revocations."))
        .routes(routes!(routes::sessions::create, routes::sessions::end))
        .routes(routes!(routes::sessions::refresh))
        .routes(routes!(routes::keys::jwks))
        .routes(routes!(routes::memberships::list))
        .routes(routes!(routes::members::list))
        .routes(routes!(routes::members::put, routes::members::remove))
        .routes(routes!(routes::artists::list))
        .routes(routes!(routes::artists::accept, routes::artists::leave))
        .routes(routes!(routes::revocations::create, routes::revocations::list))
        .routes(routes!(routes::revocations::lift))
        .routes(routes!(routes::revocations::feed))
}

/// Serves identity until shutdown.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let pool = pg::pool(&config.role_database_url("identity")?, CONNECTIONS_MAX)?;
    let identity = Identity::new(pool.clone(), &config.keys()?, Clock::system())?;
    let sweeper = tokio::spawn(jobs::sweep(identity.store.clone(), identity.auth.clock.clone(), shutdown.clone()));
    let outbox = Outbox::at(&config.service_url("catalog")?)?;
    let follower = tokio::spawn(identity.clone().follow_catalog(outbox, shutdown.clone()));
    let ready = move || {
        let pool = pool.clone();
        async move { pg::missing(&pool).await.into_iter().collect() }
    };
    platform::serve(config.listen_addr("identity")?, "identity", router(identity), ready, shutdown).await?;
    sweeper.await?;
    follower.await?;
    Ok(())
}

/// Makes sure that an account exists and has this password, role and plan: how a deployment gets its first administrator, whom the public
/// API cannot make. An account that is already so is left as it is.
///
/// # Errors
/// When the account is not valid or the database does not answer.
#[expect(clippy::too_many_arguments, reason = "each is a different fact of the account")]
pub async fn ensure_account(
    pool: &PgPool,
    email: &str,
    password: &str,
    name: &str,
    role: Role,
    country: Territory,
    plan: Plan,
    now: UnixMs,
) -> Result<AccountId, IdentityError> {
    let account = NewAccount::trusted(email, password, name, role, country, plan)?;
    let (store, hasher) = (Store::new(pool.clone()), Hasher::new()?);
    if let Some(found) = store.find_by_email(&account.email_key).await? {
        let unchanged = hasher.verify(&account.password, Some(&found.password_phc)).await?;
        if !unchanged {
            store.set_password(found.account.id, &hasher.hash(&account.password).await?, now).await?;
        }
        store.set_standing(found.account.id, &account, now).await?;
        return Ok(found.account.id);
    }
    let phc = hasher.hash(&account.password).await?;
    Ok(store.create(&account, &phc, now).await?.id)
}
