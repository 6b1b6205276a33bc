//! The socket. Browsers and services come in here; what is S3 goes on to `s3s`, which checks the signature.
//!
//! ```text
//!  connection ─► CORS (answers OPTIONS) ─► /healthz, /readyz, /metrics
//!                                       └► no form posts ─► s3s: signature ─► access ─► objects
//! ```

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use platform::Shutdown;
use s3s::service::S3Service;
use tokio::{net::TcpListener, sync::Semaphore};
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 4096;
const HEADERS_TIMEOUT: Duration = Duration::from_secs(15);
/// How long uploads under way may go on after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(20);
/// How long a browser may remember a preflight answer.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(3600);

/// The whole store as a router.
pub(crate) fn router(service: S3Service, shutdown: Shutdown) -> Router {
    // The signature is the permission; the origin of the page that carries it is not.
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::PUT, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([header::ETAG, header::CONTENT_RANGE, header::ACCEPT_RANGES, HeaderName::from_static("x-amz-checksum-sha256")])
        .max_age(PREFLIGHT_MAX_AGE);
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(shutdown))
        .route("/metrics", get(|| async { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], platform::metrics::render()) }))
        .fallback(s3)
        .with_state(service)
        .layer(cors)
}

/// Ready as long as it is not stopping: an upload is taken while the queue is away, since its event waits on disk.
async fn ready(State(shutdown): State<Shutdown>) -> Response {
    let missing = if shutdown.is_requested() { vec!["draining"] } else { vec![] };
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(serde_json::json!({ "ready": missing.is_empty(), "missing": missing }))).into_response()
}

async fn s3(State(service): State<S3Service>, request: Request) -> Response {
    // `s3s` reads a form post into memory before it looks at who sent it.
    if request.method() == Method::POST && is_form(&request) {
        return (StatusCode::NOT_IMPLEMENTED, "form uploads are not offered; use a presigned PUT").into_response();
    }
    match service.call(request.map(s3s::Body::http_body_unsync)).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            tracing::error!(?error, "an S3 request failed without an answer");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn is_form(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.trim_start().to_ascii_lowercase().starts_with("multipart/")
}

/// Serves until a stop is asked for, then lets what is under way finish.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT);
    let (graceful, slots) = (GracefulShutdown::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = shutdown.requested() => break,
        };
        let Some((stream, slot)) = accepted else { continue };
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), service).into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended badly");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("uploads were still under way when the time to drain was over");
    }
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            let _ = stream.set_nodelay(true);
            Some((stream, slot))
        }
        Err(error) => {
            // Out of file descriptors, as a rule: trying again at once would only burn the processor.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}
