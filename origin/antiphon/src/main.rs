//! The one binary of the origin: every role is a subcommand, and so is everything an operator does from a terminal.
//!
//! ```text
//!   antiphon all ──┬── antiphon identity      one child process a role: a role that dies takes no other with it,
//!                  ├── antiphon catalog …     and Pingora, which owns its runtimes, may end as it likes
//!                  └── antiphon gateway
//!   antiphon migrate | doctor | accounts | edge-vars | token      before and beside them
//!   antiphon import | settle | reconcile | quarantine     clients of the public API, like any other
//!   antiphon lake "SELECT …"                              asks the activity lake, where its files and its manifest are
//!   antiphon check-hls                                    a critic of what is served, here or anywhere
//! ```
//! Here crates are composed and nothing is decided: one file per subcommand, settings from `platform::Config`.
mod accounts;
mod all;
mod check_hls;
mod client;
mod doctor;
mod edge_vars;
mod import;
mod lake;
mod migrate;
mod openapi;
mod quarantine;
mod reconcile;
mod role;
mod settle;
mod supervised;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use platform::ConfigArgs;

#[derive(Parser)]
#[command(
    name = "antiphon",
    version,
    about = "Antiphon, a music streaming service: every role of the origin and its tools",
    after_help = "Examples:\n  \
        antiphon migrate --config antiphon.toml                   make or update the database\n  \
        antiphon all --config antiphon.toml                       run every role on this machine\n  \
        antiphon catalog --config antiphon.toml                   run one role\n  \
        antiphon doctor --config antiphon.toml                    see what is missing, and what to do about it\n  \
        antiphon import ~/Music --config antiphon.toml            publish a folder of music\n  \
        antiphon settle --period 2026-11 --currency EUR --model pro_rata --dry-run\n\n\
        Settings come from --set, then ANTIPHON__SECTION__KEY in the environment, then FILE, then the defaults;\n\
        antiphon.example.toml lists them all. `cargo xtask run` starts a whole system without any of this."
)]
struct Cli {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every role, one process each; restart what dies
    All(all::Args),
    /// Run the gateway: the door of the origin, the media shield, the second way to the music
    Gateway(role::Args),
    /// Run identity: accounts, sessions, keys
    Identity(role::Args),
    /// Run the catalogue: artists, tracks, likes, the outbox
    Catalog(role::Args),
    /// Run ingest: uploads, encoding, publishing
    Ingest(role::Args),
    /// Run the object store: the embedded S3 server
    Store(role::Args),
    /// Run search: the index and its queries
    Search(role::Args),
    /// Run recommendations
    Recommend(role::Args),
    /// Run royalties: listens, the ledger, settlements
    Royalty(role::Args),
    /// Ask the activity lake by SQL; without a question, run the role that writes it
    Lake(lake::Args),
    /// Make the database's roles and apply new migrations
    Migrate,
    /// Check the configuration and everything it points to; say what to do about what is wrong
    Doctor(doctor::Args),
    /// Upload audio files as an artist and wait until they are published
    Import(import::Args),
    /// Settle a month: turn valid listens and revenue into statements
    Settle(settle::Args),
    /// Hold every hop of a month's heartbeats against the one before it; end with 1 when something does not add up
    Reconcile(reconcile::Args),
    /// Records that cannot count: list, explain, merge again after a fix
    Quarantine(quarantine::Args),
    /// Measure what a playlist serves against Apple's HLS authoring rules
    #[command(name = "check-hls")]
    CheckHls(check_hls::Args),
    /// Look into media tokens and event tickets, sign them, rotate their keys
    Token(token::Args),
    /// Print the configuration in force, without secrets
    Config,
    /// Print the OpenAPI document of the whole service
    Openapi,
    /// Print the Worker's variables and secrets as JSON (for edge/serve.mjs, or `wrangler secret bulk`)
    #[command(name = "edge-vars")]
    EdgeVars(edge_vars::Args),
    /// Make the demo accounts of a local deployment
    #[command(hide = true)]
    Accounts(accounts::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Not an async main: the gateway must be started from a plain thread, and each of the rest wants a runtime of its own kind.
fn run(Cli { config: sources, command }: Cli) -> anyhow::Result<ExitCode> {
    use role::Role;
    let config = || sources.load();
    let served = |role: Role, args: role::Args| -> anyhow::Result<()> { role::run(role, config()?, args) };
    match command {
        Command::All(args) => all::run(&sources, &config()?, &args)?,
        Command::Gateway(args) => served(Role::Gateway, args)?,
        Command::Identity(args) => served(Role::Identity, args)?,
        Command::Catalog(args) => served(Role::Catalog, args)?,
        Command::Ingest(args) => served(Role::Ingest, args)?,
        Command::Store(args) => served(Role::Store, args)?,
        Command::Search(args) => served(Role::Search, args)?,
        Command::Recommend(args) => served(Role::Recommend, args)?,
        Command::Royalty(args) => served(Role::Royalty, args)?,
        Command::Lake(args) => return lake::run(config()?, args),
        Command::Migrate => migrate::run(&config()?)?,
        // A configuration that cannot be read is the first thing a doctor tells.
        Command::Doctor(args) => return doctor::run(config(), &args),
        Command::Import(args) => return import::run(&config()?, args),
        Command::Settle(args) => settle::run(&config()?, &args)?,
        Command::Reconcile(args) => return reconcile::run(&config()?, &args),
        Command::Quarantine(args) => return quarantine::run(&config()?, &args),
        Command::CheckHls(args) => return check_hls::run(args),
        Command::Token(args) => return token::run(&config, &args),
        Command::Config => println!("{}", config()?.to_toml()),
        Command::Openapi => println!("{}", openapi::merged().to_pretty_json()?),
        Command::EdgeVars(args) => edge_vars::run(&config()?, &args)?,
        Command::Accounts(args) => accounts::run(&config()?, &args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A runtime for a subcommand that mostly waits.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use platform::Config;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_example_shows_every_setting_with_its_default() -> anyhow::Result<()> {
        let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../antiphon.example.toml");
        let mut shown = Config::load(Some(&example), [], &[])?;
        shown.database.url.clear();
        assert_eq!(shown, Config::default());
        let text = std::fs::read_to_string(example)?;
        let unshown: Vec<String> = shown
            .to_toml()
            .lines()
            .filter_map(|line| line.split_once(" = ").map(|(key, _)| key.to_owned()))
            .filter(|key| !text.contains(&format!("\n{key} = ")))
            .collect();
        assert!(unshown.is_empty(), "not in the example: {unshown:?}");
        Ok(())
    }
}
