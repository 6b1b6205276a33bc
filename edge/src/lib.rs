//! The edge Worker: it answers listeners from the data centre next to them.
//!
//! A request comes from a player or a browser; its answer comes from what is signed into a token, from the colo's cache, from a
//! durable object, or, when nothing nearer knows, from the gateway. No business rule is decided here: `protocol` decides, and the
//! gateway runs the same code on the second path.
//!
//! ```text
//!                    route
//!   /v1/tracks/{id}/manifest ──► manifest ──► revoked, card + sheet (cache, else gateway) ──► protocol::manifest::decide
//!   a segment that is at hand ─► at_hand ───► token, revoked ──► cache, streamed through
//!   /v1/media/{token}/...    ──► media ─────► token, revoked ──► cache, else gateway's shield, streamed through
//!   /v1/me/play-event        ──► play_event ► HeartbeatBuffer (durable object) ──► batches ──► gateway ──► royalty
//!   /internal/buffers/...    ──► held ──────► what the buffers hold, for operators (signed)
//!   everything else in /v1   ──► proxy ─────► gateway
//!   pages                    ──► the platform's static assets (never reach this code, unless there is no such page)
//! ```
//!
//! # Build
//! From the repository's root, with the pinned tools (none is looked up on `PATH`, so each is named):
//! ```text
//! npm ci --prefix edge
//! WASM_BINDGEN_BIN=.../wasm-bindgen WASM_OPT_BIN=edge/node_modules/.bin/wasm-opt ESBUILD_BIN=edge/node_modules/.bin/esbuild \
//!     RUSTC_BOOTSTRAP=1 worker-build --profile wasm edge
//! ```
//! `--profile wasm` is `[profile.wasm]` of the workspace: small first. `edge/.cargo/config.toml` says why panics unwind. The bundle is
//! `edge/build/index.js` with `index_bg.wasm` beside it. `edge/serve.mjs` serves it on this machine; `wrangler dev` and `wrangler deploy` read
//! the same `wrangler.toml`.

mod answer;
mod asked;
mod at_hand;
mod buffer;
mod cache;
mod cards;
mod counters;
mod evidence;
mod held;
mod log;
mod manifest;
mod media;
mod origin;
mod platform;
mod play_event;
mod prefetch;
mod promise;
mod proxy;
mod remembered;
mod revoked;
mod route;
mod sessions;
mod settings;
mod sheets;

use std::{
    cell::Cell,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use answer::Answer;
use asked::{Asked, METHODS};
use futures::FutureExt as _;
use protocol::{Problem, UnixMs};
use route::Route;
use settings::Settings;
use wasm_bindgen::{JsCast as _, JsValue, closure::Closure, prelude::wasm_bindgen};
use worker::{Context, Env, Method, web_sys, worker_sys};

/// What every handler may use besides its request. What goes on behind an answer holds it too.
pub(crate) struct Edge {
    pub(crate) settings: Rc<Settings>,
    pub(crate) env: Env,
    context: Context,
    /// The instant the request arrived.
    pub(crate) now: UnixMs,
    pub(crate) request_id: String,
    /// The host that was asked, `host[:port]`.
    pub(crate) host: Rc<str>,
}

impl Edge {
    /// Goes on with `work` behind the answer.
    pub(crate) fn later(&self, work: impl Future<Output = ()> + 'static) {
        self.context.wait_until(work);
    }

    /// Counts one `outcome` of `what`.
    pub(crate) fn count(&self, what: &'static str, outcome: &'static str) {
        let now = now();
        counters::count(&self.env, what, outcome, now, now.since(self.now));
    }
}

/// Answers a request: a response, or a promise of one. (`worker`'s own entry makes a promise and a task for every request.)
#[wasm_bindgen]
pub fn fetch(request: web_sys::Request, env: Env, context: worker_sys::Context) -> JsValue {
    let (arrived, asked) = (now(), Asked::of(request));
    // A panic there is left to whoever answers it at length.
    let at_hand = catch_unwind(AssertUnwindSafe(|| at_hand::answer(&asked, &env, &context, arrived)));
    match at_hand {
        Ok(Some(promise)) => promise.into(),
        Ok(None) | Err(_) => at_length(asked, env, context, arrived),
    }
}

/// A request that is answered at length.
fn at_length(asked: Asked, env: Env, context: worker_sys::Context, arrived: UnixMs) -> JsValue {
    promise::of(respond(asked, env, Context::new(context), arrived))
}

thread_local! {
    /// [`at_length`] for JavaScript, of a request that is not at hand after all.
    static AT_LENGTH: Closure<dyn Fn(web_sys::Request, JsValue, JsValue) -> JsValue> =
        Closure::new(|request, env: JsValue, context: JsValue| at_length(Asked::of(request), env.unchecked_into(), context.unchecked_into(), now()));
}

async fn respond(asked: Asked, env: Env, context: Context, arrived: UnixMs) -> Result<JsValue, JsValue> {
    let request_id = request_id(&asked);
    let route = route::of(asked.path());
    // A panic unwinds to here and no further (`edge/.cargo/config.toml`): the request it came from fails, and no other one.
    let served = AssertUnwindSafe(serve(&asked, route, &env, context, arrived, &request_id)).catch_unwind().await;
    let answer =
        served.unwrap_or_else(|_| Err(Problem::new(500, "internal", "something failed at the edge; the request id finds it in the logs")));
    let answer = answer.unwrap_or_else(|problem| Answer::problem(&problem, &request_id));
    let (ended, status) = (now(), answer.status());
    counters::count(&env, route.name(), answer.outcome, ended, ended.since(arrived));
    if status >= 500 {
        let fields = serde_json::json!({
            "request_id": request_id, "route": route.name(), "status": status, "code": answer.outcome, "ms": ended.since(arrived),
        });
        log::warn("request_failed", fields);
    }
    answer.with(answer::REQUEST_ID, &request_id).respond(asked.is_head()).map(JsValue::from)
}

async fn serve(asked: &Asked, route: Route<'_>, env: &Env, context: Context, now: UnixMs, request_id: &str) -> Result<Answer, Problem> {
    let Some(method) = &asked.method else { return Err(answer::only(&METHODS.join(", "))) };
    if *method == Method::Options && !matches!(route, Route::Internal | Route::Buffers(_)) {
        return Ok(Answer::preflight());
    }
    match route {
        Route::Internal | Route::Unknown => return Err(Problem::new(404, "not_found", "there is nothing at this address")),
        Route::Health => return Ok(Answer::json(200, "{\"status\":\"alive\"}".to_owned())),
        Route::Manifest(_) | Route::Media | Route::PlayEvent | Route::Ready | Route::Buffers(_) | Route::Origin => {}
    }
    let settings = Settings::of(env)?;
    let edge = Rc::new(Edge { settings, env: env.clone(), context, now, request_id: request_id.to_owned(), host: asked.host().into() });
    match route {
        Route::Manifest(track) => manifest::answer(&edge, asked, track).await,
        Route::Media => media::answer(&edge, asked).await,
        Route::PlayEvent => play_event::answer(&edge, asked).await,
        Route::Buffers(range) => held::answer(&edge, asked, range).await,
        Route::Ready => Ok(readiness(&edge).await),
        _ => proxy::answer(&edge, asked).await,
    }
}

/// `/readyz`: the edge serves what is cached even without its gateway, so a gateway that is away is said and is no reason to be unready.
async fn readiness(edge: &Edge) -> Answer {
    let gateway = if origin::answers(&edge.settings).await { "reachable" } else { "unreachable" };
    Answer::json(200, serde_json::json!({ "status": "ready", "gateway": gateway }).to_string())
}

thread_local! {
    /// Names this isolate in the request ids it gives out, and how many it gave.
    static REQUESTS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// The caller's request id when a log can hold it, else a new one: a random name of this isolate and a number, since random bytes for each
/// request cost more than all of the rest of it.
pub(crate) fn request_id(asked: &Asked) -> String {
    let loggable = |id: &String| (8..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    asked.header(answer::REQUEST_ID).filter(loggable).unwrap_or_else(|| {
        let (isolate, given) = REQUESTS.get();
        let isolate = if isolate == 0 { u64::from_le_bytes(random().unwrap_or_default()) | 1 } else { isolate };
        REQUESTS.set((isolate, given + 1));
        format!("{isolate:016x}-{given:x}")
    })
}

/// The platform's clock.
pub(crate) fn now() -> UnixMs {
    UnixMs(worker::js_sys::Date::now() as i64)
}

/// The platform's random source. Without one nothing can be minted, which is an error of its own.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| answer::fault("the random source", &error))?;
    Ok(bytes)
}
