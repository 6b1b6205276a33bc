//! Numbers of the process, in Prometheus' text form. Services register theirs here; `serve` answers `/metrics` from it.

use std::sync::LazyLock;

use prometheus::{Encoder as _, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

/// The process's registry.
pub static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

/// Requests answered, by method, route and status.
pub(crate) static REQUESTS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counters("antiphon_http_requests_total", "Requests answered.", &["role", "method", "route", "status"]));

/// How long requests took.
pub(crate) static LATENCY: LazyLock<Option<HistogramVec>> = LazyLock::new(|| {
    let buckets = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    let options = HistogramOpts::new("antiphon_http_request_seconds", "From the request's head to the answer's head.").buckets(buckets);
    HistogramVec::new(options, &["role", "method", "route"]).ok().and_then(|histogram| registered(&histogram))
});

/// A registered family of counters. Asking twice for one name gives two families of which the first is shown.
///
/// # Panics
/// Never: a name or label that Prometheus refuses falls back to a family that is not shown, and says so in the log.
#[must_use]
pub fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    match IntCounterVec::new(Opts::new(name, help), labels) {
        Ok(family) => registered(&family).unwrap_or(family),
        Err(error) => {
            tracing::error!(%error, name, "a metric has a name that cannot be shown");
            unshown()
        }
    }
}

/// A registered gauge.
#[must_use]
pub fn gauge(name: &str, help: &str) -> Option<IntGauge> {
    IntGauge::new(name, help).ok().and_then(|gauge| registered(&gauge))
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(collector: &C) -> Option<C> {
    match REGISTRY.register(Box::new(collector.clone())) {
        Ok(()) => Some(collector.clone()),
        Err(error) => {
            tracing::error!(%error, "a metric cannot be registered");
            None
        }
    }
}

#[expect(clippy::expect_used, reason = "a constant name that is valid")]
fn unshown() -> IntCounterVec {
    IntCounterVec::new(Opts::new("antiphon_unshown_total", "Not shown."), &[]).expect("a valid name")
}

/// All numbers as text.
#[must_use]
pub fn render() -> String {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&REGISTRY.gather(), &mut text) {
        tracing::error!(%error, "the metrics cannot be written");
    }
    String::from_utf8(text).unwrap_or_default()
}
