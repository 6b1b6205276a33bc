//! `antiphon accounts ensure`: one listener, one artist and one administrator for a local deployment, so that everything can
//! be tried at once. Their log-ins are kept in `state.dir/accounts.json`, which `import` and `settle` read when they are not
//! told whom to log in as.
use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use platform::{Clock, Config, config::Mode, pg, random_bytes};
use protocol::{Plan, Role, Territory};
use serde::{Deserialize, Serialize};

use crate::runtime;

/// `antiphon accounts`
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make the accounts where they are missing and print their log-ins as JSON
    Ensure,
}

/// How to log in as somebody.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Login {
    pub(crate) email: String,
    pub(crate) password: String,
}

/// One account of each kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Accounts {
    pub(crate) listener: Login,
    pub(crate) artist: Login,
    pub(crate) admin: Login,
}

impl Accounts {
    /// The accounts that were made for this state directory, if any were.
    pub(crate) fn known(config: &Config) -> Result<Option<Self>> {
        let file = file(config);
        match fs::read_to_string(&file) {
            Ok(text) => Ok(Some(serde_json::from_str(&text).with_context(|| format!("{} is not what was written there", file.display()))?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
        }
    }

    fn make_up(config: &Config) -> Result<Self> {
        let login =
            |who: &str| Login { email: format!("{who}@antiphon.example"), password: format!("{who}-{}", hex::encode(random_bytes::<6>())) };
        let accounts = Self { listener: login("listener"), artist: login("artist"), admin: login("admin") };
        let file = file(config);
        fs::create_dir_all(&config.state.dir)
            .and_then(|()| fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file))
            .and_then(|mut opened| opened.write_all(serde_json::to_string_pretty(&accounts)?.as_bytes()))
            .with_context(|| format!("{} cannot be written", file.display()))?;
        Ok(accounts)
    }
}

pub(crate) fn run(config: &Config, args: &Args) -> Result<()> {
    let Command::Ensure = args.command;
    if config.deployment.mode != Mode::Local {
        bail!("demo accounts are made only where deployment.mode is \"local\"");
    }
    let accounts = match Accounts::known(config)? {
        Some(accounts) => accounts,
        None => Accounts::make_up(config)?,
    };
    runtime()?.block_on(ensure(config, &accounts))?;
    println!("{}", serde_json::to_string_pretty(&accounts)?);
    Ok(())
}

async fn ensure(config: &Config, accounts: &Accounts) -> Result<()> {
    const COUNTRY: &str = "DE";
    let pool = pg::pool(&config.role_database_url("identity")?, 1)?;
    let country: Territory = COUNTRY.parse()?;
    for (login, name, role, plan) in [
        (&accounts.listener, "Demo Listener", Role::Listener, Plan::Premium),
        (&accounts.artist, "Demo Artist", Role::Artist, Plan::Premium),
        (&accounts.admin, "Demo Administrator", Role::Admin, Plan::Premium),
    ] {
        identity::ensure_account(&pool, &login.email, &login.password, name, role, country, plan, Clock::system().now())
            .await
            .with_context(|| format!("the account {} cannot be made", login.email))?;
    }
    pool.close().await;
    Ok(())
}

fn file(config: &Config) -> PathBuf {
    config.state.dir.join("accounts.json")
}
