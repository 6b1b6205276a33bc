//! Time to first byte at the edge. Cases alternate, one request each in turn, so that whatever else the machine does falls on all alike,
//! and each stands beside an empty Worker on the same workerd: what is above it is ours.
//!
//! A cold segment is one that this edge has not been asked for before; each is asked for once. With a delay proxy between edge and gateway
//! the same is measured as from a distance.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use anyhow::{Result, bail};

use crate::{
    System,
    client::Client,
    delay_proxy::DelayProxy,
    machine,
    running::Worker,
    scene::{Run, Scene, Song},
    stats::{Samples, ms, ratio},
};

/// Asked before the clock starts: code is compiled, cards and sheets are cached, connections stand.
const WARM_UP: usize = 20;

/// `bench ttfb`
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    system: System,
    /// Warm requests of each case.
    #[arg(long, default_value_t = 500)]
    rounds: usize,
    /// Cold segments of each case, at most.
    #[arg(long, default_value_t = 100)]
    cold: usize,
    /// Round trips between edge and gateway, ms.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 20, 50, 100])]
    delays: Vec<u64>,
    /// The running edge's variables [default: edge-vars.json beside run.json].
    #[arg(long, value_name = "FILE")]
    vars: Option<PathBuf>,
}

struct Case {
    name: String,
    samples: Samples,
}

impl Case {
    fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), samples: Samples::default() }
    }
}

/// Measures, and answers a Markdown table.
///
/// # Errors
/// When the system does not answer as it should.
pub(crate) fn run(options: &Options) -> Result<String> {
    let run = Run::read(&options.system.run_json)?;
    let scene = Scene::set(&run)?;
    let empty = Worker::empty(&options.system.root)?;
    eprintln!("bench: {} songs; warm cases, {} rounds", scene.songs.len(), options.rounds);
    let warm = warm(&run, &scene, &empty, options.rounds)?;
    let mut cold = Vec::new();
    for delay in &options.delays {
        eprintln!("bench: cold segments, the gateway {delay} ms away");
        cold.push(cold_case(options, &run, &scene, *delay)?);
    }
    Ok(table(&warm, &cold))
}

/// The empty Worker first, then the edge's warm answers.
fn warm(run: &Run, scene: &Scene, empty: &Worker, rounds: usize) -> Result<Vec<Case>> {
    let Some(song) = scene.songs.first() else { bail!("no song") };
    let Some(segment) = song.segments.first() else { bail!("no segment") };
    let mut edge = Client::new(&run.edge)?;
    let mut idle = Client::new(&empty.url)?;
    let manifest_headers = [("authorization", scene.authorization.as_str()), ("accept", "application/json")];
    let mut cases = ["empty Worker", "manifest", "media playlist", "segment, warm"].map(Case::new);
    for round in 0..WARM_UP + rounds {
        let answers =
            [idle.get("/", &[])?, edge.get(&song.manifest, &manifest_headers)?, edge.get(&song.playlist, &[])?, edge.get(segment, &[])?];
        for (case, answer) in cases.iter_mut().zip(answers) {
            if answer.status != 200 {
                bail!("{}: {} {:.200}", case.name, answer.status, String::from_utf8_lossy(&answer.body));
            }
            if round >= WARM_UP {
                case.samples.push(answer.first_byte);
            }
        }
    }
    Ok(cases.into())
}

/// An edge of its own, whose caches are empty, `delay_ms` from the gateway.
fn cold_case(options: &Options, run: &Run, scene: &Scene, delay_ms: u64) -> Result<Case> {
    let vars = options.vars.clone().unwrap_or_else(|| options.system.run_json.with_file_name("edge-vars.json"));
    let upstream = run.gateway.trim_start_matches("http://").trim_end_matches('/');
    let proxy = DelayProxy::start(upstream, Duration::from_millis(delay_ms))?;
    let far = if delay_ms == 0 { run.gateway.clone() } else { proxy.url() };
    let edge = Worker::edge(&options.system.root, &vars, &far)?;
    let mut client = Client::new(&edge.url)?;
    // The sheet is cached before the clock starts: a player has asked for its playlist by then.
    for song in &scene.songs {
        client.get(&song.playlist, &[])?;
    }
    let mut case = Case::new(format!("segment, cold, gateway {delay_ms} ms away"));
    for path in spread(&scene.songs).take(options.cold) {
        let answer = client.get(path, &[])?;
        if answer.status != 200 {
            bail!("{path}: {} {:.200}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        case.samples.push(answer.first_byte);
    }
    Ok(case)
}

/// Segments of all songs in turn, the last first: what an edge fetches ahead is the one after, which has been asked for then.
fn spread(songs: &[Song]) -> impl Iterator<Item = &str> {
    let longest = songs.iter().map(|song| song.segments.len()).max().unwrap_or(0);
    (0..longest).rev().flat_map(move |n| songs.iter().filter_map(move |song| song.segments.get(n)).map(String::as_str))
}

fn table(warm: &[Case], cold: &[Case]) -> String {
    let baseline = warm.first().map(|case| case.samples.clone()).unwrap_or_default();
    let (base_p50, base_p99) = (baseline.percentile(50), baseline.percentile(99));
    let mut text = format!(
        "Time to first byte, milliseconds, one keep-alive connection over loopback. {}, {}.\n\n\
         | case | requests | p50 | p99 | p50 to empty | p99 to empty | added p50 | added p99 |\n|---|---|---|---|---|---|---|---|\n",
        machine::machine(),
        machine::now(),
    );
    for Case { name, samples } in warm.iter().chain(cold) {
        let (p50, p99) = (samples.percentile(50), samples.percentile(99));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} | {} |",
            samples.len(),
            ms(p50),
            ms(p99),
            ratio(p50, base_p50),
            ratio(p99, base_p99),
            ms(p50.saturating_sub(base_p50)),
            ms(p99.saturating_sub(base_p99)),
        );
    }
    text
}
