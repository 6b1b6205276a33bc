//! One role as a child process: started, started again with growing pauses, stopped.
use std::{
    ffi::OsString,
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use platform::Shutdown;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child as Process, Command};

use super::board::Board;
use crate::role::Role;

const BACK_OFF_FIRST: Duration = Duration::from_millis(200);
const BACK_OFF_MAX: Duration = Duration::from_secs(15);
/// A role that lived this long does not die of its start: its next death starts with the first pause.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);
/// How long a role may take to finish what it does. The gateway and the services share the supervisor's own time.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
const TAIL_LINES: usize = 8;
/// A log line is JSON and may be long; its message stands in front.
const LINE_CHARS_MAX: usize = 240;
const TAIL_BYTES: u64 = 16 * 1024;

/// A role that should be running.
pub(super) struct Child {
    role: Role,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
}

impl Child {
    pub(super) fn new(role: Role, program: PathBuf, arguments: Vec<OsString>, log: PathBuf) -> Self {
        Self { role, program, arguments, log }
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Runs the role, and runs it again whenever it ends, until a stop is asked for.
    pub(super) async fn keep_alive(self, board: &Arc<Board>, stop: &Shutdown) {
        let mut pause = BACK_OFF_FIRST;
        loop {
            let started = Instant::now();
            let how = match self.start() {
                Ok(mut process) => {
                    // Taken out, because `wait` would close it; held until the process has ended.
                    let _tie = process.stdin.take();
                    if let Some(pid) = process.id() {
                        board.enter(self.role, pid, &self.log);
                    }
                    tokio::select! {
                        ended = process.wait() => ended.map_or_else(|error| error.to_string(), how_it_ended),
                        () = stop.requested() => return self.stop(process).await,
                    }
                }
                Err(error) => format!("it cannot be started: {error}"),
            };
            if stop.is_requested() {
                return;
            }
            if started.elapsed() >= HEALTHY_AFTER {
                pause = BACK_OFF_FIRST;
            }
            eprintln!(
                "! {} died ({how}); it is started again in {} ms; its last words:\n{}",
                self.role.name(),
                pause.as_millis(),
                last_words(&self.log)
            );
            if !stop.pause(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)).await {
                return;
            }
            pause = (pause * 2).min(BACK_OFF_MAX);
        }
    }

    fn start(&self) -> std::io::Result<Process> {
        let log = File::options().append(true).create(true).open(&self.log)?;
        // A process group of its own: Ctrl-C in the terminal reaches the supervisor alone, which stops the roles in order.
        // The open standard input is what ties the child to this process; nothing is ever written to it.
        Command::new(&self.program)
            .args(&self.arguments)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
    }

    async fn stop(&self, mut process: Process) {
        if let Some(pid) = process.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP_PATIENCE, process.wait()).await.is_err() {
            eprintln!("! {} did not stop within {} s and was killed", self.role.name(), STOP_PATIENCE.as_secs());
            let _ = process.kill().await;
        }
    }
}

fn how_it_ended(status: ExitStatus) -> String {
    status.signal().map_or_else(|| status.to_string(), |signal| format!("killed by signal {signal}"))
}

/// The end of a log, indented, with advice for the troubles that are not the program's fault.
fn last_words(log: &Path) -> String {
    let text = tail(log).unwrap_or_default();
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let lines = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
    let mut words: Vec<String> =
        lines.iter().map(|line| format!("    {}", line.chars().take(LINE_CHARS_MAX).collect::<String>())).collect();
    let lower = lines.join("\n").to_lowercase();
    if lower.contains("address already in use") {
        words.push("  Its port is taken by another program: stop that one, or change listen.* in the configuration.".to_owned());
    } else if lower.contains("no space left on device") {
        words.push("  The disk is full: free some space.".to_owned());
    }
    words.push(format!("  its log: {}", log.display()));
    words.join("\n")
}

fn tail(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot start /bin/sh should stop")]
    use super::*;

    #[tokio::test]
    async fn a_role_that_dies_is_started_again_and_entered_with_its_new_process() {
        let state = std::env::temp_dir().join(format!("antiphon-all-{}", std::process::id()));
        std::fs::create_dir_all(&state).unwrap();
        let board = Arc::new(Board::new(&state));
        let script = format!("echo x >> {0}/starts; test $(wc -l < {0}/starts) -ge 2 && sleep 60; exit 7", state.display());
        let child = Child::new(Role::Catalog, "/bin/sh".into(), vec!["-c".into(), script.into()], state.join("catalog.log"));
        let stop = Shutdown::new();
        let entered = async {
            let pid = || {
                std::fs::read_to_string(state.join("processes.json"))
                    .ok()
                    .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok()?.get(0)?.get("pid")?.as_u64())
            };
            let mut pids = std::collections::BTreeSet::new();
            while pids.len() < 2 {
                pids.extend(pid());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.request();
        };
        tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(child.keep_alive(&board, &stop), entered) }).await.unwrap();
        std::fs::remove_dir_all(state).unwrap();
    }

    #[test]
    fn the_last_words_say_what_to_do_about_a_taken_port() {
        let log = std::env::temp_dir().join(format!("antiphon-words-{}.log", std::process::id()));
        std::fs::write(&log, "one\n".repeat(100) + "Error: Address already in use (os error 98)\n").unwrap();
        let words = last_words(&log);
        assert_eq!(words.lines().count(), TAIL_LINES + 2, "{words}");
        assert!(words.contains("change listen.*"), "{words}");
        std::fs::remove_file(log).unwrap();
    }
}
