//! `antiphon quarantine`: records that cannot count, listed, explained, and merged again after a fix. A client of the royalty service, as an administrator.
use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets};
use platform::Config;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    client::{Api, LoginArgs},
    runtime,
    settle::month,
};

/// `antiphon quarantine`
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    antiphon quarantine list --period 2026-11                      what stands in quarantine\n  \
    antiphon quarantine explain 17                                 why, and what would fix it\n  \
    antiphon quarantine replay --reason ticket_invalid --dry-run   what would count now\n  \
    antiphon quarantine replay 17 18 19                            merge these again, at their own receipts")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    login: LoginArgs,
}

#[derive(clap::Subcommand)]
enum Command {
    /// The records that stand in quarantine, oldest first
    List(ListArgs),
    /// One record: its reason's meaning, what it says, what would fix it
    Explain(ExplainArgs),
    /// Merge records again; what still cannot count stays
    Replay(ReplayArgs),
}

#[derive(clap::Args)]
struct ListArgs {
    /// Of this month only, as YYYY-MM
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    period: Option<String>,
    /// For this reason only
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    limit: usize,
    /// Print the records as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct ExplainArgs {
    /// The record's number
    id: i64,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct ReplayArgs {
    /// These records only; without any, all that stand of the period and the reason
    ids: Vec<i64>,
    /// Of this month only, as YYYY-MM
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    period: Option<String>,
    /// For this reason only
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Do everything, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the sum as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(config: &Config, args: &Args) -> Result<ExitCode> {
    runtime()?.block_on(async {
        let api = Api::log_in(config, &args.login, |accounts| accounts.admin).await?;
        match &args.command {
            Command::List(args) => list(&api, args).await?,
            Command::Explain(args) => explain(&api, args).await?,
            Command::Replay(args) => replay(&api, args).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Records of one page; as many as the service gives.
const PAGE: usize = 200;
/// Records of one replay call.
const REPLAY: usize = 500;

async fn list(api: &Api, args: &ListArgs) -> Result<()> {
    let mut filter = String::new();
    for (name, value) in [("period", &args.period), ("reason", &args.reason)] {
        if let Some(value) = value {
            ensure!(value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "--{name} is not a code: {value}");
            filter.push_str(&format!("&{name}={value}"));
        }
    }
    let (mut items, mut cursor) = (Vec::new(), String::new());
    while items.len() < args.limit {
        let limit = (args.limit - items.len()).min(PAGE);
        let page = api.send(Method::GET, &format!("/v1/royalties/quarantine?limit={limit}{filter}&cursor={cursor}"), None).await?;
        items.extend(page.get("items").and_then(Value::as_array).into_iter().flatten().cloned());
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&items)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["id", "reason", "play", "received", "batch"]);
    for item in &items {
        let text = |name: &str| item.get(name).map_or_else(String::new, shown);
        let batch = format!("{} {} {}", text("buffer"), text("epoch"), text("number"));
        table.add_row([text("id"), text("reason"), text("play"), text("received_at"), batch]);
    }
    println!("{table}\n{} records stand in quarantine{}.", items.len(), if items.len() == args.limit { ", or more" } else { "" });
    Ok(())
}

async fn explain(api: &Api, args: &ExplainArgs) -> Result<()> {
    let record = api.send(Method::GET, &format!("/v1/royalties/quarantine/{}", args.id), None).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&record)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in record.as_object().into_iter().flatten().filter(|(name, value)| *name != "record" && !value.is_null()) {
        table.add_row([name.replace('_', " "), shown(value)]);
    }
    let said = record.get("record").unwrap_or(&Value::Null);
    println!("{table}\nrecord: {}", serde_json::to_string_pretty(said)?);
    Ok(())
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What all calls of one replay did.
#[derive(Default)]
struct Sum {
    examined: usize,
    counted: usize,
    duplicate: usize,
    /// Records that stay, by reason.
    refused: BTreeMap<String, Vec<i64>>,
}

#[derive(Deserialize)]
struct Replayed {
    examined: usize,
    counted: usize,
    duplicate: usize,
    refused: Vec<Refused>,
    next: Option<i64>,
}

#[derive(Deserialize)]
struct Refused {
    id: i64,
    reason: String,
}

async fn replay(api: &Api, args: &ReplayArgs) -> Result<()> {
    let mut sum = Sum::default();
    let calls: Vec<Option<&[i64]>> = if args.ids.is_empty() { vec![None] } else { args.ids.chunks(REPLAY).map(Some).collect() };
    for ids in calls {
        let mut after = Some(0);
        while let Some(from) = after {
            let order = json!({"ids": ids, "period": args.period, "reason": args.reason, "after": from, "dry_run": args.dry_run});
            let answer = api.send(Method::POST, "/v1/royalties/quarantine/replays", Some(&order)).await?;
            let replayed: Replayed = serde_json::from_value(answer).context("the answer is not of the form this version knows")?;
            after = replayed.next;
            sum.add(replayed);
        }
    }
    let Sum { examined, counted, duplicate, refused } = sum;
    if args.json {
        let sum = json!({"examined": examined, "counted": counted, "duplicate": duplicate, "refused": refused, "dry_run": args.dry_run});
        println!("{}", serde_json::to_string_pretty(&sum)?);
        return Ok(());
    }
    println!(
        "{examined} records: {counted} count now, {duplicate} were duplicates, {} stay.",
        refused.values().map(Vec::len).sum::<usize>()
    );
    for (reason, ids) in &refused {
        let named: Vec<String> = ids.iter().take(20).map(i64::to_string).collect();
        println!("  {reason}: {}{}", named.join(", "), if ids.len() > named.len() { ", …" } else { "" });
    }
    if args.dry_run {
        println!("Nothing was written (--dry-run).");
    }
    Ok(())
}

impl Sum {
    fn add(&mut self, replayed: Replayed) {
        self.examined += replayed.examined;
        self.counted += replayed.counted;
        self.duplicate += replayed.duplicate;
        for Refused { id, reason } in replayed.refused {
            self.refused.entry(reason).or_default().push(id);
        }
    }
}
