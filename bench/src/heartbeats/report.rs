//! The tables and the verdicts, as Markdown or JSON. A goal is the issue's; what has none is information.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

use super::{
    Effort,
    acks::Acks,
    copy::{BATCH_EVENTS, Written},
    fleet::{Fleet, Measured},
    pipeline::Ridden,
};
use crate::machine;

const GOAL_OF_COPY: f64 = 0.5;
const GOAL_P99_MS: f64 = 20.0;
const GOAL_RIDERS: f64 = 20.0;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: String,
    at: String,
    rounds: usize,
    connections: usize,
    acks: Vec<AckLine>,
    pipeline: RideLine,
    listeners: RideLine,
    written: Vec<WrittenLine>,
    /// Merge over COPY with the same key, events per core: the median of the rounds' ratios.
    merge_of_copy: f64,
    /// The same over COPY without a key.
    merge_of_bare_copy: f64,
    /// The same by PostgreSQL's CPU alone.
    merge_of_copy_in_postgres: f64,
    fleet: Fleet,
    goals: Vec<Goal>,
}

#[derive(Debug, Serialize)]
struct AckLine {
    store: &'static str,
    per_s: f64,
    per_s_and_core: f64,
    cpu_us: f64,
    p50_ms: f64,
    p99_ms: f64,
    p99_ms_of_rounds: Vec<f64>,
    /// Ours over it, acknowledgements a second.
    ours_over_it: f64,
    /// Ours over it, per core.
    ours_over_it_per_core: f64,
}

#[derive(Debug, Serialize)]
struct RideLine {
    posts: u64,
    batches: u64,
    posts_per_request: f64,
    per_s: f64,
    seconds_until_merged: f64,
    cpu_us_per_event: CpuLine,
    events_per_s_and_core: f64,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct CpuLine {
    edge: f64,
    gateway: f64,
    royalty: f64,
    postgres: f64,
    all: f64,
}

#[derive(Debug, Serialize)]
struct WrittenLine {
    way: &'static str,
    events_per_core_s: f64,
    events_per_postgres_core_s: f64,
    events_per_s: f64,
    cpu_us: f64,
}

#[derive(Debug, Serialize)]
struct Goal {
    what: String,
    measured: f64,
    met: bool,
}

impl Report {
    /// Sums up.
    pub(crate) fn new(effort: Effort, acks: Vec<Acks>, pipeline: Ridden, listeners: Ridden, written: [Written; 3]) -> Self {
        let ours = acks.first().map(|ours| (median(&ours.per_s), median_us(&ours.cpu))).unwrap_or_default();
        let acks: Vec<AckLine> = acks.iter().map(|line| AckLine::new(line, ours)).collect();
        let [merge, keyed, bare] = &written;
        let merge_of_copy = median(&ratios(&merge.per_core, &keyed.per_core));
        let (pipeline, listeners) = (RideLine::new(&pipeline), RideLine::new(&listeners));
        let CpuLine { edge, gateway, royalty, postgres, .. } = pipeline.cpu_us_per_event;
        let fleet = Fleet::of(Measured {
            edge_us: edge,
            gateway_us: gateway,
            royalty_us: royalty,
            postgres_us: postgres,
            buffer_per_s: acks.first().map_or(f64::NAN, |ours| ours.per_s),
        });
        let p99 = acks.first().map_or(f64::INFINITY, |ours| ours.p99_ms);
        let goals = vec![
            Goal::at_least("merged events per core over COPY of the same rows", merge_of_copy, GOAL_OF_COPY),
            Goal::at_most("acknowledgement at 80 % of maximum, p99, ms", p99, GOAL_P99_MS),
            Goal::at_least("posts in one origin request, 200 listeners a shard", listeners.posts_per_request, GOAL_RIDERS),
        ];
        Self {
            machine: machine::machine(),
            at: machine::now(),
            rounds: effort.rounds,
            connections: effort.connections,
            acks,
            pipeline,
            listeners,
            fleet,
            merge_of_copy,
            merge_of_bare_copy: median(&ratios(&merge.per_core, &bare.per_core)),
            merge_of_copy_in_postgres: median(&ratios(&merge.per_postgres_core, &keyed.per_postgres_core)),
            written: written.iter().map(WrittenLine::new).collect(),
            goals,
        }
    }

    /// For people.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("Heartbeats, {} rounds, {} connections. {}, {}.\n\n", self.rounds, self.connections, self.machine, self.at);
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "| keeps a post, acknowledged from disk | posts/s | posts/s and core | CPU-us | p50 ms | p99 ms | ours, posts/s | ours, per core |"
        )?;
        writeln!(text, "|---|---|---|---|---|---|---|---|")?;
        for line in &self.acks {
            let AckLine { store, per_s, per_s_and_core, cpu_us, p50_ms, p99_ms, ours_over_it, ours_over_it_per_core, .. } = line;
            writeln!(
                text,
                "| {store} | {per_s:.0} | {per_s_and_core:.0} | {cpu_us:.0} | {p50_ms:.1} | {p99_ms:.1} | {ours_over_it:.2} x | {ours_over_it_per_core:.2} x |"
            )?;
        }
        writeln!(
            text,
            "\np50 and p99 at 80 % of the most, at 4,000 posts/s at most.\n\n| from post to merged | one buffer, as fast as it takes | 200 listeners on a shard |\n|---|---|---|"
        )?;
        let row = |text: &mut String, what: &str, figure: &dyn Fn(&RideLine) -> f64, digits: usize| {
            writeln!(text, "| {what} | {:.digits$} | {:.digits$} |", figure(&self.pipeline), figure(&self.listeners))
        };
        row(text, "posts/s", &|line| line.per_s, 1)?;
        row(text, "posts in one origin request", &|line| line.posts_per_request, 1)?;
        row(text, "durable events/s and core", &|line| line.events_per_s_and_core, 0)?;
        row(text, "CPU-us an event: workerd", &|line| line.cpu_us_per_event.edge, 0)?;
        row(text, "gateway", &|line| line.cpu_us_per_event.gateway, 0)?;
        row(text, "royalty (merge and fold)", &|line| line.cpu_us_per_event.royalty, 0)?;
        row(text, "PostgreSQL", &|line| line.cpu_us_per_event.postgres, 0)?;
        row(text, "all", &|line| line.cpu_us_per_event.all, 0)?;
        writeln!(
            text,
            "\n| {BATCH_EVENTS} events a commit | events/s and core | by PostgreSQL's CPU alone | events/s | CPU-us |\n|---|---|---|---|---|"
        )?;
        for WrittenLine { way, events_per_core_s, events_per_postgres_core_s, events_per_s, cpu_us } in &self.written {
            writeln!(text, "| {way} | {events_per_core_s:.0} | {events_per_postgres_core_s:.0} | {events_per_s:.0} | {cpu_us:.1} |")?;
        }
        writeln!(
            text,
            "\nMerge over COPY, per core: {:.2} x (same key), {:.2} x (no key); by PostgreSQL's CPU alone {:.2} x.\n",
            self.merge_of_copy, self.merge_of_bare_copy, self.merge_of_copy_in_postgres
        )?;
        writeln!(text, "{}", self.fleet.markdown())?;
        for Goal { what, measured, met } in &self.goals {
            writeln!(text, "- {}: {what}: {measured:.2}", if *met { "met" } else { "MISSED" })?;
        }
        Ok(())
    }
}

impl AckLine {
    fn new(acks: &Acks, (ours_per_s, ours_us): (f64, f64)) -> Self {
        let (per_s, cpu_us) = (median(&acks.per_s), median_us(&acks.cpu));
        Self {
            store: acks.name,
            per_s,
            per_s_and_core: 1e6 / cpu_us,
            cpu_us,
            p50_ms: ms(acks.latencies.percentile(50)),
            p99_ms: ms(acks.latencies.percentile(99)),
            p99_ms_of_rounds: acks.p99.iter().copied().map(ms).collect(),
            ours_over_it: ours_per_s / per_s,
            ours_over_it_per_core: cpu_us / ours_us,
        }
    }
}

impl RideLine {
    fn new(ridden: &Ridden) -> Self {
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / ridden.merged.max(1) as f64;
        let cpu = ridden.cpu;
        let all = cpu.edge + cpu.gateway + cpu.royalty + cpu.postgres;
        Self {
            posts: ridden.posts,
            batches: ridden.batches,
            posts_per_request: ridden.posts as f64 / ridden.batches.max(1) as f64,
            per_s: ridden.per_s,
            seconds_until_merged: ridden.elapsed.as_secs_f64(),
            cpu_us_per_event: CpuLine {
                edge: each(cpu.edge),
                gateway: each(cpu.gateway),
                royalty: each(cpu.royalty),
                postgres: each(cpu.postgres),
                all: each(all),
            },
            events_per_s_and_core: 1e6 / each(all),
        }
    }
}

impl WrittenLine {
    fn new(written: &Written) -> Self {
        let per_core = median(&written.per_core);
        Self {
            way: written.name,
            events_per_core_s: per_core,
            events_per_postgres_core_s: median(&written.per_postgres_core),
            events_per_s: median(&written.per_s),
            cpu_us: 1e6 / per_core,
        }
    }
}

impl Goal {
    fn at_least(what: &str, measured: f64, goal: f64) -> Self {
        Self { what: format!("{what} (at least {goal})"), measured, met: measured >= goal }
    }

    fn at_most(what: &str, measured: f64, goal: f64) -> Self {
        Self { what: format!("{what} (at most {goal})"), measured, met: measured <= goal }
    }
}

/// A round's case over the same round's other case: noise that falls on both falls out.
fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn median_us(durations: &[Duration]) -> f64 {
    median(&durations.iter().map(|duration| duration.as_secs_f64() * 1e6).collect::<Vec<_>>())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_round_and_their_median_ignores_one_bad_round() {
        assert!((median(&ratios(&[50.0, 5.0, 60.0], &[100.0, 100.0, 100.0])) - 0.5).abs() < 1e-9);
        assert!((median(&[]) - 0.0).abs() < f64::EPSILON);
        assert!(Goal::at_least("", 0.5, 0.5).met && !Goal::at_most("", 20.1, 20.0).met);
    }
}
