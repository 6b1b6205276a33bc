//! `antiphon lake`: questions to the activity lake from a terminal, a copy of it for other engines, and forgetting an account. Reads the manifest in
//! PostgreSQL and the files in the object store itself, so the role need not run. Without a question this is the role.
use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode, time::Duration};

use ::lake::{
    Lake,
    query::{Answer, Limits},
};
use anyhow::{Result, bail};
use comfy_table::{ContentArrangement, Table, presets};
use platform::{Clock, Config};
use protocol::AccountId;
use serde_json::json;

use crate::{
    role::{self, Role},
    runtime,
};

/// `antiphon lake`
#[derive(clap::Args)]
// The role's arguments are a group named after the same struct name.
#[group(id = "lake")]
#[command(after_help = "Examples:\n  \
    antiphon lake --tables                                        what can be asked for (docs/lake.md says what it means)\n  \
    antiphon lake \"SELECT day, count(*) FROM plays GROUP BY day ORDER BY day\"\n  \
    antiphon lake \"SELECT track, count(*) AS skips FROM skips WHERE day = '2026-11-25' GROUP BY track\" --json\n  \
    antiphon lake --export /tmp/lake                              Parquet in folders, for DuckDB or Spark\n  \
    antiphon lake --forget ACCOUNT                                destroy the key that ties an account to its rows\n  \
    antiphon lake                                                 run the role that writes the lake")]
pub(crate) struct Args {
    /// One SELECT over plays, skips, likes and play_revisions
    #[arg(value_name = "SQL", conflicts_with_all = ["tables", "export", "forget"])]
    sql: Option<String>,
    /// List the tables and their columns
    #[arg(long, conflicts_with_all = ["export", "forget"])]
    tables: bool,
    /// Copy the newest snapshot into a new folder
    #[arg(long, value_name = "DIR", conflicts_with = "forget")]
    export: Option<PathBuf>,
    /// Destroy an account's key: its rows stay, and are nobody's
    #[arg(long, value_name = "ACCOUNT")]
    forget: Option<AccountId>,
    /// Print the answer as JSON, one object a row
    #[arg(long)]
    json: bool,
    /// Rows of the answer at most
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    rows: usize,
    /// Memory for the query, in MiB
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    memory_mib: u32,
    /// Seconds after which the query is given up
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    #[command(flatten)]
    role: role::Args,
}

/// The columns of every table that can be asked for.
const TABLES: &str = "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
    WHERE table_schema = 'public' ORDER BY table_name, ordinal_position";

pub(crate) fn run(config: Config, args: Args) -> Result<ExitCode> {
    let Args { sql, tables, export, forget, json, rows, memory_mib, seconds, role } = args;
    let limits =
        Limits { rows, memory_bytes: usize::try_from(memory_mib)?.saturating_mul(1 << 20), time: Duration::from_secs(seconds.into()) };
    let sql = if tables { Some(TABLES.to_owned()) } else { sql };
    if sql.is_none() && export.is_none() && forget.is_none() {
        if json {
            bail!("--json is for an answer, and there is no question: antiphon lake \"SELECT …\" --json");
        }
        role::run(Role::Lake, config, role)?;
        return Ok(ExitCode::SUCCESS);
    }
    runtime()?.block_on(async {
        let lake = Lake::new(&config, Clock::system())?;
        if let Some(sql) = sql {
            return show(&lake.query(&sql, limits).await?, json);
        }
        if let Some(folder) = export {
            let copied = lake.export(&folder).await?;
            let rows: i64 = copied.files.iter().map(|file| file.rows).sum();
            if json {
                println!("{}", json!({"snapshot": copied.number, "files": copied.files.len(), "rows": rows}));
            } else {
                println!("snapshot {}: {} files with {rows} rows are in {}", copied.number, copied.files.len(), folder.display());
            }
        }
        if let Some(account) = forget {
            let had_a_key = lake.forget(account).await?;
            if json {
                println!("{}", json!({"account": account, "had_a_key": had_a_key}));
            } else if had_a_key {
                println!("the key of {account} is destroyed: its rows are nobody's");
            } else {
                println!("{account} has no key: the lake has no rows that could be told to be its own");
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn show(answer: &Answer, as_json: bool) -> Result<ExitCode> {
    if as_json {
        println!("{}", serde_json::to_string_pretty(&answer.json()?)?);
    } else {
        let rows = answer.rows()?;
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if std::io::stdout().is_terminal() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        table.set_header(answer.columns());
        let count = rows.len();
        table.add_rows(rows);
        println!("{table}");
        eprintln!("{count} rows of snapshot {}", answer.snapshot);
    }
    if answer.cut {
        eprintln!("there are more rows: allow them with --rows");
    }
    Ok(ExitCode::SUCCESS)
}
