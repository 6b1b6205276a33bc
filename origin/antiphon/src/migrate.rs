//! `antiphon migrate`: the database of the configuration's owner URL, made where it is missing and brought up to date.
use anyhow::{Context, Result};
use platform::Config;
use sqlx::{Postgres, migrate::MigrateDatabase};

use crate::runtime;

/// The files are part of the binary, so a deployed one needs no source tree.
pub(crate) static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");

pub(crate) fn run(config: &Config) -> Result<()> {
    let url = config.owner_database_url()?;
    let seed = config.keys()?.database_seed;
    runtime()?.block_on(async {
        let exists = Postgres::database_exists(url).await.context("PostgreSQL cannot be reached at database.url")?;
        if !exists {
            Postgres::create_database(url).await.context("the database cannot be made")?;
        }
        platform::migrate::apply(url, &seed, &MIGRATIONS).await?;
        println!("the database is up to date ({} migrations)", MIGRATIONS.iter().count());
        Ok(())
    })
}
