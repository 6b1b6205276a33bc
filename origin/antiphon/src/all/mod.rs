//! `antiphon all`: a child process for each role, kept alive.
//!
//! Each writes to `state.dir/log/ROLE.log`. Which process is which stands in `state.dir/processes.json`, renewed with every
//! start. The gateway is stopped first, so that nothing new comes in while the services finish what they have.
mod board;
mod child;

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use futures::future::join_all;
use platform::{Config, ConfigArgs, Shutdown};

use self::{board::Board, child::Child};
use crate::{role::Role, supervised};

/// `antiphon all`
#[derive(clap::Args)]
#[command(after_help = "Each role's log is state.dir/log/ROLE.log. SIGTERM or Ctrl-C stops all of them in good order.")]
pub(crate) struct Args {
    /// The gateway's own settings (pingora.yaml)
    #[arg(long, value_name = "FILE")]
    pingora: Option<PathBuf>,
    /// End when standard input ends: whoever started this process is gone then.
    #[arg(long, hide = true)]
    supervised: bool,
}

pub(crate) fn run(sources: &ConfigArgs, config: &Config, args: &Args) -> Result<()> {
    if args.supervised {
        supervised::end_with_standard_input();
    }
    let logs = config.state.dir.join("log");
    std::fs::create_dir_all(&logs).with_context(|| format!("{} cannot be made", logs.display()))?;
    // The keys are made before eight processes ask for them, and a file that cannot be used is reported once.
    config.keys()?;

    let board = Arc::new(Board::new(&config.state.dir));
    let program = std::env::current_exe().context("this program's own path is not known")?;
    let children =
        Role::ALL.map(|role| Child::new(role, program.clone(), arguments(role, sources, args), logs.join(format!("{}.log", role.name()))));

    // Children are started by this thread and tied to it by a pipe; one thread is enough for so little to do.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let asked = Shutdown::on_signals()?;
        let (stop_gateway, stop_services) = (Shutdown::new(), Shutdown::new());
        let (gateway, services): (Vec<_>, Vec<_>) = children.into_iter().partition(|child| child.role() == Role::Gateway);
        let gateway = join_all(gateway.into_iter().map(|child| child.keep_alive(&board, &stop_gateway)));
        let services = join_all(services.into_iter().map(|child| child.keep_alive(&board, &stop_services)));
        let order = async {
            asked.requested().await;
            stop_gateway.request();
        };
        let gateway_then_services = async {
            gateway.await;
            stop_services.request();
        };
        tokio::join!(order, gateway_then_services, services);
        board.remove();
        Ok(())
    })
}

/// What a child is started with: the role, and the same sources of settings.
fn arguments(role: Role, sources: &ConfigArgs, args: &Args) -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<std::ffi::OsString> = vec![role.name().into(), "--supervised".into()];
    if let Some(file) = &sources.config {
        arguments.extend(["--config".into(), file.into()]);
    }
    for set in &sources.set {
        arguments.extend(["--set".into(), set.into()]);
    }
    if let (Role::Gateway, Some(file)) = (role, &args.pingora) {
        arguments.extend(["--pingora".into(), file.into()]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_child_reads_the_same_settings_and_only_the_gateway_reads_pingoras() {
        let sources = ConfigArgs { config: Some("a.toml".into()), set: vec!["ingest.workers=2".to_owned()] };
        let args = Args { pingora: Some("pingora.yaml".into()), supervised: false };
        let words = |role| arguments(role, &sources, &args).join(" ".as_ref()).into_string().unwrap_or_default();
        assert_eq!(words(Role::Catalog), "catalog --supervised --config a.toml --set ingest.workers=2");
        assert_eq!(words(Role::Gateway), "gateway --supervised --config a.toml --set ingest.workers=2 --pingora pingora.yaml");
    }
}
