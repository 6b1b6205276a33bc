//! How iterations are paced: closed models, in which a VU begins its next iteration when its last ended, and the open model, in which
//! iterations begin by the clock and are dropped, and counted as dropped, when no VU is free.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    failure::Failure,
    halt::Halt,
    metrics::{Sample, Tags},
    options::{Executor, Scenario},
    run::Run,
    schedule::Arrivals,
    vu::{Role, Vu},
};

/// QuickJS gets half a megabyte of it; the rest is HTTP.
const THREAD_STACK_BYTES: usize = 2 << 20;

/// One scenario, ready to run.
pub(crate) struct Job {
    /// What it belongs to.
    pub(crate) run: Arc<Run>,
    /// Its name in options.
    pub(crate) name: String,
    /// Its options.
    pub(crate) scenario: Scenario,
    /// On every sample.
    pub(crate) tags: Tags,
    /// What `setup()` returned, JSON.
    pub(crate) data: Option<String>,
}

/// VUs waiting for iterations of an open model.
#[derive(Default)]
struct Crew {
    state: Mutex<CrewState>,
    changed: Condvar,
}

#[derive(Default)]
struct CrewState {
    /// Iterations due that no VU has taken yet.
    due: u32,
    /// VUs that wait.
    idle: u32,
    /// VUs that exist.
    alive: u32,
    /// Nothing more will be due.
    closed: bool,
}

impl Crew {
    fn lock(&self) -> MutexGuard<'_, CrewState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an iteration; false when there will be none.
    fn take(&self) -> bool {
        let mut state = self.lock();
        state.idle += 1;
        self.changed.notify_all();
        while state.due == 0 && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle -= 1;
        let taken = state.due > 0;
        state.due -= u32::from(taken);
        taken
    }
}

impl Job {
    /// Runs the scenario to its end, graceful stop included.
    pub(crate) fn carry_out(self) {
        let job = Arc::new(self);
        let halt = Arc::new(Halt::under(&job.run.halt));
        let begin = Instant::now() + job.scenario.start_time;
        if !halt.sleep_until(begin, Halt::is_ending) {
            return;
        }
        let vus = match &job.scenario.executor {
            Executor::ConstantVus { vus, .. } => closed(&job, &halt, *vus, None, None),
            Executor::PerVuIterations { vus, iterations, .. } => closed(&job, &halt, *vus, Some(*iterations), None),
            Executor::SharedIterations { vus, iterations, .. } => closed(&job, &halt, *vus, None, Some(*iterations)),
            Executor::ArrivalRate { stages, start_per_s, pre_allocated, max_vus } => {
                open(&job, &halt, Arrivals::new(stages.clone(), *start_per_s), *pre_allocated, *max_vus)
            }
        };
        halt.end();
        wait(vus, &halt, job.scenario.graceful_stop);
    }

    fn vu(&self, halt: &Arc<Halt>) -> Result<Vu, Failure> {
        let role =
            Role { id: self.run.counts.next_vu(), tags: self.tags.clone(), env: self.scenario.env.clone(), root_group: String::new() };
        let vu = Vu::new(&self.run, halt, role)?;
        if let Some(data) = &self.data {
            vu.give(data)?;
        }
        if !vu.exports(&self.scenario.exec) {
            return Err(Failure::script(format!("scenario {:?}: the script exports no function {:?}", self.name, self.scenario.exec)));
        }
        Ok(vu)
    }

    /// A thread with a VU that lives as long as `work` on it.
    fn spawn(self: &Arc<Self>, halt: &Arc<Halt>, work: impl FnOnce(Option<&Vu>) + Send + 'static) -> Option<JoinHandle<()>> {
        let (job, halt) = (Arc::clone(self), Arc::clone(halt));
        self.run.counts.vus.fetch_add(1, Ordering::Relaxed);
        let run = Arc::clone(&self.run);
        let body = move || {
            match job.vu(&halt) {
                Ok(vu) => work(Some(&vu)),
                Err(failure) => {
                    job.run.fail(failure);
                    work(None);
                }
            }
            job.run.counts.vus.fetch_sub(1, Ordering::Relaxed);
        };
        match thread::Builder::new().stack_size(THREAD_STACK_BYTES).spawn(body) {
            Ok(handle) => Some(handle),
            Err(error) => {
                run.fail(Failure::config(format!("no more threads for VUs: {error}")));
                None
            }
        }
    }
}

/// A closed model: `each` iterations a VU, or `shared` by all, or as many as the time allows.
fn closed(job: &Arc<Job>, halt: &Arc<Halt>, vus: u32, each: Option<u64>, shared: Option<u64>) -> Vec<JoinHandle<()>> {
    let left = Arc::new(AtomicU64::new(shared.unwrap_or(u64::MAX)));
    let begun = Instant::now();
    let until = begun + job.scenario.executor.duration();
    let work = |_| {
        let (job_of_vu, halt_of_vu, left) = (Arc::clone(job), Arc::clone(halt), Arc::clone(&left));
        job.spawn(halt, move |vu| {
            let Some(vu) = vu else { return };
            for iteration in 0..each.unwrap_or(u64::MAX) {
                let over = halt_of_vu.is_ending() || Instant::now() >= until;
                if over || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
                    break;
                }
                vu.iterate(&job_of_vu.scenario.exec, iteration);
            }
        })
    };
    let handles: Vec<_> = (0..vus).filter_map(work).collect();
    while Instant::now() < until && !halt.is_ending() && handles.iter().any(|handle| !handle.is_finished()) {
        halt.sleep_until((Instant::now() + Duration::from_millis(20)).min(until), Halt::is_ending);
    }
    handles
}

/// The open model.
fn open(job: &Arc<Job>, halt: &Arc<Halt>, arrivals: Arrivals, pre_allocated: u32, max_vus: u32) -> Vec<JoinHandle<()>> {
    let crew = Arc::new(Crew::default());
    let hire = || {
        crew.lock().alive += 1;
        let (crew, job_of_vu) = (Arc::clone(&crew), Arc::clone(job));
        job.spawn(halt, move |vu| {
            if let Some(vu) = vu {
                let mut iteration = 0;
                while crew.take() {
                    vu.iterate(&job_of_vu.scenario.exec, iteration);
                    iteration += 1;
                }
            }
            crew.lock().alive -= 1;
            crew.changed.notify_all();
        })
    };
    let mut handles: Vec<_> = (0..pre_allocated).filter_map(|_| hire()).collect();
    ready(&crew, pre_allocated, halt);

    let begun = Instant::now();
    let until = begun + job.scenario.executor.duration();
    for at in arrivals {
        if !halt.sleep_until(begun + at, Halt::is_ending) {
            break;
        }
        let mut state = crew.lock();
        let free = state.idle > state.due;
        let may_hire = state.alive < max_vus;
        if free || may_hire {
            state.due += 1;
            drop(state);
            crew.changed.notify_all();
            if !free {
                handles.extend(hire());
            }
        } else {
            drop(state);
            job.run.counts.dropped.fetch_add(1, Ordering::Relaxed);
            job.run.take([Sample { metric: "dropped_iterations".into(), value: 1.0, tags: Arc::new(job.tags.clone()) }]);
        }
    }
    halt.sleep_until(until, Halt::is_ending);
    crew.lock().closed = true;
    crew.changed.notify_all();
    handles
}

/// Waits until the VUs that were promised beforehand have read the script: their time is not the system's.
fn ready(crew: &Crew, vus: u32, halt: &Halt) {
    let mut state = crew.lock();
    while state.idle < vus && !halt.is_ending() {
        state = crew.changed.wait_timeout(state, Duration::from_millis(50)).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Lets running iterations finish for `graceful_stop`, then cuts them off.
fn wait(handles: Vec<JoinHandle<()>>, halt: &Halt, graceful_stop: Duration) {
    let last = Instant::now() + graceful_stop;
    while Instant::now() < last && !halt.is_cut() && handles.iter().any(|handle| !handle.is_finished()) {
        halt.sleep_until((Instant::now() + Duration::from_millis(20)).min(last), Halt::is_cut);
    }
    halt.cut();
    for handle in handles {
        // A VU that panicked has said so on stderr.
        let _ = handle.join();
    }
}
