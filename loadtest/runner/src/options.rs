//! The script's `options`, read strictly: an option this runner does not carry out is an error, never silently ignored.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    duration,
    failure::Failure,
    threshold::{self, Threshold},
};

/// VUs are threads here; more than this is a typing error.
const VUS_MAX: u32 = 2_000;
/// How long a scenario may run when it says nothing, as in k6.
const MAX_DURATION: Duration = Duration::from_secs(600);
const GRACEFUL_STOP: Duration = Duration::from_secs(30);

/// What the script asks for, checked.
#[derive(Debug)]
pub(crate) struct Options {
    /// By name.
    pub(crate) scenarios: BTreeMap<String, Scenario>,
    /// Conditions on metrics; any that fails fails the run.
    pub(crate) thresholds: Vec<Threshold>,
    /// Tags on every sample.
    pub(crate) tags: BTreeMap<String, String>,
    /// Statistics of trends in the summary.
    pub(crate) trend_stats: Vec<String>,
    /// Bodies are read but not kept.
    pub(crate) discard_bodies: bool,
    /// The `User-Agent` of every request.
    pub(crate) user_agent: String,
}

/// One scenario.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// The exported function it calls.
    pub(crate) exec: String,
    /// How it is paced.
    pub(crate) executor: Executor,
    /// When it begins.
    pub(crate) start_time: Duration,
    /// What running iterations get to finish.
    pub(crate) graceful_stop: Duration,
    /// Additions to `__ENV`.
    pub(crate) env: BTreeMap<String, String>,
    /// Tags on its samples.
    pub(crate) tags: BTreeMap<String, String>,
}

/// How iterations are started.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Executor {
    /// Closed model: each VU begins its next iteration when its last ended.
    ConstantVus { vus: u32, duration: Duration },
    /// Each VU does its own number of iterations.
    PerVuIterations { vus: u32, iterations: u64, max_duration: Duration },
    /// The VUs share a number of iterations.
    SharedIterations { vus: u32, iterations: u64, max_duration: Duration },
    /// Open model: iterations begin by the clock, whatever the answers do.
    ArrivalRate { stages: Vec<Stage>, start_per_s: f64, pre_allocated: u32, max_vus: u32 },
}

/// A stretch at whose end the rate is `target_per_s`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stage {
    /// Its length.
    pub(crate) duration: Duration,
    /// Iterations a second at its end.
    pub(crate) target_per_s: f64,
}

impl Executor {
    /// Its name in options.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::ConstantVus { .. } => "constant-vus",
            Self::PerVuIterations { .. } => "per-vu-iterations",
            Self::SharedIterations { .. } => "shared-iterations",
            Self::ArrivalRate { .. } => "arrival-rate",
        }
    }

    /// The longest it starts iterations for.
    pub(crate) fn duration(&self) -> Duration {
        match self {
            Self::ConstantVus { duration, .. } => *duration,
            Self::PerVuIterations { max_duration, .. } | Self::SharedIterations { max_duration, .. } => *max_duration,
            Self::ArrivalRate { stages, .. } => stages.iter().map(|stage| stage.duration).sum(),
        }
    }

    /// The most VUs it may have.
    pub(crate) fn vus_max(&self) -> u32 {
        match self {
            Self::ConstantVus { vus, .. } | Self::PerVuIterations { vus, .. } | Self::SharedIterations { vus, .. } => *vus,
            Self::ArrivalRate { max_vus, .. } => *max_vus,
        }
    }

    fn shorten(&mut self, to: Duration) {
        match self {
            Self::ConstantVus { duration, .. } => *duration = to,
            Self::PerVuIterations { max_duration, .. } | Self::SharedIterations { max_duration, .. } => *max_duration = to,
            Self::ArrivalRate { stages, .. } => {
                let whole: Duration = stages.iter().map(|stage| stage.duration).sum();
                let factor = if whole.is_zero() { 1.0 } else { to.as_secs_f64() / whole.as_secs_f64() };
                for stage in stages {
                    stage.duration = stage.duration.mul_f64(factor);
                }
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default)]
    scenarios: BTreeMap<String, Value>,
    #[serde(default)]
    thresholds: BTreeMap<String, Value>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    summary_trend_stats: Option<Vec<String>>,
    #[serde(default)]
    discard_response_bodies: bool,
    user_agent: Option<String>,
    vus: Option<u32>,
    iterations: Option<u64>,
    #[serde(default, deserialize_with = "duration::optional")]
    duration: Option<Duration>,
}

/// The fields every executor has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Common {
    executor: String,
    exec: Option<String>,
    #[serde(default, deserialize_with = "duration::optional")]
    start_time: Option<Duration>,
    #[serde(default, deserialize_with = "duration::optional")]
    graceful_stop: Option<Duration>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

const COMMON_FIELDS: [&str; 6] = ["executor", "exec", "startTime", "gracefulStop", "env", "tags"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConstantVus {
    #[serde(default = "one")]
    vus: u32,
    #[serde(deserialize_with = "duration::deserialize")]
    duration: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Iterations {
    #[serde(default = "one")]
    vus: u32,
    #[serde(default = "one_iteration")]
    iterations: u64,
    #[serde(default, deserialize_with = "duration::optional")]
    max_duration: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConstantRate {
    rate: f64,
    #[serde(default, deserialize_with = "duration::optional")]
    time_unit: Option<Duration>,
    #[serde(deserialize_with = "duration::deserialize")]
    duration: Duration,
    #[serde(rename = "preAllocatedVUs")]
    pre_allocated: Option<u32>,
    #[serde(rename = "maxVUs")]
    max_vus: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RampingRate {
    #[serde(default)]
    start_rate: f64,
    #[serde(default, deserialize_with = "duration::optional")]
    time_unit: Option<Duration>,
    stages: Vec<WrittenStage>,
    #[serde(rename = "preAllocatedVUs")]
    pre_allocated: Option<u32>,
    #[serde(rename = "maxVUs")]
    max_vus: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStage {
    #[serde(deserialize_with = "duration::deserialize")]
    duration: Duration,
    target: f64,
}

const fn one() -> u32 {
    1
}

const fn one_iteration() -> u64 {
    1
}

impl Options {
    /// Reads `options` as the script exports it. `duration`, when given, is what every scenario's time is shortened or stretched to.
    ///
    /// # Errors
    /// Names the option that cannot be honoured.
    pub(crate) fn read(options: &Value, duration: Option<Duration>) -> Result<Self, Failure> {
        let options = if options.is_null() { Value::Object(serde_json::Map::new()) } else { options.clone() };
        let written: Written = serde_json::from_value(options).map_err(|error| Failure::config(format!("options: {error}")))?;
        let mut scenarios = BTreeMap::new();
        for (name, scenario) in &written.scenarios {
            let read = read_scenario(scenario).map_err(|error| Failure::config(format!("options.scenarios.{name}: {error}")))?;
            scenarios.insert(name.clone(), read);
        }
        if scenarios.is_empty() {
            scenarios.insert("default".to_owned(), shortcut(&written));
        } else if written.vus.is_some() || written.iterations.is_some() || written.duration.is_some() {
            return Err(Failure::config("options: vus, iterations and duration belong inside scenarios when there are any"));
        }
        if let Some(duration) = duration {
            for scenario in scenarios.values_mut() {
                scenario.executor.shorten(duration);
            }
        }
        for (name, scenario) in &scenarios {
            let vus = scenario.executor.vus_max();
            if vus == 0 || vus > VUS_MAX {
                return Err(Failure::config(format!("options.scenarios.{name}: between 1 and {VUS_MAX} VUs, not {vus}")));
            }
        }
        Ok(Self {
            scenarios,
            thresholds: threshold::read_all(&written.thresholds)?,
            tags: written.tags,
            trend_stats: written
                .summary_trend_stats
                .unwrap_or_else(|| ["avg", "min", "med", "max", "p(90)", "p(95)"].map(str::to_owned).to_vec()),
            discard_bodies: written.discard_response_bodies,
            user_agent: written.user_agent.unwrap_or_else(|| "antiphon-loadtest/0.1".to_owned()),
        })
    }
}

fn shortcut(written: &Written) -> Scenario {
    let vus = written.vus.unwrap_or(1);
    let executor = match (written.iterations, written.duration) {
        (None, Some(duration)) => Executor::ConstantVus { vus, duration },
        (iterations, duration) => {
            Executor::SharedIterations { vus, iterations: iterations.unwrap_or(1), max_duration: duration.unwrap_or(MAX_DURATION) }
        }
    };
    Scenario {
        exec: "default".to_owned(),
        executor,
        start_time: Duration::ZERO,
        graceful_stop: GRACEFUL_STOP,
        env: BTreeMap::new(),
        tags: BTreeMap::new(),
    }
}

fn read_scenario(scenario: &Value) -> Result<Scenario, String> {
    let common: Common = serde_json::from_value(scenario.clone()).map_err(|error| error.to_string())?;
    let mut own = scenario.clone();
    if let Some(fields) = own.as_object_mut() {
        fields.retain(|name, _| !COMMON_FIELDS.contains(&name.as_str()));
    }
    Ok(Scenario {
        executor: read_executor(&common.executor, own)?,
        exec: common.exec.unwrap_or_else(|| "default".to_owned()),
        start_time: common.start_time.unwrap_or_default(),
        graceful_stop: common.graceful_stop.unwrap_or(GRACEFUL_STOP),
        env: common.env,
        tags: common.tags,
    })
}

fn read_executor(name: &str, own: Value) -> Result<Executor, String> {
    fn read<T: for<'de> Deserialize<'de>>(own: Value) -> Result<T, String> {
        serde_json::from_value(own).map_err(|error| error.to_string())
    }
    match name {
        "constant-vus" => read(own).map(|ConstantVus { vus, duration }| Executor::ConstantVus { vus, duration }),
        "per-vu-iterations" => read(own).map(|Iterations { vus, iterations, max_duration }| Executor::PerVuIterations {
            vus,
            iterations,
            max_duration: max_duration.unwrap_or(MAX_DURATION),
        }),
        "shared-iterations" => read(own).map(|Iterations { vus, iterations, max_duration }| Executor::SharedIterations {
            vus,
            iterations,
            max_duration: max_duration.unwrap_or(MAX_DURATION),
        }),
        "constant-arrival-rate" => {
            let rate: ConstantRate = read(own)?;
            let per_s = per_second(rate.rate, rate.time_unit)?;
            let pre_allocated = rate.pre_allocated.unwrap_or(1);
            Ok(Executor::ArrivalRate {
                stages: vec![Stage { duration: rate.duration, target_per_s: per_s }],
                start_per_s: per_s,
                pre_allocated,
                max_vus: rate.max_vus.unwrap_or(pre_allocated).max(pre_allocated),
            })
        }
        "ramping-arrival-rate" => {
            let ramp: RampingRate = read(own)?;
            let pre_allocated = ramp.pre_allocated.unwrap_or(1);
            let stage =
                |stage: &WrittenStage| Ok(Stage { duration: stage.duration, target_per_s: per_second(stage.target, ramp.time_unit)? });
            Ok(Executor::ArrivalRate {
                stages: ramp.stages.iter().map(stage).collect::<Result<_, String>>()?,
                start_per_s: per_second(ramp.start_rate, ramp.time_unit)?,
                pre_allocated,
                max_vus: ramp.max_vus.unwrap_or(pre_allocated).max(pre_allocated),
            })
        }
        other => Err(format!(
            "executor {other:?} is not supported here (constant-vus, per-vu-iterations, shared-iterations, constant-arrival-rate, ramping-arrival-rate are)"
        )),
    }
}

fn per_second(rate: f64, unit: Option<Duration>) -> Result<f64, String> {
    let unit_s = unit.unwrap_or(Duration::from_secs(1)).as_secs_f64();
    if !rate.is_finite() || rate < 0.0 || unit_s <= 0.0 {
        return Err("the rate and timeUnit must be positive".to_owned());
    }
    Ok(rate / unit_s)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_constant_arrival_rate_is_one_stage_at_its_rate() {
        let options = Options::read(
            &json!({"scenarios": {"listen": {"executor": "constant-arrival-rate", "rate": 120, "timeUnit": "1m", "duration": "30s",
                "preAllocatedVUs": 4, "maxVUs": 9, "exec": "listen", "tags": {"journey": "listen"}}}}),
            None,
        )
        .unwrap();
        let scenario = &options.scenarios["listen"];
        assert_eq!(scenario.exec, "listen");
        assert_eq!(
            scenario.executor,
            Executor::ArrivalRate {
                stages: vec![Stage { duration: Duration::from_secs(30), target_per_s: 2.0 }],
                start_per_s: 2.0,
                pre_allocated: 4,
                max_vus: 9
            }
        );
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let refused = |options: Value| Options::read(&options, None).unwrap_err().message;
        assert!(refused(json!({"ext": {}})).contains("ext"));
        assert!(refused(json!({"scenarios": {"a": {"executor": "externally-controlled"}}})).contains("externally-controlled"));
        assert!(refused(json!({"scenarios": {"a": {"executor": "constant-vus", "duration": "1s", "rate": 3}}})).contains("rate"));
        assert!(refused(json!({"scenarios": {"a": {"executor": "constant-vus", "duration": "1s", "vus": 900_000}}})).contains("VUs"));
        assert!(refused(json!({"duration": "tomorrow"})).contains("tomorrow"));
    }

    #[test]
    fn the_command_line_duration_stretches_every_scenario() {
        let options = json!({"scenarios": {
            "a": {"executor": "constant-vus", "vus": 1, "duration": "60s"},
            "b": {"executor": "ramping-arrival-rate", "stages": [{"duration": "30s", "target": 5}, {"duration": "90s", "target": 5}]}}});
        let options = Options::read(&options, Some(Duration::from_secs(10))).unwrap();
        assert!(options.scenarios.values().all(|scenario| scenario.executor.duration().as_millis() == 10_000));
    }
}
