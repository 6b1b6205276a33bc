//! From windows to tables: medians with the spread of the rounds, and each goal beside what was measured.
//!
//! A ratio is taken within a round, between neighbours in time, and the median of those is told, not the ratio of two medians: what slows the
//! machine down for a while slows both.

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    Effort,
    bundle::Bundle,
    startup::Startup,
    verify::{self, Way},
    windows::{Case, What, Windows},
    workerd::Kind,
};
use crate::{machine, stats::Samples};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: String,
    at: String,
    rounds: usize,
    requests_per_second: u32,
    window_s: f64,
    connections: usize,
    cases: Vec<Row>,
    differences: Vec<String>,
    goals: Vec<Goal>,
    verification: Vec<(&'static str, Spread)>,
    startup: Vec<StartRow>,
    bundle: Bundle,
}

/// A median and the extremes of the rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    worker: &'static str,
    what: What,
    cpu_us: Spread,
    p50_ms: f64,
    p99_ms: f64,
    requests: usize,
}

#[derive(Debug, Serialize)]
struct Goal {
    of: String,
    measured: Spread,
    unit: &'static str,
    at_most: f64,
    reached: bool,
}

#[derive(Debug, Serialize)]
struct StartRow {
    worker: &'static str,
    listening_ms: Spread,
    first_ms: Spread,
    cpu_ms: Spread,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
        let (middle, last) = (sorted.len() / 2, sorted.len().saturating_sub(1));
        let median = if sorted.len().is_multiple_of(2) { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) } else { at(middle) };
        Self { median, least: at(0), most: at(last) }
    }

    fn text(self, decimals: usize) -> String {
        let Self { median, least, most } = self;
        format!("{median:.decimals$} ({least:.decimals$} to {most:.decimals$})")
    }
}

/// What is added by one case to another, or its share, round by round.
fn paired<T>(these: &[T], those: &[T], with: impl Fn(&T, &T) -> f64) -> Spread {
    Spread::of(these.iter().zip(those).map(|(this, that)| with(this, that)))
}

impl Report {
    /// Puts the tables together.
    pub(crate) fn new(effort: Effort, windows: Windows, checks: Vec<Way>, startup: Vec<Startup>, bundle: Bundle) -> Self {
        let mut goals = goals(&windows.cases);
        let us = |path| checks.iter().find(|way| way.path == path).map(|way| way.us.as_slice()).unwrap_or_default();
        if !checks.is_empty() {
            let ratio = paired(us(verify::WASM), us(verify::WEBCRYPTO), |a, b| a / b);
            goals.push(Goal::ratio("check of one media token: WebAssembly to WebCrypto".to_owned(), ratio, 0.25));
        }
        let verification = checks.iter().map(|way| (way.name, Spread::of(way.us.iter().copied()))).collect();
        let gzip_kb = (bundle.wasm_gzip_bytes + bundle.js_gzip_bytes) as f64 / 1e3;
        goals.push(Goal::new("the Worker, gzipped".to_owned(), Spread::of([gzip_kb]), "kB", 150.0));
        Self {
            machine: machine::machine(),
            at: machine::now(),
            rounds: effort.rounds,
            requests_per_second: effort.rate,
            window_s: effort.window.as_secs_f64(),
            connections: effort.connections,
            cases: windows.cases.iter().map(Row::of).collect(),
            differences: windows.differences,
            goals,
            verification,
            startup: startup.into_iter().map(StartRow::of).collect(),
            bundle,
        }
    }

    /// For people.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "Plain workerd, {} requests a second in an open loop on {} connections, {} rounds of {:.1} s a case in turn, load generator on the same machine. \
             {}, {}. Median (least to most of the rounds).\n\n",
            self.requests_per_second, self.connections, self.rounds, self.window_s, self.machine, self.at,
        );
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "| Worker | answer | CPU, us a request | p50, ms | p99, ms | requests |\n|---|---|---|---|---|---|")?;
        for Row { worker, what, cpu_us, p50_ms, p99_ms, requests } in &self.cases {
            writeln!(text, "| {worker} | {} | {} | {p50_ms:.2} | {p99_ms:.2} | {requests} |", name(*what), cpu_us.text(0))?;
        }
        writeln!(text, "\n| goal | measured | at most | |\n|---|---|---|---|")?;
        for Goal { of, measured, unit, at_most, reached } in &self.goals {
            let verdict = if *reached { "reached" } else { "missed" };
            writeln!(text, "| {of} | {} {unit} | {at_most} {unit} | {verdict} |", measured.text(2))?;
        }
        if !self.verification.is_empty() {
            writeln!(text, "\n| one check | CPU, us |\n|---|---|")?;
            for (way, spread) in &self.verification {
                writeln!(text, "| {way} | {} |", spread.text(2))?;
            }
        }
        writeln!(text, "\n| start of a process | listens after, ms | first answer, ms | CPU by then, ms |\n|---|---|---|---|")?;
        for StartRow { worker, listening_ms, first_ms, cpu_ms } in &self.startup {
            writeln!(text, "| {worker} | {} | {} | {} |", listening_ms.text(0), first_ms.text(1), cpu_ms.text(0))?;
        }
        self.write_bundle(text)?;
        for difference in &self.differences {
            writeln!(text, "\nNot a comparison of equals: {difference}")?;
        }
        Ok(())
    }

    fn write_bundle(&self, text: &mut String) -> std::fmt::Result {
        let kb = |bytes: usize| bytes as f64 / 1e3;
        let Bundle { wasm_bytes, wasm_gzip_bytes, js_bytes, js_gzip_bytes, weights } = &self.bundle;
        writeln!(text, "\n| file | kB | gzipped, kB |\n|---|---|---|")?;
        writeln!(text, "| index_bg.wasm | {:.1} | {:.1} |", kb(*wasm_bytes), kb(*wasm_gzip_bytes))?;
        writeln!(text, "| index.js | {:.1} | {:.1} |", kb(*js_bytes), kb(*js_gzip_bytes))?;
        if weights.is_empty() {
            return Ok(());
        }
        let total: usize = weights.iter().map(|weight| weight.bytes).sum();
        writeln!(text, "\n| crate, in the module as rustc left it | kB | share | functions |\n|---|---|---|---|")?;
        for weight in weights.iter().filter(|weight| weight.bytes * 200 >= total) {
            let share = 100.0 * weight.bytes as f64 / total.max(1) as f64;
            writeln!(text, "| {} | {:.1} | {share:.1} % | {} |", weight.name, kb(weight.bytes), weight.functions)?;
        }
        Ok(())
    }
}

impl Row {
    fn of(case: &Case) -> Self {
        let mut all = Samples::default();
        case.latencies.iter().for_each(|samples| all.extend(samples));
        Self {
            worker: worker(case.kind),
            what: case.what,
            cpu_us: Spread::of(case.cpu_us.iter().copied()),
            p50_ms: all.percentile(50).as_secs_f64() * 1e3,
            p99_ms: all.percentile(99).as_secs_f64() * 1e3,
            requests: all.len(),
        }
    }
}

impl Goal {
    fn new(of: String, measured: Spread, unit: &'static str, at_most: f64) -> Self {
        Self { of, measured, unit, at_most, reached: measured.median <= at_most }
    }

    fn ratio(of: String, measured: Spread, at_most: f64) -> Self {
        Self::new(of, measured, "x", at_most)
    }
}

impl StartRow {
    fn of(startup: Startup) -> Self {
        Self {
            worker: worker(startup.kind),
            listening_ms: Spread::of(startup.listening_ms),
            first_ms: Spread::of(startup.first_ms),
            cpu_ms: Spread::of(startup.cpu_ms),
        }
    }
}

/// The goals of the issue that the windows answer.
fn goals(cases: &[Case]) -> Vec<Goal> {
    let case = |kind, what| cases.iter().find(|case| case.kind == kind && case.what == what);
    let mut goals = Vec::new();
    if let (Some(ours), Some(floor)) = (case(Kind::Ours, What::Segment), case(Kind::Floor, What::Floor)) {
        let p99_ms = |samples: &Samples| samples.percentile(99).as_secs_f64() * 1e3;
        let added = paired(&ours.latencies, &floor.latencies, |ours, floor| p99_ms(ours) - p99_ms(floor));
        goals.push(Goal::new("warm segment: p99 added to the floor".to_owned(), added, "ms", 1.0));
        goals.push(Goal::ratio("warm segment: CPU to the floor".to_owned(), paired(&ours.cpu_us, &floor.cpu_us, |a, b| a / b), 1.25));
    }
    for what in What::SHARED {
        if let (Some(ours), Some(theirs)) = (case(Kind::Ours, what), case(Kind::JavaScript, what)) {
            goals.push(Goal::ratio(format!("{}: CPU to JavaScript", name(what)), paired(&ours.cpu_us, &theirs.cpu_us, |a, b| a / b), 0.7));
        }
    }
    goals
}

fn worker(kind: Kind) -> &'static str {
    match kind {
        Kind::Empty => "empty",
        Kind::Floor => "floor",
        Kind::Ours => "ours",
        Kind::JavaScript => "JavaScript",
        Kind::Verify => "verify",
    }
}

fn name(what: What) -> &'static str {
    match what {
        What::Empty => "`ok`",
        What::Floor => "cached segment, no check",
        What::ManifestHls => "manifest, HLS",
        What::ManifestJson => "manifest, JSON",
        What::Playlist => "media playlist",
        What::Segment => "warm segment",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        // The machine was twice as slow in the second round: both cases were, and the ratio does not show it.
        let ratio = paired(&[10.0, 20.0, 11.0], &[5.0, 10.0, 5.0], |a, b| a / b);
        assert_eq!((ratio.median, ratio.least, ratio.most), (2.0, 2.0, 2.2));
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0]).median, 2.5);
        assert!(Goal::ratio(String::new(), Spread::of([0.7]), 0.7).reached);
        assert!(!Goal::ratio(String::new(), Spread::of([0.71]), 0.7).reached);
    }
}
