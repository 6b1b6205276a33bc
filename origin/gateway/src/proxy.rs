//! A request's way through Pingora, phase by phase, in the order it meets them. Each phase is short and calls a named rule from another
//! file; what a rule returns decides whether the next phase comes.
//!
//! ```text
//!  request_filter ── framing ─ target ─ preflight ─ route ─ rate ─ size ─ signature ──► answered here, or:
//!  upstream_peer ──► (fail_to_connect ──► again, or 503) ──► upstream_request_filter ──► request_body_filter ──►
//!  response_filter ──► logging          any error ──► fail_to_proxy ──► logging
//! ```

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Method, header};
use pingora::{
    Error, ErrorSource, ErrorType,
    http::{RequestHeader, ResponseHeader},
    proxy::{FailToProxy, ProxyHttp, Session},
    upstreams::peer::HttpPeer,
};
use protocol::{Problem, UnixMs};

use crate::{
    answer::{Answer, header_text},
    docs, framing,
    framing::TargetError,
    gateway::Gateway,
    headers, health, internal, manifest, media,
    metrics::InFlight,
    play_event,
    rates::NO_ADDRESS,
    revoked,
    routes::{self, BodyLimit, NoRoute, Own, Route, Service, Target},
};

/// The proxy: Pingora calls it, the gateway knows the rest.
pub(crate) struct Proxy(pub(crate) Arc<Gateway>);

/// What one request carries from phase to phase.
pub(crate) struct Ctx {
    request_id: String,
    client: IpAddr,
    /// Not one of the edge's own paths.
    public: bool,
    route: &'static str,
    upstream: Option<Service>,
    connect_attempts: u32,
    body_bytes: u64,
    body_bytes_max: u64,
    begun_at: UnixMs,
    _in_flight: InFlight,
}

/// What the request phase decides.
enum Step {
    Forward(Service),
    Answer(Answer),
}

/// A client whose refused body is still on its way gets this long to send the rest, so that it can read the refusal.
const DRAIN_REFUSED_BODY: Duration = Duration::from_secs(2);

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx {
            request_id: String::new(),
            client: NO_ADDRESS,
            public: true,
            route: "none",
            upstream: None,
            connect_attempts: 0,
            body_bytes: 0,
            body_bytes_max: 0,
            begun_at: self.0.clock.now(),
            _in_flight: self.0.metrics.begin(),
        }
    }

    // 1. The head is read. Decide: forward, or answer here.
    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> pingora::Result<bool> {
        self.identify(session, ctx);
        let answer = match self.receive(session, ctx).await {
            Ok(Step::Forward(service)) => {
                ctx.upstream = Some(service);
                return Ok(false);
            }
            Ok(Step::Answer(answer)) => answer,
            Err(problem) => Answer::problem(&problem, &ctx.request_id),
        };
        answer.send(session, &ctx.request_id, ctx.public).await?;
        Ok(true)
    }

    // 2. Where to connect. Called again after a failed connect that may be retried.
    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Ctx) -> pingora::Result<Box<HttpPeer>> {
        // A service that restarts is back in a moment: 50, 100, 200 ms between attempts.
        if ctx.connect_attempts > 0 {
            tokio::time::sleep(Duration::from_millis(25 << ctx.connect_attempts.min(4))).await;
        }
        ctx.connect_attempts += 1;
        match ctx.upstream {
            Some(service) => self.0.services.peer(service).await,
            None => Err(Error::new_in(ErrorType::InternalError)),
        }
    }

    // 2a. No connection: nothing was sent, so any method may try again.
    fn fail_to_connect(&self, _session: &mut Session, _peer: &HttpPeer, ctx: &mut Ctx, mut error: Box<Error>) -> Box<Error> {
        error.set_retry(ctx.connect_attempts < self.0.conf.upstream.connect_attempts);
        error
    }

    // 3. What the service sees of the head.
    async fn upstream_request_filter(&self, _session: &mut Session, request: &mut RequestHeader, ctx: &mut Ctx) -> pingora::Result<()> {
        headers::prepare_upstream(request, &ctx.client.to_string(), &ctx.request_id)
    }

    // 4. Each piece of a forwarded body. Its declared length was judged in phase 1; a chunked one is counted here.
    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        ctx: &mut Ctx,
    ) -> pingora::Result<()> {
        ctx.body_bytes += body.as_ref().map_or(0, |piece| piece.len() as u64);
        if ctx.body_bytes > ctx.body_bytes_max {
            return Err(Error::new_down(ErrorType::HTTPStatus(413)));
        }
        Ok(())
    }

    // 5. What the client sees of the service's answer.
    async fn response_filter(&self, session: &mut Session, response: &mut ResponseHeader, ctx: &mut Ctx) -> pingora::Result<()> {
        self.close_when_draining(session);
        headers::finish_response(response, &ctx.request_id, ctx.public)
    }

    // 6. Something broke. Answer if nothing has been answered yet.
    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Ctx) -> FailToProxy {
        let problem = if session.response_written().is_some() { None } else { self.explain(error, ctx) };
        let code = problem.as_ref().map_or(0, |problem| problem.status);
        if let Some(problem) = problem {
            session.set_keepalive(None);
            if let Err(error) = Answer::problem(&problem, &ctx.request_id).send(session, &ctx.request_id, ctx.public).await {
                tracing::debug!(%error, request_id = ctx.request_id, "the client left before the refusal");
            }
        }
        FailToProxy { error_code: code, can_reuse_downstream: false }
    }

    // 7. The request is over, whatever became of it.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
        let status = session.response_written().map_or(0, |response| response.status.as_u16());
        let ms = self.0.clock.now().since(ctx.begun_at);
        self.0.metrics.request(ctx.route, status, ms as f64 / 1000.0, session.body_bytes_sent() as u64);
        let request = session.req_header();
        let (method, path) = (request.method.as_str(), logged_path(request.uri.path()));
        match error {
            Some(error) => {
                tracing::warn!(request_id = ctx.request_id, method, path, status, ms, client = %ctx.client, %error, "request failed")
            }
            None if status >= 500 => tracing::warn!(request_id = ctx.request_id, method, path, status, ms, client = %ctx.client, "request"),
            None => tracing::debug!(request_id = ctx.request_id, method, path, status, ms, client = %ctx.client, "request"),
        }
    }

    // `logging` tells it with our fields.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Ctx, _error: &Error) -> bool {
        true
    }

    // A media address is a secret of its listener: no log line of Pingora's may hold it.
    fn request_summary(&self, session: &Session, ctx: &Ctx) -> String {
        format!("{} {} ({})", session.req_header().method, logged_path(session.req_header().uri.path()), ctx.request_id)
    }
}

impl Proxy {
    /// Who asks, and under which name it is logged.
    fn identify(&self, session: &mut Session, ctx: &mut Ctx) {
        let request = session.req_header();
        ctx.request_id = headers::kept_request_id(request.headers.get(headers::REQUEST_ID)).unwrap_or_else(|| new_request_id(ctx.begun_at));
        let peer = session.client_addr().and_then(|address| address.as_inet()).map_or(NO_ADDRESS, std::net::SocketAddr::ip);
        ctx.client = self.0.rates.client(peer, header_text(request, "x-forwarded-for"));
        let idle = Some(Duration::from_millis(self.0.conf.limits.idle_ms_max));
        session.set_read_timeout(idle);
        session.set_write_timeout(idle);
        session.set_total_drain_timeout(Some(DRAIN_REFUSED_BODY));
        self.close_when_draining(session);
    }

    /// The rules for a request, in order; the first refusal ends it.
    async fn receive(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Step, Problem> {
        self.check_framing(session)?;
        let limits = &self.0.conf.limits;
        let target = session.req_header().raw_path().to_vec();
        let (path, query) = framing::canonical_target(&target, limits.target_bytes_max).map_err(refuse_target)?;
        ctx.public = !routes::is_internal(path);
        let method = session.req_header().method.clone();
        if method == Method::OPTIONS && ctx.public {
            return Ok(Step::Answer(preflight()));
        }
        let route = routes::find(&method, path);
        ctx.route = route.as_ref().map_or("none", |route| route.target.name());
        // The edge asks for many listeners at once and is known by its signature, which is all that a GET of its needs checked.
        let by_signature = !ctx.public && method == Method::GET;
        if !by_signature && !self.0.rates.admit(ctx.client, route.as_ref().is_ok_and(|route| route.credentials)) {
            return Err(Problem {
                retry_after_s: Some(1),
                ..Problem::new(429, "too_many_requests", "too many requests from this address")
            });
        }
        let route = match route {
            Ok(route) => route,
            // An outsider learns nothing about internal paths, not even which there are.
            Err(_) if !ctx.public => {
                internal::verify(&self.0, session.req_header(), b"")?;
                return Err(not_found());
            }
            Err(NoRoute::NotFound) => return Err(not_found()),
            Err(NoRoute::MethodNotAllowed(allow)) => {
                let problem = Problem::new(405, "method_not_allowed", format!("{path} takes {allow}"));
                return Ok(Step::Answer(Answer::problem(&problem, &ctx.request_id).header("allow", &allow)));
            }
        };
        ctx.body_bytes_max = self.body_bytes_max(route.body);
        check_length(session.req_header(), ctx.body_bytes_max)?;
        self.dispatch(session, ctx, route, path, query).await
    }

    async fn dispatch(&self, session: &mut Session, ctx: &Ctx, route: &Route, path: &str, query: Option<&str>) -> Result<Step, Problem> {
        let gateway = &*self.0;
        // A signature covers the body, so a body that will be judged is read before the signature is.
        let body = match route.target {
            Target::Here(Own::InternalBatch | Own::PlayEvent) => read_body(session, ctx.body_bytes_max).await?,
            _ => Bytes::new(),
        };
        let request = session.req_header();
        if !ctx.public {
            internal::verify(gateway, request, &body)?;
        }
        let answer = match route.target {
            Target::To(service) => return Ok(Step::Forward(service)),
            Target::Here(Own::Healthz) => Answer::whole(200, "application/json", health::alive()).header("cache-control", "no-store"),
            Target::Here(Own::Readyz) => {
                let (status, text) = health::ready(gateway);
                Answer::whole(status, "application/json", text).header("cache-control", "no-store")
            }
            Target::Here(Own::OpenApi) => {
                Answer::whole(200, "application/json", gateway.openapi.clone()).header("cache-control", "no-cache")
            }
            Target::Here(Own::Docs) => docs::page(),
            Target::Here(Own::Media) => media::answer(gateway, request, path).await?,
            Target::Here(Own::Manifest) => manifest::answer(gateway, request, path, query).await?,
            Target::Here(Own::PlayEvent) => {
                play_event::answer(gateway, header_text(request, "content-type"), query, &body, &ctx.request_id).await?
            }
            Target::Here(Own::InternalSheet) => internal::sheet(gateway, path).await?,
            Target::Here(Own::InternalMedia) => internal::range(gateway, path).await?,
            Target::Here(Own::InternalBatch) => internal::batch(gateway, body, &ctx.request_id).await?,
            Target::Here(Own::InternalRevocations) => revoked::feed(gateway, query)?,
        };
        Ok(Step::Answer(answer))
    }

    /// Framing, on the bytes as they came. HTTP/2 frames its messages itself, so there it is only about size, which Pingora bounds.
    fn check_framing(&self, session: &mut Session) -> Result<(), Problem> {
        let Some(raw) = session.as_http1().map(|session| session.get_headers_raw_bytes()) else { return Ok(()) };
        if raw.len() > self.0.conf.limits.head_bytes_max {
            session.set_keepalive(None);
            return Err(Problem::new(
                431,
                "head_too_large",
                format!("the head is longer than {} bytes", self.0.conf.limits.head_bytes_max),
            ));
        }
        framing::check_http1_head(&raw).map_err(|error| {
            // After a head that can be read in two ways, no one knows where the next request begins.
            session.set_keepalive(None);
            Problem::new(400, "ambiguous_framing", error.to_string())
        })
    }

    fn body_bytes_max(&self, limit: BodyLimit) -> u64 {
        let limits = &self.0.conf.limits;
        match limit {
            BodyLimit::Json => limits.json_bytes_max,
            BodyLimit::PlayEvent => limits.play_event_bytes_max,
            BodyLimit::Batch => limits.batch_bytes_max,
        }
    }

    /// A stop has begun: this answer is the connection's last.
    fn close_when_draining(&self, session: &mut Session) {
        if self.0.draining.load(std::sync::atomic::Ordering::Acquire) {
            session.set_keepalive(None);
        }
    }

    /// What a client can do about an error; `None` when it is gone.
    fn explain(&self, error: &Error, ctx: &Ctx) -> Option<Problem> {
        let service = ctx.upstream.map_or("a service", Service::name);
        match (error.etype(), error.esource()) {
            (ErrorType::HTTPStatus(413), _) => Some(too_large(ctx.body_bytes_max)),
            (ErrorType::ReadTimedout | ErrorType::WriteTimedout, ErrorSource::Upstream) => Some(Problem {
                retry_after_s: Some(self.0.conf.upstream.retry_after_s),
                ..Problem::new(504, "upstream_timeout", format!("{service} did not answer in time"))
            }),
            (_, ErrorSource::Upstream) => {
                Some(Problem::unavailable("upstream_unavailable", format!("{service} does not answer"), self.0.conf.upstream.retry_after_s))
            }
            (ErrorType::ReadTimedout, ErrorSource::Downstream) => {
                Some(Problem::new(408, "request_timeout", "the request did not arrive in time"))
            }
            (
                ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed | ErrorType::WriteTimedout,
                ErrorSource::Downstream,
            ) => None,
            (_, ErrorSource::Downstream) => Some(Problem::new(400, "malformed_request", "the request cannot be read")),
            (_, ErrorSource::Internal | ErrorSource::Unset) => Some(Problem::new(500, "internal", "something went wrong here")),
        }
    }
}

fn preflight() -> Answer {
    headers::PREFLIGHT.into_iter().fold(Answer::empty(204), |answer, (name, value)| answer.header(name, value))
}

fn refuse_target(error: TargetError) -> Problem {
    match error {
        TargetError::TooLong(_) => Problem::new(414, "target_too_long", error.to_string()),
        TargetError::NotCanonical => Problem::new(400, "target_not_canonical", error.to_string()),
    }
}

fn not_found() -> Problem {
    Problem::new(404, "not_found", "there is nothing at this address")
}

fn too_large(bytes_max: u64) -> Problem {
    Problem::new(413, "body_too_large", format!("the body is longer than {bytes_max} bytes"))
}

fn check_length(request: &RequestHeader, bytes_max: u64) -> Result<(), Problem> {
    let declared = header_text(request, header::CONTENT_LENGTH.as_str()).and_then(|text| text.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > bytes_max) { Err(too_large(bytes_max)) } else { Ok(()) }
}

/// A whole, bounded body.
async fn read_body(session: &mut Session, bytes_max: u64) -> Result<Bytes, Problem> {
    let incomplete =
        |error: Box<Error>| Problem::new(400, "body_incomplete", format!("the body did not arrive: {}", error.etype().as_str()));
    if header_text(session.req_header(), "expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue")) {
        session.write_continue_response().await.map_err(incomplete)?;
    }
    let mut body = BytesMut::new();
    while let Some(piece) = session.read_request_body().await.map_err(incomplete)? {
        if (body.len() + piece.len()) as u64 > bytes_max {
            return Err(too_large(bytes_max));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// A path as a log may hold it: media tokens are left out.
fn logged_path(path: &str) -> &str {
    let token_at = protocol::media_path::PREFIX.len();
    if path.starts_with(protocol::media_path::PREFIX) {
        path.get(token_at..).and_then(|rest| rest.split_once('/')).map_or(protocol::media_path::PREFIX, |(_, object)| object)
    } else {
        path
    }
}

fn new_request_id(now: UnixMs) -> String {
    let [a, b, c, d, e, f, g, h, i, j] = platform::random_bytes();
    let ms = u64::try_from(now.0).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(ms, &[a, b, c, d, e, f, g, h, i, j]).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_log_line_holds_a_media_token() {
        assert_eq!(logged_path("/v1/media/SECRET/aac-128/3.m4s"), "aac-128/3.m4s");
        assert_eq!(logged_path("/v1/media/SECRET"), "/v1/media/");
        assert_eq!(logged_path("/v1/search"), "/v1/search");
    }

    #[test]
    fn a_declared_length_is_judged_before_the_body_is_read() {
        let mut request = RequestHeader::build("POST", b"/", None).unwrap();
        assert!(check_length(&request, 10).is_ok());
        request.insert_header("content-length", "11").unwrap();
        assert_eq!(check_length(&request, 10).unwrap_err().code, "body_too_large");
    }
}
