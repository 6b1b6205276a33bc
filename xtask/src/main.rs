//! `cargo xtask`: everything a person does with this repository, from a clean clone to a running system.
//!
//! ```text
//! setup ──> build ──> run ──> test
//!   │         │        │        └ cargo tests, the Worker, the page in a browser, k6 scripts; one summary line
//!   │         │        └ PostgreSQL, `antiphon all`, the edge; run.json; Ctrl-C stops all of it
//!   │         └ the binary `antiphon`, the Worker (wasm), the web page; each only when its sources changed
//!   └ Debian packages, npm packages, cargo tools; says what it installs, does nothing the second time
//! ```
//! Input: the work tree this program was built from, and the command line. Output: a state directory (default
//! `.antiphon/`), which holds everything a run makes, so that deleting it is a full reset.
mod bench;
mod build;
mod chaos;
mod deny;
mod fingerprint;
mod loadtest;
mod run;
mod say;
mod setup;
mod shell;
mod test;
mod workspace;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    about = "Set up, run, test and measure Antiphon on this machine",
    after_help = "Examples:\n  \
        cargo xtask run                       start everything, with a little music in it\n  \
        cargo xtask run --library ~/Music     and import a folder of tagged audio files\n  \
        cargo xtask run --ports auto --state /tmp/second   a second system beside the first\n  \
        cargo xtask test                      every test there is; the last line says how many passed\n  \
        cargo xtask test manifest             only the cargo tests whose name contains `manifest`"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the build, the run and the tests need; does nothing when it is all there
    Setup(setup::Args),
    /// Start the whole system and keep it running until Ctrl-C
    Run(run::Args),
    /// Run every test: set up, build, then each suite in turn
    Test(test::Args),
    /// Build the Worker into edge/build (wrangler calls this)
    BuildEdge,
    /// Run a k6 journey from loadtest/ against a running system
    Loadtest(loadtest::Args),
    /// Run a benchmark from bench/
    Bench(bench::Args),
    /// Kill parts of a system of its own under load, and see that nothing is lost
    Chaos(chaos::Args),
    /// Check licences, duplicate versions and sources of the dependencies against deny.toml
    Deny,
}

fn main() -> std::process::ExitCode {
    let outcome = match Cli::parse().command {
        Command::Setup(args) => setup::main(&args),
        Command::Run(args) => run::main(args),
        Command::Test(args) => test::main(&args),
        Command::BuildEdge => build::edge(),
        Command::Loadtest(args) => loadtest::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Chaos(args) => chaos::main(&args),
        Command::Deny => deny::main(),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            say::failure(&error);
            std::process::ExitCode::FAILURE
        }
    }
}
