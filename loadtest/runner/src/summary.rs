//! The end of a run: k6's `data` object for `handleSummary`, and the text printed when the script has no such function.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde_json::{Map, Value, json};

use crate::{
    metrics::{Contains, Kind, Metric, Registry, Sink},
    options::Options,
    threshold::Threshold,
};

/// `handleSummary`'s argument.
pub(crate) fn data(registry: &Registry, options: &Options, setup: Option<&str>, elapsed: Duration) -> Value {
    let mut metrics = Map::new();
    for (name, metric) in registry.metrics() {
        let watched = |threshold: &&Threshold| threshold.metric == *name;
        if !metric.used && !options.thresholds.iter().any(|threshold| watched(&threshold)) {
            continue;
        }
        metrics.insert(name.clone(), describe(name, metric, &metric.sink, registry, options, elapsed));
        for (selector, sink) in &metric.parts {
            let name = format!("{name}{{{}}}", selector.text());
            let described = describe(&name, metric, sink, registry, options, elapsed);
            metrics.insert(name, described);
        }
    }
    json!({
        "root_group": root_group(registry),
        "options": { "summaryTrendStats": options.trend_stats, "summaryTimeUnit": "", "noColor": false },
        "state": { "isStdOutTTY": false, "isStdErrTTY": false, "testRunDurationMs": elapsed.as_secs_f64() * 1_000.0 },
        "metrics": metrics,
        "setup_data": setup.and_then(|text| serde_json::from_str::<Value>(text).ok()),
    })
}

/// Names of a threshold's metric as the summary writes them: `metric{tag:value}` without blanks.
fn summary_name(threshold: &Threshold) -> String {
    match &threshold.selector {
        Some(selector) => format!("{}{{{}}}", threshold.metric, selector.text()),
        None => threshold.metric.clone(),
    }
}

fn describe(name: &str, metric: &Metric, sink: &Sink, registry: &Registry, options: &Options, elapsed: Duration) -> Value {
    let names: Vec<&str> = match metric.kind {
        Kind::Counter => vec!["count", "rate"],
        Kind::Gauge => vec!["value", "min", "max"],
        Kind::Rate => vec!["rate"],
        Kind::Trend => options.trend_stats.iter().map(String::as_str).collect(),
    };
    let mut values: BTreeMap<&str, Value> = names.iter().filter_map(|name| Some((*name, json!(sink.aggregate(name, elapsed)?)))).collect();
    if let Sink::Rate { passes, total } = sink {
        values.insert("passes", json!(passes));
        values.insert("fails", json!(total - passes));
    }
    let mut described = json!({ "type": metric.kind.name(), "contains": metric.contains.name(), "values": values });
    let judged: Map<String, Value> = options
        .thresholds
        .iter()
        .filter(|threshold| summary_name(threshold) == name)
        .map(|threshold| (threshold.expression.clone(), json!({ "ok": threshold.holds(registry) })))
        .collect();
    if let (false, Some(fields)) = (judged.is_empty(), described.as_object_mut()) {
        fields.insert("thresholds".to_owned(), Value::Object(judged));
    }
    described
}

/// Groups nest by the `::` in their path.
fn root_group(registry: &Registry) -> Value {
    let mut root = Group::default();
    for ((path, check), tally) in registry.checks() {
        let group = path
            .split("::")
            .filter(|name| !name.is_empty())
            .fold(&mut root, |group, name| group.groups.entry(name.to_owned()).or_default());
        group.checks.push(json!({
            "name": check, "path": format!("{path}::{check}"), "id": format!("{path}::{check}"), "passes": tally.passes, "fails": tally.fails,
        }));
    }
    root.json("", "")
}

#[derive(Default)]
struct Group {
    groups: BTreeMap<String, Group>,
    checks: Vec<Value>,
}

impl Group {
    fn json(&self, name: &str, path: &str) -> Value {
        let groups: Vec<_> = self.groups.iter().map(|(name, group)| group.json(name, &format!("{path}::{name}"))).collect();
        json!({ "name": name, "path": path, "id": path, "groups": groups, "checks": self.checks })
    }
}

/// The text for a terminal.
pub(crate) fn text(registry: &Registry, options: &Options, elapsed: Duration) -> String {
    let mut text = String::new();
    if !options.thresholds.is_empty() {
        text.push_str("\n  THRESHOLDS\n");
        for threshold in &options.thresholds {
            let mark = if threshold.holds(registry) { "ok  " } else { "FAIL" };
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(text, "    {mark} {} {}", threshold.written, threshold.expression);
        }
    }
    if !registry.checks().is_empty() {
        text.push_str("\n  CHECKS\n");
        for ((group, check), tally) in registry.checks() {
            let mark = if tally.fails == 0 { "ok  " } else { "FAIL" };
            let _ = writeln!(text, "    {mark} {group}::{check}: {} of {}", tally.passes, tally.passes + tally.fails);
        }
    }
    text.push_str("\n  METRICS\n");
    for (name, metric) in registry.metrics().iter().filter(|(_, metric)| metric.used) {
        let _ = writeln!(text, "    {name:.<34}: {}", line(metric, &metric.sink, options, elapsed));
        for (selector, sink) in &metric.parts {
            let _ = writeln!(text, "      {:.<32}: {}", format!("{{{}}}", selector.text()), line(metric, sink, options, elapsed));
        }
    }
    text
}

fn line(metric: &Metric, sink: &Sink, options: &Options, elapsed: Duration) -> String {
    let value = |name: &str| sink.aggregate(name, elapsed).unwrap_or(0.0);
    match sink {
        Sink::Counter(_) if metric.contains == Contains::Data => format!("{:.1} kB {:.1} kB/s", value("count") / 1e3, value("rate") / 1e3),
        Sink::Counter(_) => format!("{} {:.2}/s", value("count"), value("rate")),
        Sink::Gauge { .. } => format!("{} min={} max={}", value("value"), value("min"), value("max")),
        Sink::Rate { passes, total } => format!("{:.2}% {passes} of {total}", value("rate") * 100.0),
        Sink::Trend(_) => {
            let unit = if metric.contains == Contains::Time { "ms" } else { "" };
            options.trend_stats.iter().map(|name| format!("{name}={:.2}{unit}", value(name))).collect::<Vec<_>>().join(" ")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]
    use std::sync::Arc;

    use super::*;
    use crate::metrics::Sample;

    #[test]
    fn the_data_object_has_the_shape_of_k6() {
        let options =
            json!({"thresholds": {"http_req_duration{name: segment}": ["p(95)<200", "max<1"]}, "summaryTrendStats": ["med", "p(99)"]});
        let options = Options::read(&options, None).unwrap();
        let mut registry = Registry::new();
        for threshold in &options.thresholds {
            registry.watch(&threshold.metric, threshold.selector.clone().unwrap());
        }
        let sample = |metric: &str, value, tags: &[(&str, &str)]| Sample {
            metric: metric.into(),
            value,
            tags: Arc::new(tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()),
        };
        registry.take([
            sample("http_req_duration", 7.0, &[("name", "segment")]),
            sample("http_req_failed", 0.0, &[]),
            sample("checks", 1.0, &[("group", "::play"), ("check", "is audio")]),
        ]);
        let data = data(&registry, &options, Some("{\"tracks\":2}"), Duration::from_secs(2));
        let part = &data["metrics"]["http_req_duration{name:segment}"];
        assert_eq!(part["values"], json!({"med": 7.0, "p(99)": 7.0}));
        assert_eq!(part["thresholds"], json!({"p(95)<200": {"ok": true}, "max<1": {"ok": false}}));
        assert_eq!(data["metrics"]["http_req_failed"]["values"], json!({"rate": 0.0, "passes": 0, "fails": 1}));
        assert_eq!(data["root_group"]["groups"][0]["checks"][0]["path"], "::play::is audio");
        assert_eq!((&data["setup_data"]["tracks"], &data["state"]["testRunDurationMs"]), (&json!(2), &json!(2000.0)));
        assert!(data["metrics"].get("vus").is_none());
        assert!(text(&registry, &options, Duration::from_secs(2)).contains("FAIL http_req_duration{name: segment} max<1"));
    }
}
