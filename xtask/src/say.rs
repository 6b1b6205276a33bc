//! What the person at the terminal reads. Results go to standard output, progress and trouble to standard error; a
//! closed pipe on either is no reason to stop a running system, so write errors are ignored.
use std::io::{IsTerminal, Write};

/// One line about a step that begins or a fact worth knowing.
pub(crate) fn step(text: &str) {
    let error = std::io::stderr();
    let _ = if colours(&error) { writeln!(&error, "\x1b[1;36m»\x1b[0m {text}") } else { writeln!(&error, "» {text}") };
}

/// Something that went wrong without ending the command.
pub(crate) fn warning(text: &str) {
    let error = std::io::stderr();
    let _ = if colours(&error) { writeln!(&error, "\x1b[1;33m!\x1b[0m {text}") } else { writeln!(&error, "! {text}") };
}

/// The end of a command that failed: the error and what led to it.
pub(crate) fn failure(error: &anyhow::Error) {
    let stderr = std::io::stderr();
    let label = if colours(&stderr) { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    let _ = writeln!(&stderr, "{label} {error:#}");
}

/// A result: what the command was asked for.
pub(crate) fn result(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
