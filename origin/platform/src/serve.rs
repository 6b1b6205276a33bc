//! Serving a role over HTTP: what every service does with every request, and the addresses that every service has. A request passes, in
//! this order:
//!
//! ```text
//!  accept ─► request id, log span, metrics ─► /internal guard ─► time limit, panic fence ─► body limit ─► the role's routes
//! ```

use std::{
    net::SocketAddr,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures::FutureExt as _;
use tokio::net::TcpListener;
use tracing::Instrument as _;
use utoipa::openapi::OpenApi;

use crate::{Problem, Shutdown, metrics, problem::REQUEST_ID, random_bytes};

/// Most bytes of a body, unless a route sets its own [`DefaultBodyLimit`].
const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest time a handler may take. Long polls stay well below it.
const HANDLER_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest time that requests under way are given when the process is to stop.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

static REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Serves `routes` on `address` until shutdown, then finishes what is under way.
///
/// `ready` says what the role is missing; with nothing missing it is ready. Adds `/healthz`, `/readyz`, `/metrics`, `/openapi.json`.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve<F, Fut>(
    address: SocketAddr,
    role: &'static str,
    routes: (Router, OpenApi),
    ready: F,
    shutdown: Shutdown,
) -> anyhow::Result<()>
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Vec<String>> + Send,
{
    let listener = TcpListener::bind(address).await.with_context(|| format!("{role} cannot listen on {address}"))?;
    serve_on(listener, role, routes, ready, shutdown).await
}

/// [`serve`] on a listener that is already bound, which is how tests take a free port.
///
/// # Errors
/// When serving fails altogether.
pub async fn serve_on<F, Fut>(
    listener: TcpListener,
    role: &'static str,
    routes: (Router, OpenApi),
    ready: F,
    shutdown: Shutdown,
) -> anyhow::Result<()>
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Vec<String>> + Send,
{
    let address = listener.local_addr().context("a listener without an address")?;
    let app = app(role, routes, ready, shutdown.clone()).into_make_service_with_connect_info::<SocketAddr>();
    tracing::info!(role, %address, "listening");
    let draining = shutdown.clone();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move { draining.requested().await });
    let deadline = async {
        shutdown.requested().await;
        tokio::time::sleep(DRAIN_TIME_MAX).await;
    };
    tokio::select! {
        served = server.into_future() => served.context("the server failed")?,
        () = deadline => tracing::warn!(role, "requests were still under way when the time to finish them ran out"),
    }
    tracing::info!(role, "stopped");
    Ok(())
}

/// The role's routes with everything around them.
pub(crate) fn app<F, Fut>(role: &'static str, (router, api): (Router, OpenApi), ready: F, shutdown: Shutdown) -> Router
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Vec<String>> + Send,
{
    let document = axum::body::Bytes::from(api.to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "the OpenAPI document cannot be written");
        "{}".to_owned()
    }));
    let json = [(header::CONTENT_TYPE, "application/json")];
    router
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || readiness(ready.clone(), shutdown.clone())))
        .route("/metrics", get(|| async { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::render()) }))
        .route("/openapi.json", get(move || std::future::ready((json, document))))
        .fallback(|| async { Problem::not_found("not_found", "nothing has this address") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this address does not take this method")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(limit_time_and_panics))
        .layer(from_fn(guard_internal))
        .layer(from_fn_with_state(role, observe))
}

/// 200 when nothing is missing, otherwise 503 and a list of what is.
async fn readiness<F, Fut>(ready: F, shutdown: Shutdown) -> Response
where
    F: Fn() -> Fut,
    Fut: Future<Output = Vec<String>>,
{
    let missing = if shutdown.is_requested() { vec!["draining".to_owned()] } else { ready().await };
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(serde_json::json!({ "ready": missing.is_empty(), "missing": missing }))).into_response()
}

/// Names the request, times it, counts it, and says so in the log when it failed.
async fn observe(State(role): State<&'static str>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", request_id = %id, %method, %route);
    let started = Instant::now();
    let mut response = REQUEST_ID.scope(id.clone(), next.run(request)).instrument(span.clone()).await;
    let took = started.elapsed();

    let status = response.status();
    metrics::REQUESTS.with_label_values(&[role, method.as_str(), &route, status.as_str()]).inc();
    if let Some(latency) = metrics::LATENCY.as_ref() {
        latency.with_label_values(&[role, method.as_str(), &route]).observe(took.as_secs_f64());
    }
    span.in_scope(|| {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // That a part is not ready yet is for whoever asks, not for the log.
        if status.is_server_error() && route != "/readyz" {
            tracing::warn!(status = status.as_u16(), took_us, "answered");
        } else {
            tracing::debug!(status = status.as_u16(), took_us, "answered");
        }
    });
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID_HEADER.clone(), value);
    }
    response
}

/// `/internal/` is for our own processes, which call over loopback; to anyone else it does not exist.
async fn guard_internal(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    if request.uri().path().starts_with("/internal/") && !peer.is_some_and(|peer| peer.is_loopback()) {
        return Problem::not_found("not_found", "nothing has this address").into_response();
    }
    next.run(request).await
}

async fn limit_time_and_panics(request: Request, next: Next) -> Response {
    match tokio::time::timeout(HANDLER_TIME_MAX, AssertUnwindSafe(next.run(request)).catch_unwind()).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!("a handler panicked");
            Problem::internal().into_response()
        }
        Err(_) => Problem::unavailable(5).into_response(),
    }
}

/// The id that a hop before us gave the request, when it is a plain one, otherwise a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(&REQUEST_ID_HEADER).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    given.filter(plain).map_or_else(|| hex::encode(random_bytes::<16>()), str::to_owned)
}
