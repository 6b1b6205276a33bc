//! The edge Worker: it answers listeners from the data centre next to them.
//!
//! A request comes from a player or a browser; its answer comes from what is signed into a token, from the colo's cache, from a
//! durable object, or, when nothing nearer knows, from the gateway. No business rule is decided here: `protocol` decides, and the
//! gateway runs the same code on the second path.
//!
//! ```text
//!                    route
//!   /v1/tracks/{id}/manifest ──► manifest ──► card + sheet (cache, else gateway) ──► protocol::manifest::decide
//!   /v1/media/{token}/...    ──► media ─────► token ──► cache, else gateway's shield, streamed through
//!   /v1/me/play-event        ──► play_event ► HeartbeatBuffer (durable object) ──► batches ──► gateway ──► royalty
//!   everything else in /v1   ──► proxy ─────► gateway
//!   pages                    ──► the platform's static assets (never reach this code, unless there is no such page)
//! ```
//!
//! # Build
//! From the repository's root, with the pinned tools (none is looked up on `PATH`, so each is named):
//! ```text
//! npm ci --prefix edge
//! WASM_BINDGEN_BIN=.../wasm-bindgen WASM_OPT_BIN=edge/node_modules/.bin/wasm-opt ESBUILD_BIN=edge/node_modules/.bin/esbuild \
//!     worker-build --profile wasm edge
//! ```
//! `--profile wasm` is `[profile.wasm]` of the workspace: small first. The bundle is `edge/build/index.js` with `index_bg.wasm` beside
//! it. `edge/serve.mjs` serves it on this machine; `wrangler dev` and `wrangler deploy` read the same `wrangler.toml`.

mod answer;
mod buffer;
mod cache;
mod evidence;
mod manifest;
mod media;
mod origin;
mod play_event;
mod proxy;
mod route;
mod settings;

use std::rc::Rc;

use protocol::{Problem, UnixMs};
use route::Route;
use settings::Settings;
use worker::{Context, Env, Method, Request, Response, event};

/// What every handler may use besides its request.
pub(crate) struct Edge<'a> {
    pub(crate) settings: Rc<Settings>,
    pub(crate) env: &'a Env,
    pub(crate) context: &'a Context,
    /// The instant the request arrived.
    pub(crate) now: UnixMs,
    pub(crate) request_id: &'a str,
}

/// Methods that any address here may answer.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> worker::Result<Response> {
    let request_id = answer::request_id(request.headers());
    let head = request.method() == Method::Head;
    let answer = match serve(request, &env, &context, &request_id).await {
        Ok(answer) => answer,
        Err(problem) => answer::problem(&problem, &request_id),
    };
    Ok(answer::finish(answer, &request_id, head))
}

async fn serve(request: Request, env: &Env, context: &Context, request_id: &str) -> Result<Response, Problem> {
    // The crate's `Method` takes every method it does not know for GET, so the platform's own word is judged first.
    if !METHODS.contains(&request.inner().method().as_str()) {
        return Err(answer::only(&METHODS.join(", ")));
    }
    let path = request.path();
    let route = route::of(&path);
    if request.method() == Method::Options && route != Route::Internal {
        return Ok(answer::preflight());
    }
    match route {
        Route::Internal | Route::Unknown => return Err(Problem::new(404, "not_found", "there is nothing at this address")),
        Route::Health => return Ok(answer::json(200, "{\"status\":\"alive\"}".to_owned())),
        Route::Manifest(_) | Route::Media | Route::PlayEvent | Route::Ready | Route::Origin => {}
    }
    let settings = Settings::of(env)?;
    let edge = Edge { settings, env, context, now: now(), request_id };
    match route {
        Route::Manifest(track) => manifest::answer(&edge, &request, track).await,
        Route::Media => media::answer(&edge, &request, &path).await,
        Route::PlayEvent => play_event::answer(&edge, request).await,
        Route::Ready => Ok(origin::readiness(&edge.settings).await),
        _ => proxy::answer(&edge, &request).await,
    }
}

/// The platform's clock.
pub(crate) fn now() -> UnixMs {
    UnixMs(i64::try_from(worker::Date::now().as_millis()).unwrap_or(i64::MAX))
}

/// The platform's random source. Without one nothing can be minted, which is an error of its own.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| answer::fault("the random source", &error))?;
    Ok(bytes)
}
