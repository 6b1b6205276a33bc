//! CPU of processes, by the kernel's run-time counters: nanoseconds of every thread and, for PostgreSQL, of every backend.

use std::{fs, path::Path, time::Duration};

/// User and system time of a process's living threads.
pub(crate) fn of(pid: u32) -> Duration {
    threads(&Path::new("/proc").join(pid.to_string()))
}

/// The same of the process and its children: PostgreSQL is a process for each connection.
pub(crate) fn of_family(pid: u32) -> Duration {
    children(pid).into_iter().map(of).sum::<Duration>() + of(pid)
}

/// Of the calling thread.
pub(crate) fn of_this_thread() -> Duration {
    run_time(Path::new("/proc/thread-self/schedstat")).unwrap_or_default()
}

/// The children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|child: &u32| parent(*child) == Some(pid)).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the program's name in brackets, may hold spaces.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn threads(process: &Path) -> Duration {
    let Ok(tasks) = fs::read_dir(process.join("task")) else { return Duration::ZERO };
    tasks.flatten().filter_map(|task| run_time(&task.path().join("schedstat"))).sum()
}

fn run_time(schedstat: &Path) -> Option<Duration> {
    fs::read_to_string(schedstat).ok()?.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}
