//! Dying with one's parent, even when that is killed: the parent holds the other end of standard input, which the kernel
//! closes with it.
use std::{io::Read, time::Duration};

/// How long an orderly stop may take before the process ends anyway: nobody is left to end it.
const PATIENCE: Duration = Duration::from_secs(20);

/// From now on, the end of standard input is SIGTERM to this process.
pub(crate) fn end_with_standard_input() {
    // A thread, not a task: it must work however busy or stuck the runtime is.
    std::thread::spawn(|| {
        let mut byte = [0];
        while !matches!(std::io::stdin().read(&mut byte), Ok(0) | Err(_)) {}
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
        std::thread::sleep(PATIENCE);
        std::process::exit(1);
    });
}
