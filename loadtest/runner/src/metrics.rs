//! Samples in, statistics out. VUs send samples in bundles; each metric keeps one sink for all of them and one for every tag selector
//! that a threshold names, as k6 does.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Tags of a sample, by name.
pub(crate) type Tags = BTreeMap<String, String>;

/// What a metric's samples mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A sum.
    Counter,
    /// The last value.
    Gauge,
    /// The share of samples that are not zero.
    Rate,
    /// A distribution.
    Trend,
}

impl Kind {
    /// Its name in the summary.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Rate => "rate",
            Self::Trend => "trend",
        }
    }

    /// The kind of a name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Counter, Self::Gauge, Self::Rate, Self::Trend].into_iter().find(|kind| kind.name() == name)
    }
}

/// What a metric's values are measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contains {
    /// Numbers.
    Default,
    /// Milliseconds.
    Time,
    /// Bytes.
    Data,
}

impl Contains {
    /// Its name in the summary.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Time => "time",
            Self::Data => "data",
        }
    }
}

/// One value of one metric.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// The metric's name.
    pub(crate) metric: Arc<str>,
    /// The value.
    pub(crate) value: f64,
    /// Shared by the samples of one request.
    pub(crate) tags: Arc<Tags>,
}

/// What is known of the samples of one metric and selector.
#[derive(Debug, Clone)]
pub(crate) enum Sink {
    /// The sum.
    Counter(f64),
    /// The last, least and greatest value.
    Gauge { last: f64, min: f64, max: f64 },
    /// Not zero, and all.
    Rate { passes: u64, total: u64 },
    /// Every value; a run is bounded in count and time, so this is too.
    Trend(Vec<f64>),
}

impl Sink {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter(0.0),
            Kind::Gauge => Self::Gauge { last: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY },
            Kind::Rate => Self::Rate { passes: 0, total: 0 },
            Kind::Trend => Self::Trend(Vec::new()),
        }
    }

    fn add(&mut self, value: f64) {
        match self {
            Self::Counter(sum) => *sum += value,
            Self::Gauge { last, min, max } => {
                *last = value;
                *min = min.min(value);
                *max = max.max(value);
            }
            Self::Rate { passes, total } => {
                *passes += u64::from(value != 0.0);
                *total += 1;
            }
            Self::Trend(values) => values.push(value),
        }
    }

    /// The aggregation a threshold or a summary names; `None` when this kind has no such.
    pub(crate) fn aggregate(&self, name: &str, elapsed: Duration) -> Option<f64> {
        let seconds = elapsed.as_secs_f64().max(0.001);
        match (self, name) {
            (Self::Counter(sum), "count") => Some(*sum),
            (Self::Counter(sum), "rate") => Some(*sum / seconds),
            (Self::Gauge { last, .. }, "value") => Some(*last),
            (Self::Gauge { min, .. }, "min") => Some(if min.is_finite() { *min } else { 0.0 }),
            (Self::Gauge { max, .. }, "max") => Some(if max.is_finite() { *max } else { 0.0 }),
            (Self::Rate { passes, total }, "rate") => Some(if *total == 0 { 0.0 } else { as_f64(*passes) / as_f64(*total) }),
            (Self::Trend(values), name) => trend(values, name),
            _ => None,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts here stay far below 2^53")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

fn trend(values: &[f64], name: &str) -> Option<f64> {
    let percentile = match name {
        "avg" => {
            let sum: f64 = values.iter().sum();
            return Some(if values.is_empty() { 0.0 } else { sum / as_f64(values.len() as u64) });
        }
        "count" => return Some(as_f64(values.len() as u64)),
        "min" => 0.0,
        "med" => 50.0,
        "max" => 100.0,
        other => other.strip_prefix("p(")?.strip_suffix(')')?.trim().parse().ok()?,
    };
    if !(0.0..=100.0).contains(&percentile) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(interpolate(&sorted, percentile))
}

/// Linear interpolation between the nearest ranks, as k6 does.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the rank is within the slice")]
fn interpolate(sorted: &[f64], percentile: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let rank = percentile / 100.0 * as_f64(last as u64);
    let at = |index: usize| sorted.get(index.min(last)).copied().unwrap_or(0.0);
    let (low, high) = (at(rank.floor() as usize), at(rank.ceil() as usize));
    low + (high - low) * (rank - rank.floor())
}

/// Tags a sample must have, all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Selector(pub(crate) Vec<(String, String)>);

impl Selector {
    fn matches(&self, tags: &Tags) -> bool {
        self.0.iter().all(|(name, value)| tags.get(name).is_some_and(|have| have == value))
    }

    /// `name:value,name:value`.
    pub(crate) fn text(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(",")
    }
}

/// One metric.
#[derive(Debug)]
pub(crate) struct Metric {
    /// What its samples mean.
    pub(crate) kind: Kind,
    /// What they are measured in.
    pub(crate) contains: Contains,
    /// All its samples.
    pub(crate) sink: Sink,
    /// Whether there was any.
    pub(crate) used: bool,
    /// Those that match a selector.
    pub(crate) parts: BTreeMap<Selector, Sink>,
}

/// Passes and failures of one check, by group path and name.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    /// It held.
    pub(crate) passes: u64,
    /// It did not.
    pub(crate) fails: u64,
}

/// Every metric of a run.
#[derive(Debug)]
pub(crate) struct Registry {
    metrics: BTreeMap<String, Metric>,
    checks: BTreeMap<(String, String), Tally>,
    started: Instant,
}

const BUILT_IN: [(&str, Kind, Contains); 18] = [
    ("vus", Kind::Gauge, Contains::Default),
    ("vus_max", Kind::Gauge, Contains::Default),
    ("iterations", Kind::Counter, Contains::Default),
    ("iteration_duration", Kind::Trend, Contains::Time),
    ("dropped_iterations", Kind::Counter, Contains::Default),
    ("checks", Kind::Rate, Contains::Default),
    ("group_duration", Kind::Trend, Contains::Time),
    ("http_reqs", Kind::Counter, Contains::Default),
    ("http_req_failed", Kind::Rate, Contains::Default),
    ("http_req_duration", Kind::Trend, Contains::Time),
    ("http_req_blocked", Kind::Trend, Contains::Time),
    ("http_req_connecting", Kind::Trend, Contains::Time),
    ("http_req_tls_handshaking", Kind::Trend, Contains::Time),
    ("http_req_sending", Kind::Trend, Contains::Time),
    ("http_req_waiting", Kind::Trend, Contains::Time),
    ("http_req_receiving", Kind::Trend, Contains::Time),
    ("data_sent", Kind::Counter, Contains::Data),
    ("data_received", Kind::Counter, Contains::Data),
];

impl Registry {
    /// With the built-in metrics.
    pub(crate) fn new() -> Self {
        let metrics = BUILT_IN.into_iter().map(|(name, kind, contains)| (name.to_owned(), Metric::new(kind, contains))).collect();
        Self { metrics, checks: BTreeMap::new(), started: Instant::now() }
    }

    /// Adds a metric the script makes in its init context; the same again is the same.
    ///
    /// # Errors
    /// When the name is taken by another kind.
    pub(crate) fn define(&mut self, name: &str, kind: Kind, contains: Contains) -> Result<(), String> {
        let metric = self.metrics.entry(name.to_owned()).or_insert_with(|| Metric::new(kind, contains));
        if metric.kind == kind { Ok(()) } else { Err(format!("metric {name:?} exists and is a {}", metric.kind.name())) }
    }

    /// Keeps a sink for what a threshold selects.
    pub(crate) fn watch(&mut self, metric: &str, selector: Selector) {
        if let Some(metric) = self.metrics.get_mut(metric) {
            let kind = metric.kind;
            metric.parts.entry(selector).or_insert_with(|| Sink::new(kind));
        }
    }

    /// The clock of rates starts now.
    pub(crate) fn start(&mut self) {
        self.started = Instant::now();
    }

    /// Time since [`Registry::start`].
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes samples in.
    pub(crate) fn take(&mut self, samples: impl IntoIterator<Item = Sample>) {
        for sample in samples {
            let Some(metric) = self.metrics.get_mut(&*sample.metric) else { continue };
            metric.used = true;
            metric.sink.add(sample.value);
            for (selector, sink) in &mut metric.parts {
                if selector.matches(&sample.tags) {
                    sink.add(sample.value);
                }
            }
            if &*sample.metric == "checks" {
                let tag = |name: &str| sample.tags.get(name).cloned().unwrap_or_default();
                let tally = self.checks.entry((tag("group"), tag("check"))).or_default();
                if sample.value == 0.0 { tally.fails += 1 } else { tally.passes += 1 }
            }
        }
    }

    /// The metric of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&Metric> {
        self.metrics.get(name)
    }

    /// All metrics, by name.
    pub(crate) fn metrics(&self) -> &BTreeMap<String, Metric> {
        &self.metrics
    }

    /// All checks, by group path and name.
    pub(crate) fn checks(&self) -> &BTreeMap<(String, String), Tally> {
        &self.checks
    }
}

impl Metric {
    fn new(kind: Kind, contains: Contains) -> Self {
        Self { kind, contains, sink: Sink::new(kind), used: false, parts: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    fn sample(metric: &str, value: f64, tags: &[(&str, &str)]) -> Sample {
        let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sample { metric: metric.into(), value, tags: Arc::new(tags) }
    }

    #[test]
    fn percentiles_interpolate_as_k6_does() {
        let mut sink = Sink::new(Kind::Trend);
        for value in [40.0, 10.0, 30.0, 20.0] {
            sink.add(value);
        }
        let of = |name| sink.aggregate(name, Duration::from_secs(1)).unwrap();
        assert_eq!((of("min"), of("max"), of("med"), of("avg")), (10.0, 40.0, 25.0, 25.0));
        assert!((of("p(95)") - 38.5).abs() < 1e-9);
        assert_eq!(sink.aggregate("p(101)", Duration::from_secs(1)), None);
        assert_eq!(sink.aggregate("rate", Duration::from_secs(1)), None);
    }

    #[test]
    fn a_selector_sees_only_its_samples() {
        let mut registry = Registry::new();
        let selector = Selector(vec![("name".to_owned(), "segment".to_owned())]);
        registry.watch("http_req_duration", selector.clone());
        registry.take([
            sample("http_req_duration", 5.0, &[("name", "segment")]),
            sample("http_req_duration", 500.0, &[("name", "manifest")]),
            sample("no_such_metric", 1.0, &[]),
        ]);
        let metric = registry.get("http_req_duration").unwrap();
        let max = |sink: &Sink| sink.aggregate("max", Duration::from_secs(1)).unwrap();
        assert_eq!((max(&metric.sink), max(metric.parts.get(&selector).unwrap())), (500.0, 5.0));
    }

    #[test]
    fn rates_and_checks_are_counted() {
        let mut registry = Registry::new();
        let tags = [("group", "::play"), ("check", "is ok")];
        registry.take([sample("checks", 1.0, &tags), sample("checks", 1.0, &tags), sample("checks", 0.0, &tags)]);
        let tally = registry.checks().values().next().unwrap();
        assert_eq!((tally.passes, tally.fails), (2, 1));
        let rate = registry.get("checks").unwrap().sink.aggregate("rate", Duration::from_secs(1)).unwrap();
        assert!((rate - 2.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_name_keeps_its_kind() {
        let mut registry = Registry::new();
        registry.define("first_segment", Kind::Trend, Contains::Time).unwrap();
        registry.define("first_segment", Kind::Trend, Contains::Time).unwrap();
        assert!(registry.define("first_segment", Kind::Counter, Contains::Default).is_err());
        assert!(registry.define("http_reqs", Kind::Trend, Contains::Time).is_err());
    }
}
