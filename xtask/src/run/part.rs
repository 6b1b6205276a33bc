//! One supervised program of a system: started, watched, started again when it dies, stopped in an orderly way.
//!
//! Each part is a process group of its own, so that Ctrl-C in the terminal reaches only us and we stop the parts in
//! order. Each is told to end when this process does, even by `kill -9`: by the kernel where `setpriv` is installed,
//! and by the end of its standard input where the program watches that.
use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::shell;

/// The first pause before a dead part is started again; it doubles with each death up to the maximum.
const BACK_OFF_FIRST: Duration = Duration::from_millis(250);
const BACK_OFF_MAX: Duration = Duration::from_secs(15);
/// A part that lived this long does not die of its start: its next death starts with the first pause.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);
/// How many lines of a part's log are shown when it dies.
const TAIL_LINES: usize = 12;
/// A log line is JSON and may be long; its message stands in front.
const LINE_CHARS_MAX: usize = 240;

/// How a program is started, and what it understands as "stop now, in good order".
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) command: Command,
    pub(crate) log: PathBuf,
    pub(crate) stop: Signal,
    /// Whether the program writes to the terminal itself; its log file is then its own affair.
    pub(crate) speaks: bool,
}

/// A program that should be running.
pub(crate) struct Part {
    program: Program,
    running: Option<(Child, Option<ChildStdin>)>,
    started_at: Instant,
    pause: Duration,
    start_at: Option<Instant>,
}

/// What a look at a part found.
pub(crate) enum Change {
    /// As before.
    None,
    /// It died; it is started again after a pause.
    Died { status: ExitStatus, again_in: Duration },
    /// It runs again.
    Restarted,
}

impl Part {
    /// Starts the program.
    pub(crate) fn start(program: Program) -> Result<Self> {
        let mut part = Self { program, running: None, started_at: Instant::now(), pause: BACK_OFF_FIRST, start_at: None };
        part.spawn()?;
        Ok(part)
    }

    /// The part's name in run.json and in messages.
    pub(crate) fn name(&self) -> &'static str {
        self.program.name
    }

    /// Where the part's own words are.
    pub(crate) fn log(&self) -> &Path {
        &self.program.log
    }

    /// The process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|(child, _)| child.id())
    }

    /// Looks whether the part lives; starts it again when its pause is over.
    ///
    /// # Errors
    /// When the program cannot be started at all.
    pub(crate) fn look(&mut self) -> Result<Change> {
        if let Some((child, _)) = &mut self.running {
            let Some(status) = child.try_wait().with_context(|| format!("{} cannot be watched", self.program.name))? else {
                return Ok(Change::None);
            };
            self.kill_group(Signal::KILL);
            self.running = None;
            if self.started_at.elapsed() >= HEALTHY_AFTER {
                self.pause = BACK_OFF_FIRST;
            }
            let again_in = self.pause;
            self.start_at = Some(Instant::now() + again_in);
            self.pause = (self.pause * 2).min(BACK_OFF_MAX);
            return Ok(Change::Died { status, again_in });
        }
        if self.start_at.is_some_and(|at| at <= Instant::now()) {
            self.spawn()?;
            return Ok(Change::Restarted);
        }
        Ok(Change::None)
    }

    /// The last lines of the log and, where they show a well-known trouble, what to do about it.
    pub(crate) fn last_words(&self) -> String {
        last_words(&self.program.log)
    }

    /// Asks the part to end, waits, and ends it by force when it takes too long.
    pub(crate) fn stop(&mut self, patience: Duration) {
        let Some((mut child, stdin)) = self.running.take() else { return };
        drop(stdin);
        if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
            let _ = kill_process(pid, self.program.stop);
            let deadline = Instant::now() + patience;
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    fn spawn(&mut self) -> Result<()> {
        let program = &mut self.program;
        program.command.process_group(0).stdin(Stdio::piped());
        if program.speaks {
            program.command.stdout(Stdio::null()).stderr(Stdio::inherit());
        } else {
            let log = File::options()
                .append(true)
                .create(true)
                .open(&program.log)
                .with_context(|| format!("{} cannot be written", program.log.display()))?;
            program.command.stdout(log.try_clone()?).stderr(log);
        }
        let mut child = program
            .command
            .spawn()
            .with_context(|| format!("{} cannot be started ({})", program.name, shell::spelled(&program.command)))?;
        let stdin = child.stdin.take();
        self.running = Some((child, stdin));
        self.started_at = Instant::now();
        self.start_at = None;
        Ok(())
    }

    /// What a dead part may have left of its own children would hold its ports.
    fn kill_group(&self, signal: Signal) {
        if let Some(pid) = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(10));
    }
}

/// A command that gets a signal from the kernel when this process dies.
pub(crate) fn bound_to_us(program: &Path, signal: &str) -> Command {
    match shell::find("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", signal]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// The end of a log file, with advice for the troubles that are not the program's fault.
pub(crate) fn last_words(log: &Path) -> String {
    let text = std::fs::read(log)
        .map(|bytes| String::from_utf8_lossy(bytes.get(bytes.len().saturating_sub(64 * 1024)..).unwrap_or_default()).into_owned())
        .unwrap_or_default();
    let tail = shell::tail_of(&text, TAIL_LINES);
    let mut words: Vec<String> =
        tail.lines().map(|line| format!("    {}", line.chars().take(LINE_CHARS_MAX).collect::<String>())).collect();
    if let Some(advice) = advice(&tail) {
        words.push(advice.to_owned());
    }
    words.push(format!("  its log: {}", log.display()));
    words.join("\n")
}

fn advice(tail: &str) -> Option<&'static str> {
    let lower = tail.to_lowercase();
    let known = [
        ("no space left on device", "  The disk is full: free some space; the part is started again by itself."),
        ("address already in use", "  Its port is taken by another program: stop that one, or start with --ports auto."),
        ("could not bind", "  Its port is taken by another program: stop that one, or start with --ports auto."),
        ("out of memory", "  The machine ran out of memory."),
    ];
    known.iter().find(|(sign, _)| lower.contains(sign)).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot start /bin/sh should stop")]
    use super::*;

    fn shell_part(script: &str, name: &str) -> Part {
        let log = std::env::temp_dir().join(format!("antiphon-part-{name}-{}.log", std::process::id()));
        let _ = std::fs::remove_file(&log);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Part::start(Program { name: "test", command, log, stop: Signal::TERM, speaks: false }).unwrap()
    }

    fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "nothing happened within ten seconds");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_part_that_dies_is_reported_with_its_last_words_and_started_again() {
        let mut part = shell_part("echo 'bind: Address already in use'; exit 3", "dies");
        let first_pid = part.pid();
        let code = until(|| match part.look().unwrap() {
            Change::Died { status, .. } => Some(status.code()),
            _ => None,
        });
        assert_eq!(code, Some(3), "how it ended");
        assert!(part.last_words().contains("Address already in use") && part.last_words().contains("--ports auto"));
        until(|| matches!(part.look().unwrap(), Change::Restarted).then_some(()));
        assert_ne!(part.pid(), first_pid);
    }

    #[test]
    fn a_part_that_will_not_end_is_ended() {
        let mut part = shell_part("trap '' TERM; echo deaf; while :; do sleep 1; done", "deaf");
        until(|| part.last_words().contains("deaf").then_some(()));
        let pid = Pid::from_raw(part.pid().unwrap().cast_signed()).unwrap();
        part.stop(Duration::from_millis(50));
        assert!(rustix::process::test_kill_process(pid).is_err(), "the process is gone");
    }
}
