//! What the gateway counts, in a registry of its own, and the admin address that shows it: `/metrics` for Prometheus, and the two
//! health questions again, so that an orchestrator need not reach the public address.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::{apps::http_app::ServeHttp, protocols::http::ServerSession};
use prometheus::{Encoder as _, Gauge, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::{gateway::Gateway, health};

/// The gateway's instruments.
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGauge,
    shield: IntCounterVec,
    shield_memory_bytes: IntGauge,
    shield_disk_bytes: IntGauge,
    media_bytes: IntCounterVec,
    revocations: IntGauge,
    revocations_age_seconds: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let seconds = HistogramOpts::new("antiphon_gateway_request_seconds", "From the request's head to the answer's last byte.")
            .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]);
        let metrics = Self {
            registry: Registry::new(),
            requests: IntCounterVec::new(
                Opts::new("antiphon_gateway_requests_total", "Requests by route and status; status 0 is a client that left."),
                &["route", "status"],
            )?,
            seconds: HistogramVec::new(seconds, &["route"])?,
            in_flight: IntGauge::new("antiphon_gateway_requests_in_flight", "Requests being served.")?,
            shield: IntCounterVec::new(
                Opts::new(
                    "antiphon_gateway_shield_reads_total",
                    "Reads of the media shield by what became of them: memory, joined, disk, store, failed_lately, overloaded.",
                ),
                &["outcome"],
            )?,
            shield_memory_bytes: IntGauge::new("antiphon_gateway_shield_memory_bytes", "Media held in memory.")?,
            shield_disk_bytes: IntGauge::new("antiphon_gateway_shield_disk_bytes", "Media held on disk.")?,
            media_bytes: IntCounterVec::new(Opts::new("antiphon_gateway_answer_bytes_total", "Body bytes sent, by route."), &["route"])?,
            revocations: IntGauge::new("antiphon_gateway_revocations", "Revocations that playback is judged by.")?,
            revocations_age_seconds: Gauge::new(
                "antiphon_gateway_revocations_age_seconds",
                "Since identity last answered; since the start when it never has. Above 5, revocations are late.",
            )?,
        };
        let Self { registry, requests, seconds, in_flight, shield, shield_memory_bytes, shield_disk_bytes, media_bytes, .. } = &metrics;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(shield.clone()))?;
        registry.register(Box::new(shield_memory_bytes.clone()))?;
        registry.register(Box::new(shield_disk_bytes.clone()))?;
        registry.register(Box::new(media_bytes.clone()))?;
        registry.register(Box::new(metrics.revocations.clone()))?;
        registry.register(Box::new(metrics.revocations_age_seconds.clone()))?;
        Ok(metrics)
    }

    /// A request is done.
    pub(crate) fn request(&self, route: &str, status: u16, seconds: f64, bytes: u64) {
        self.requests.with_label_values(&[route, &status.to_string()]).inc();
        self.seconds.with_label_values(&[route]).observe(seconds);
        self.media_bytes.with_label_values(&[route]).inc_by(bytes);
    }

    /// A read of the shield.
    pub(crate) fn shield(&self, outcome: &str) {
        self.shield.with_label_values(&[outcome]).inc();
    }

    /// Counts a request as under way until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.inc();
        InFlight(self.clone())
    }

    /// Requests under way.
    pub(crate) fn in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    fn text(&self, gateway: &Gateway) -> Vec<u8> {
        let (held, revoked) = (gateway.shield.held(), gateway.revoked.standing(gateway.clock.now()));
        self.revocations.set(i64::try_from(revoked.entries).unwrap_or(i64::MAX));
        self.revocations_age_seconds.set(revoked.age_ms as f64 / 1000.0);
        self.shield_memory_bytes.set(i64::try_from(held.0).unwrap_or(i64::MAX));
        self.shield_disk_bytes.set(i64::try_from(held.1).unwrap_or(i64::MAX));
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }
}

/// One request under way.
pub(crate) struct InFlight(Arc<Metrics>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

/// The admin address.
pub(crate) struct Admin(pub(crate) Arc<Gateway>);

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> http::Response<Vec<u8>> {
        let (status, content_type, body) = match session.req_header().uri.path() {
            "/metrics" => (200, "text/plain; version=0.0.4", self.0.metrics.text(&self.0)),
            "/healthz" => (200, "application/json", health::alive().into()),
            "/readyz" => {
                let (status, body) = health::ready(&self.0);
                (status, "application/json", body.into())
            }
            _ => (404, "text/plain", b"/metrics, /healthz and /readyz are here\n".to_vec()),
        };
        let mut response = http::Response::new(body);
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        let length = http::HeaderValue::from(response.body().len());
        response.headers_mut().insert(http::header::CONTENT_LENGTH, length);
        response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
        response
    }
}
