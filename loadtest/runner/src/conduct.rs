//! A run from first to last: init, options, setup, scenarios, teardown, thresholds, summary.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    executor::Job,
    failure::{Failure, exit},
    halt::Halt,
    metrics::{Sample, Tags},
    options::Options,
    run::Run,
    summary,
    vu::{Broken, Role, Vu},
};

const TICK: Duration = Duration::from_secs(1);
const PROGRESS_EVERY: u64 = 5;

/// What the command line asks for.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// The script.
    pub(crate) script: PathBuf,
    /// `__ENV`.
    pub(crate) env: BTreeMap<String, String>,
    /// Every scenario takes this long instead.
    pub(crate) duration: Option<Duration>,
    /// Hosts that may be loaded besides this machine.
    pub(crate) allowed_hosts: Vec<String>,
    /// Where to write the summary's data as JSON.
    pub(crate) summary_export: Option<PathBuf>,
    /// No progress lines.
    pub(crate) quiet: bool,
}

/// Carries the orders out.
///
/// # Errors
/// With the exit code: thresholds that failed (99), options that cannot be honoured (104), a script that threw (107).
pub(crate) fn conduct(orders: &Orders) -> Result<(), Failure> {
    let script = std::fs::canonicalize(&orders.script).map_err(|error| Failure::script(format!("{}: {error}", orders.script.display())))?;
    let mut run = Run::new(script.clone(), orders.env.clone(), orders.allowed_hosts.clone());
    let options = read_options(script, orders)?;
    run.user_agent.clone_from(&options.user_agent);
    run.discard_bodies = options.discard_bodies;
    let run = Arc::new(run);

    let setup_tags = with(&options.tags, &[("scenario", "")]);
    let alone = |group: &str| Role { id: 0, tags: setup_tags.clone(), root_group: group.to_owned(), ..Role::default() };
    let first = Vu::new(&run, &run.halt, alone("::setup"))?;
    accept(&run, &options, &first)?;

    run.registry().start();
    let data = if first.exports("setup") { first.call_with_data(None, "setup")? } else { None };
    run_scenarios(&run, &options, data.as_deref(), orders.quiet)?;
    let elapsed = run.registry().elapsed();

    // Its own VU: the run may have been cut off, teardown still cleans up.
    let last = Vu::new(&run, &Arc::new(Halt::default()), alone("::teardown"))?;
    if last.exports("teardown") {
        last.call_with_data(data.as_deref(), "teardown")?;
    }
    summarise(&run, &options, &last, data.as_deref(), elapsed, orders)?;
    judge(&run, &options)
}

fn read_options(script: PathBuf, orders: &Orders) -> Result<Options, Failure> {
    let scratch = Arc::new(Run::new(script, orders.env.clone(), orders.allowed_hosts.clone()));
    let vu = Vu::new(&scratch, &scratch.halt, Role::default())?;
    Options::read(&vu.options()?, orders.duration)
}

/// Refuses what can be refused before any load: thresholds on nothing, scenarios that call nothing.
fn accept(run: &Run, options: &Options, vu: &Vu) -> Result<(), Failure> {
    let mut registry = run.registry();
    for threshold in &options.thresholds {
        threshold.check(&registry)?;
        if let Some(selector) = &threshold.selector {
            registry.watch(&threshold.metric, selector.clone());
        }
    }
    drop(registry);
    match options.scenarios.iter().find(|(_, scenario)| !vu.exports(&scenario.exec)) {
        Some((name, scenario)) => Err(Failure::script(format!("scenario {name:?}: the script exports no function {:?}", scenario.exec))),
        None => Ok(()),
    }
}

fn run_scenarios(run: &Arc<Run>, options: &Options, data: Option<&str>, quiet: bool) -> Result<(), Failure> {
    let jobs: Vec<_> = options
        .scenarios
        .iter()
        .map(|(name, scenario)| {
            let mut tags = with(&options.tags, &[("scenario", name)]);
            tags.extend(scenario.tags.clone());
            if !quiet {
                let executor = &scenario.executor;
                eprintln!("loadtest-runner: {name}: {} for {:?}, at most {} VUs", executor.name(), executor.duration(), executor.vus_max());
            }
            Job { run: Arc::clone(run), name: name.clone(), scenario: scenario.clone(), tags, data: data.map(str::to_owned) }
        })
        .collect();
    let vus_max: u32 = options.scenarios.values().map(|scenario| scenario.executor.vus_max()).sum();
    let watching = Arc::new(Halt::default());
    thread::scope(|scope| {
        let watcher = Arc::clone(&watching);
        scope.spawn(move || watch(run, options, &watcher, vus_max, quiet));
        let scenarios: Vec<_> = jobs.into_iter().map(|job| scope.spawn(move || job.carry_out())).collect();
        for scenario in scenarios {
            // A scenario that panicked has said so on stderr.
            let _ = scenario.join();
        }
        watching.end();
    });
    match run.failure() {
        Some(failure) if failure.code != exit::THRESHOLDS => Err(failure),
        Some(failure) => {
            eprintln!("loadtest-runner: {failure}");
            Ok(())
        }
        None => Ok(()),
    }
}

/// Once a second: the gauges, thresholds that abort, and now and then a line of progress.
fn watch(run: &Run, options: &Options, over: &Halt, vus_max: u32, quiet: bool) {
    let tags = Arc::new(options.tags.clone());
    let begun = Instant::now();
    let mut ticks = 0;
    loop {
        let counts = &run.counts;
        let (active, vus) = (counts.active.load(Ordering::Relaxed), counts.vus.load(Ordering::Relaxed));
        let gauge = |metric: &str, value: u32| Sample { metric: metric.into(), value: f64::from(value), tags: Arc::clone(&tags) };
        run.take([gauge("vus", active), gauge("vus_max", vus)]);
        let crossed = {
            let registry = run.registry();
            options.thresholds.iter().find(|threshold| threshold.aborts(&registry)).cloned()
        };
        if let Some(threshold) = crossed {
            let message = format!("aborted: threshold {:?} on {:?} was crossed", threshold.expression, threshold.written);
            run.fail(Failure { code: exit::THRESHOLDS, message });
        }
        if !quiet && ticks % PROGRESS_EVERY == 0 {
            let (done, dropped) = (counts.done.load(Ordering::Relaxed), counts.dropped.load(Ordering::Relaxed));
            eprintln!(
                "loadtest-runner: {:>4} s, {active} of {vus} VUs busy (max {vus_max}), {done} iterations, {dropped} dropped",
                begun.elapsed().as_secs()
            );
        }
        ticks += 1;
        if !over.sleep_until(Instant::now() + TICK, Halt::is_ending) {
            return;
        }
    }
}

fn summarise(run: &Run, options: &Options, vu: &Vu, setup: Option<&str>, elapsed: Duration, orders: &Orders) -> Result<(), Failure> {
    let (data, text) = {
        let registry = run.registry();
        (summary::data(&registry, options, setup, elapsed).to_string(), summary::text(&registry, options, elapsed))
    };
    if let Some(path) = &orders.summary_export {
        write(path, &data)?;
    }
    let counts = &run.counts;
    let (threw, interrupted) = (counts.threw.load(Ordering::Relaxed), counts.interrupted.load(Ordering::Relaxed));
    if threw > 0 || interrupted > 0 {
        eprintln!("loadtest-runner: {threw} iterations threw, {interrupted} were cut off at the end");
    }
    if !vu.exports("handleSummary") {
        print!("{text}");
        return Ok(());
    }
    let outputs = vu.call_json("handleSummary", &data).map_err(|broken| Failure::script(format!("handleSummary: {}", said(broken))))?;
    let outputs: BTreeMap<String, String> = serde_json::from_str(outputs.as_deref().unwrap_or("{}"))
        .map_err(|error| Failure::script(format!("handleSummary must return {{file: text}}: {error}")))?;
    for (place, text) in outputs {
        match place.as_str() {
            "stdout" => print!("{text}"),
            "stderr" => eprint!("{text}"),
            path => write(Path::new(path), &text)?,
        }
    }
    let _ = std::io::stdout().flush();
    Ok(())
}

fn judge(run: &Run, options: &Options) -> Result<(), Failure> {
    let registry = run.registry();
    let failed: Vec<_> = options
        .thresholds
        .iter()
        .filter(|threshold| !threshold.holds(&registry))
        .map(|threshold| format!("{} {}", threshold.written, threshold.expression))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure { code: exit::THRESHOLDS, message: format!("thresholds were crossed: {}", failed.join("; ")) })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::config(format!("{}: {error}", path.display())))
}

fn with(tags: &Tags, more: &[(&str, &str)]) -> Tags {
    let more = more.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    tags.clone().into_iter().chain(more).collect()
}

fn said(broken: Broken) -> String {
    match broken {
        Broken::Interrupted => "interrupted".to_owned(),
        Broken::Threw(message) => message,
    }
}

impl Vu {
    fn call_with_data(&self, data: Option<&str>, name: &str) -> Result<Option<String>, Failure> {
        if let Some(data) = data {
            self.give(data)?;
        }
        self.call(name).map_err(|broken| Failure::script(format!("{name}(): {}", said(broken))))
    }
}
