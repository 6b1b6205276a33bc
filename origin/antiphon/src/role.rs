//! One role of the service, in this process, until it is asked to stop.
use std::path::PathBuf;

use anyhow::Result;
use platform::{Config, Shutdown, telemetry};

use crate::{openapi, runtime, supervised};

/// What every role takes beside the configuration.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The gateway's own settings (pingora.yaml); only the gateway reads it.
    #[arg(long, value_name = "FILE")]
    pub(crate) pingora: Option<PathBuf>,
    /// End when standard input ends: whoever started this process is gone then.
    #[arg(long, hide = true)]
    pub(crate) supervised: bool,
}

/// The parts of the origin that are processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Store,
    Identity,
    Catalog,
    Ingest,
    Search,
    Recommend,
    Royalty,
    Lake,
    Gateway,
}

impl Role {
    /// In the order in which `all` starts them; those that others lean on first.
    pub(crate) const ALL: [Self; 9] =
        [Self::Store, Self::Identity, Self::Catalog, Self::Ingest, Self::Search, Self::Recommend, Self::Royalty, Self::Lake, Self::Gateway];

    /// The subcommand, the log file and the key of `[listen]`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Identity => "identity",
            Self::Catalog => "catalog",
            Self::Ingest => "ingest",
            Self::Search => "search",
            Self::Recommend => "recommend",
            Self::Royalty => "royalty",
            Self::Lake => "lake",
            Self::Gateway => "gateway",
        }
    }
}

/// Runs the role until SIGTERM or SIGINT.
pub(crate) fn run(role: Role, config: Config, args: Args) -> Result<()> {
    telemetry::init(role.name());
    if args.supervised {
        supervised::end_with_standard_input();
    }
    if role == Role::Gateway {
        return gateway::run(config, openapi::merged().to_json()?.into(), args.pingora);
    }
    runtime()?.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        match role {
            Role::Store => store::run(config, shutdown).await,
            Role::Identity => identity::run(config, shutdown).await,
            Role::Catalog => catalog::run(config, shutdown).await,
            Role::Ingest => ingest::run(config, shutdown).await,
            Role::Search => search::run(config, shutdown).await,
            Role::Recommend => recommend::run(config, shutdown).await,
            Role::Royalty => royalty::run(config, shutdown).await,
            Role::Lake => ::lake::run(config, shutdown).await,
            Role::Gateway => Ok(()),
        }
    })
}
