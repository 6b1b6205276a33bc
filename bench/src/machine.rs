//! What a number was measured on and when: without it a number says nothing.

use std::{
    fs, thread,
    time::{SystemTime, UNIX_EPOCH},
};

use protocol::UnixMs;

/// One line: processor, cores, memory, kernel.
pub(crate) fn machine() -> String {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim_start_matches([' ', '\t', ':']).trim().to_owned())
    };
    let processor = field(&file("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kilobytes: u64 = field(&file("/proc/meminfo"), "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0);
    let kernel = file("/proc/sys/kernel/osrelease");
    format!("{processor}, {cores} cores, {} GiB, Linux {}", kilobytes >> 20, kernel.trim())
}

/// Now, RFC 3339.
pub(crate) fn now() -> String {
    unix_now().rfc3339()
}

/// Now.
#[expect(clippy::disallowed_methods, reason = "a benchmark says when it ran, and signs what is valid now")]
pub(crate) fn unix_now() -> UnixMs {
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis());
    UnixMs(i64::try_from(ms).unwrap_or(i64::MAX))
}
