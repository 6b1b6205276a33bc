//! What to hear next. First cut: what many validly listened to lately, and around a track what shares its artist or genre. Only listens
//! that the royalty rule held valid are counted, so a play bought from a script moves nothing.
//!
//! ```text
//!  catalogue ─outbox─► tracks ──┐
//!                               ├──► Shelf (in memory) ──► /v1/me/recommendations, /v1/tracks/{id}/similar
//!  royalty ─popularity─► ranks ─┘
//! ```
//! Everything here is derived and small, so it lives in memory and is replayed at start; an answer needs no database, and the
//! service never fails a page: with nothing known it says so.

mod follow;
mod routes;
pub mod shelf;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use axum::{Router, extract::FromRef};
use platform::{AuthState, Clock, Config, Shutdown, feed::Outbox};
use protocol::Territory;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::shelf::{Audience, Shelf};

/// Which model answered: the header `Antiphon-Model`.
pub const MODEL: &str = "popularity-1";

/// What the routes use.
#[derive(Clone)]
pub struct Recommend {
    auth: AuthState,
    shelf: Arc<RwLock<Shelf>>,
}

impl Recommend {
    /// With nothing known yet.
    #[must_use]
    pub fn new(auth: AuthState) -> Self {
        Self { auth, shelf: Arc::default() }
    }

    fn shelf(&self) -> RwLockReadGuard<'_, Shelf> {
        self.shelf.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn audience(&self, country: Option<Territory>) -> Audience {
        Audience { now: self.auth.clock.now(), country }
    }

    fn change(&self, change: impl FnOnce(&mut Shelf)) {
        let mut shelf = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut shelf);
        shelf.arrange();
    }
}

impl FromRef<Recommend> for AuthState {
    fn from_ref(recommend: &Recommend) -> Self {
        recommend.auth.clone()
    }
}

fn api_router() -> OpenApiRouter<Recommend> {
    OpenApiRouter::with_openapi(platform::openapi::base("Antiphon recommendations", "What to hear next."))
        .routes(routes!(routes::recommendations::list))
        .routes(routes!(routes::similar::list))
}

/// The routes and their description.
pub fn router(recommend: Recommend) -> (Router, OpenApi) {
    api_router().with_state(recommend).split_for_parts()
}

/// The description alone.
#[must_use]
pub fn openapi() -> OpenApi {
    api_router().into_openapi()
}

/// Serves recommendations on `listen.recommend` until the stop.
///
/// # Errors
/// When the configuration or the address cannot be used.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let auth = AuthState { verifier: config.keys()?.session_verifier, clock: Clock::system() };
    let recommend = Recommend::new(auth);
    let tracks = tokio::spawn(follow::tracks(recommend.clone(), Outbox::at(&config.service_url("catalog")?)?, shutdown.clone()));
    let ranks = tokio::spawn(follow::popularity(recommend.clone(), config.service_url("royalty")?, shutdown.clone()));
    // An empty shelf answers honestly, so there is nothing to wait for.
    let ready = || async { Vec::new() };
    platform::serve(config.listen_addr("recommend")?, "recommend", router(recommend), ready, shutdown).await?;
    tracks.await?;
    ranks.await?;
    Ok(())
}
