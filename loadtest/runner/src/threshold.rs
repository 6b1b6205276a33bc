//! Thresholds: `'http_req_duration{name:segment}': ['p(95)<200', {threshold: 'p(99)<500', abortOnFail: true}]`.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    duration,
    failure::Failure,
    metrics::{Kind, Registry, Selector, Sink},
};

/// One condition.
#[derive(Debug, Clone)]
pub(crate) struct Threshold {
    /// `metric` or `metric{selector}`, as written.
    pub(crate) written: String,
    /// The metric's name.
    pub(crate) metric: String,
    /// The tags, when any.
    pub(crate) selector: Option<Selector>,
    /// As written.
    pub(crate) expression: String,
    /// Ends the run when it fails.
    pub(crate) abort_on_fail: bool,
    /// Not before this much of the run.
    pub(crate) delay_abort: Duration,
    condition: Condition,
}

#[derive(Debug, Clone, PartialEq)]
struct Condition {
    aggregation: String,
    comparison: Comparison,
    limit: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// Longer signs first, so that `<=` is not read as `<`.
const SIGNS: [(&str, Comparison); 8] = [
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("===", Comparison::Equal),
    ("==", Comparison::Equal),
    ("!==", Comparison::NotEqual),
    ("!=", Comparison::NotEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Full(Full),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Full {
    threshold: String,
    #[serde(default)]
    abort_on_fail: bool,
    #[serde(default, deserialize_with = "duration::optional")]
    delay_abort_eval: Option<Duration>,
}

/// Reads `options.thresholds`.
///
/// # Errors
/// Names the threshold that cannot be read.
pub(crate) fn read_all(thresholds: &BTreeMap<String, Value>) -> Result<Vec<Threshold>, Failure> {
    let mut all = Vec::new();
    for (written, conditions) in thresholds {
        let wrong = |why: String| Failure::config(format!("options.thresholds[{written:?}]: {why}"));
        let (metric, selector) = read_name(written).map_err(wrong)?;
        let conditions = match conditions {
            Value::Array(many) => many.clone(),
            one => vec![one.clone()],
        };
        for condition in conditions {
            let condition = serde_json::from_value(condition)
                .map_err(|_| wrong("a condition is a string or {threshold, abortOnFail, delayAbortEval}".to_owned()))?;
            let full = match condition {
                Written::Text(threshold) => Full { threshold, abort_on_fail: false, delay_abort_eval: None },
                Written::Full(full) => full,
            };
            all.push(Threshold {
                written: written.clone(),
                metric: metric.clone(),
                selector: selector.clone(),
                condition: read_condition(&full.threshold).map_err(wrong)?,
                expression: full.threshold,
                abort_on_fail: full.abort_on_fail,
                delay_abort: full.delay_abort_eval.unwrap_or_default(),
            });
        }
    }
    Ok(all)
}

fn read_name(written: &str) -> Result<(String, Option<Selector>), String> {
    let Some((metric, rest)) = written.split_once('{') else { return Ok((written.trim().to_owned(), None)) };
    let inside = rest.trim_end().strip_suffix('}').ok_or("the selector has no closing brace")?;
    let mut tags = Vec::new();
    for pair in inside.split(',') {
        let (name, value) = pair.split_once(':').ok_or_else(|| format!("{pair:?} is no tag:value"))?;
        tags.push((name.trim().to_owned(), value.trim().trim_matches('"').to_owned()));
    }
    Ok((metric.trim().to_owned(), Some(Selector(tags))))
}

fn read_condition(text: &str) -> Result<Condition, String> {
    let (position, sign, comparison) = SIGNS
        .iter()
        .filter_map(|(sign, comparison)| text.find(sign).map(|position| (position, *sign, *comparison)))
        .min_by_key(|(position, sign, _)| (*position, std::cmp::Reverse(sign.len())))
        .ok_or_else(|| format!("{text:?} compares nothing"))?;
    let (left, right) = text.split_at(position);
    let right = right.get(sign.len()..).unwrap_or_default().trim();
    let limit = right.parse().map_err(|_| format!("{right:?} is no number"))?;
    Ok(Condition { aggregation: left.trim().to_owned(), comparison, limit })
}

impl Threshold {
    /// Whether its metric exists and has such an aggregation, once the script's own metrics are known.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(&self, registry: &Registry) -> Result<(), Failure> {
        let wrong = |why: String| Err(Failure::config(format!("threshold {:?} on {:?}: {why}", self.expression, self.written)));
        let Some(metric) = registry.get(&self.metric) else { return wrong(format!("there is no metric {:?}", self.metric)) };
        if metric.sink.aggregate(&self.condition.aggregation, Duration::from_secs(1)).is_none() {
            let has = match metric.kind {
                Kind::Counter => "count, rate",
                Kind::Gauge => "value",
                Kind::Rate => "rate",
                Kind::Trend => "avg, min, med, max, p(N)",
            };
            return wrong(format!("a {} has {has}", metric.kind.name()));
        }
        Ok(())
    }

    fn sink<'a>(&self, registry: &'a Registry) -> Option<&'a Sink> {
        let metric = registry.get(&self.metric)?;
        match &self.selector {
            Some(selector) => metric.parts.get(selector),
            None => Some(&metric.sink),
        }
    }

    /// Whether it holds now. A metric without samples is judged as zero, as in k6.
    pub(crate) fn holds(&self, registry: &Registry) -> bool {
        let value = self.sink(registry).and_then(|sink| sink.aggregate(&self.condition.aggregation, registry.elapsed()));
        let (value, limit) = (value.unwrap_or(0.0), self.condition.limit);
        match self.condition.comparison {
            Comparison::Less => value < limit,
            Comparison::LessOrEqual => value <= limit,
            Comparison::Greater => value > limit,
            Comparison::GreaterOrEqual => value >= limit,
            Comparison::Equal => (value - limit).abs() < f64::EPSILON,
            Comparison::NotEqual => (value - limit).abs() >= f64::EPSILON,
        }
    }

    /// Whether the run must end now.
    pub(crate) fn aborts(&self, registry: &Registry) -> bool {
        self.abort_on_fail && registry.elapsed() >= self.delay_abort && self.has_samples(registry) && !self.holds(registry)
    }

    fn has_samples(&self, registry: &Registry) -> bool {
        match self.sink(registry) {
            Some(Sink::Trend(values)) => !values.is_empty(),
            Some(Sink::Rate { total, .. }) => *total > 0,
            Some(Sink::Counter(_) | Sink::Gauge { .. }) => registry.get(&self.metric).is_some_and(|metric| metric.used),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::metrics::Sample;

    fn one(name: &str, condition: Value) -> Threshold {
        read_all(&BTreeMap::from([(name.to_owned(), json!([condition]))])).unwrap().remove(0)
    }

    fn registry(samples: &[(&str, f64, &str)], watched: &Threshold) -> Registry {
        let mut registry = Registry::new();
        if let Some(selector) = &watched.selector {
            registry.watch(&watched.metric, selector.clone());
        }
        registry.take(samples.iter().map(|(metric, value, name)| Sample {
            metric: (*metric).into(),
            value: *value,
            tags: Arc::new(BTreeMap::from([("name".to_owned(), (*name).to_owned())])),
        }));
        registry
    }

    #[test]
    fn conditions_are_judged_on_the_samples_they_select() {
        let samples = [("http_req_duration", 50.0, "segment"), ("http_req_duration", 900.0, "login"), ("http_req_failed", 0.0, "segment")];
        let table = [
            ("http_req_duration{name:segment}", "p(95)<200", true),
            ("http_req_duration", "p(95) < 200", false),
            ("http_req_duration{name:segment}", "max<=50", true),
            ("http_req_duration{name:segment}", "avg>=50.1", false),
            ("http_req_failed", "rate<0.01", true),
            ("http_req_failed", "rate==0", true),
            ("http_reqs", "count>0", false),
        ];
        for (name, condition, expected) in table {
            let threshold = one(name, json!(condition));
            let registry = registry(&samples, &threshold);
            threshold.check(&registry).unwrap();
            assert_eq!(threshold.holds(&registry), expected, "{name} {condition}");
        }
    }

    #[test]
    fn what_cannot_be_judged_is_refused_by_name() {
        let judged = |name: &str, condition: &str| {
            let threshold = one(name, json!(condition));
            threshold.check(&registry(&[], &threshold)).unwrap_err().message
        };
        assert!(judged("no_such", "count>0").contains("no_such"));
        assert!(judged("http_reqs", "p(95)<1").contains("count, rate"));
        for bad in [json!("fast"), json!("p(95)<soon"), json!({"threshold": "rate<1", "abort": true})] {
            assert!(read_all(&BTreeMap::from([("http_reqs".to_owned(), bad)])).is_err());
        }
        assert!(read_all(&BTreeMap::from([("http_reqs{name".to_owned(), json!("count>0"))])).is_err());
    }

    #[test]
    fn abort_waits_for_its_delay_and_for_samples() {
        let now = one("http_req_failed", json!({"threshold": "rate<0.5", "abortOnFail": true}));
        let later = one("http_req_failed", json!({"threshold": "rate<0.5", "abortOnFail": true, "delayAbortEval": "1h"}));
        let failing = registry(&[("http_req_failed", 1.0, "")], &now);
        assert!(now.aborts(&failing) && !later.aborts(&failing) && !now.aborts(&registry(&[], &now)));
    }
}
