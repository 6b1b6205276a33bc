//! `antiphon reconcile`: asks the royalty service, as an administrator, to hold every hop of a month against the one before it, and ends with 1
//! when something does not add up.
use std::process::ExitCode;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use platform::Config;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    client::{Api, LoginArgs},
    runtime,
    settle::month,
};

/// `antiphon reconcile`
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    antiphon reconcile --period 2026-11                       every hop; ends with 1 and names the batch when one differs\n  \
    antiphon reconcile --period 2026-11 --hours               the same for each hour of mints\n  \
    antiphon reconcile --period 2026-11 --json | jq .identity\n\n\
    docs/reconciliation.md says who counts each figure.")]
pub(crate) struct Args {
    /// The month in which the plays were minted, as YYYY-MM
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    period: String,
    /// Show each hour too
    #[arg(long)]
    hours: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    login: LoginArgs,
}

#[derive(Deserialize)]
struct Answer {
    hops: Vec<Hop>,
    hours: Vec<Hour>,
    identity: Identity,
    unreported: i64,
    waiting: Vec<Finding>,
    differences: Vec<Finding>,
}

#[derive(Deserialize)]
struct Hop {
    hop: String,
    #[serde(rename = "in")]
    in_: i64,
    out: i64,
    quarantined: i64,
    duplicate: i64,
    pending: i64,
    difference: i64,
}

#[derive(Deserialize)]
struct Hour {
    hour_at: String,
    hops: Vec<Hop>,
}

#[derive(Deserialize)]
struct Identity {
    acked: i64,
    counted: i64,
    quarantined: i64,
    duplicate: i64,
    pending: i64,
}

#[derive(Deserialize)]
struct Finding {
    code: String,
    detail: String,
    buffer: Option<String>,
    epoch: Option<String>,
    first: Option<i64>,
    last: Option<i64>,
    events: Option<i64>,
    play: Option<String>,
    hour_at: Option<String>,
}

pub(crate) fn run(config: &Config, args: &Args) -> Result<ExitCode> {
    let path = format!("/v1/royalties/reconciliation?period={}&hours={}", args.period, args.hours);
    let answer = runtime()?.block_on(async {
        let api = Api::log_in(config, &args.login, |accounts| accounts.admin).await?;
        api.send(Method::GET, &path, None).await
    })?;
    let told = Answer::deserialize(&answer).context("the answer is not of the form this version knows")?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        print(&told, &answer);
    }
    Ok(if told.adds_up() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Answer {
    fn adds_up(&self) -> bool {
        let Identity { acked, counted, quarantined, duplicate, pending } = self.identity;
        self.differences.is_empty()
            && self.hops.iter().all(|hop| hop.difference == 0)
            && acked == counted + quarantined + duplicate + pending
    }
}

fn print(told: &Answer, answer: &Value) {
    println!("{}", table(told.hops.iter().map(|hop| (None, hop))));
    for hour in &told.hours {
        println!("\n{}", table(hour.hops.iter().map(|hop| (Some(hour.hour_at.as_str()), hop))));
    }
    if !told.hops.iter().any(|hop| hop.hop == "lake") {
        println!("\nThe lake does not answer: its hop is left out.");
    }
    let Identity { acked, counted, quarantined, duplicate, pending } = told.identity;
    println!("\nacked {acked} = counted {counted} + quarantined {quarantined} + duplicate {duplicate} + pending {pending}");
    if let Some(plays) = answer.get("plays").and_then(Value::as_object) {
        let states: Vec<String> = plays.iter().map(|(state, number)| format!("{state} {number}")).collect();
        println!("plays: {}", states.join(", "));
    }
    if told.unreported > 0 {
        println!("{} records came in batches that carried no report: for them the collector's word stands alone.", told.unreported);
    }
    for finding in &told.waiting {
        println!("waiting: {}", finding.line());
    }
    for finding in &told.differences {
        println!("DIFFERENCE: {}", finding.line());
    }
    println!("{}", if told.adds_up() { "Every hop adds up." } else { "It does not add up." });
}

fn table<'a>(rows: impl Iterator<Item = (Option<&'a str>, &'a Hop)>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut headed = false;
    for (hour, hop) in rows {
        if !headed {
            let names = ["hop", "in", "out", "quarantined", "duplicate", "pending", "difference"];
            table.set_header([hour.unwrap_or_default()].into_iter().chain(names));
            headed = true;
        }
        let figures = [hop.in_, hop.out, hop.quarantined, hop.duplicate, hop.pending, hop.difference].map(|figure| figure.to_string());
        table.add_row([String::new(), hop.hop.clone()].into_iter().chain(figures));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

impl Finding {
    /// `batch_missing: edge-3, epoch 0123, batch 7, 12 events: …`
    fn line(&self) -> String {
        let mut parts: Vec<String> = self.buffer.iter().cloned().collect();
        parts.extend(self.epoch.iter().map(|epoch| format!("epoch {epoch}")));
        match (self.first, self.last) {
            (Some(first), Some(last)) if first == last => parts.push(format!("batch {first}")),
            (Some(first), Some(last)) => parts.push(format!("batches {first} to {last}")),
            _ => {}
        }
        parts.extend(self.play.iter().map(|play| format!("play {play}")));
        parts.extend(self.hour_at.iter().map(|hour| format!("hour {hour}")));
        parts.extend(self.events.iter().map(|events| format!("{events} events")));
        format!("{}: {}: {}", self.code, parts.join(", "), self.detail)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(difference: i64, acked: i64) -> Result<Answer, serde_json::Error> {
        serde_json::from_value(json!({
            "hops": [{"hop": "buffer", "in": 5, "out": 5 - difference, "quarantined": 0, "duplicate": 0, "pending": 0, "difference": difference}],
            "hours": [], "unreported": 0, "waiting": [], "differences": [],
            "identity": {"acked": acked, "counted": 3, "quarantined": 1, "duplicate": 1, "pending": 0},
        }))
    }

    #[test]
    fn a_difference_anywhere_is_a_failure() -> Result<(), serde_json::Error> {
        assert!(answer(0, 5)?.adds_up());
        assert!(!answer(1, 5)?.adds_up(), "a hop");
        assert!(!answer(0, 6)?.adds_up(), "the identity");
        Ok(())
    }

    #[test]
    fn a_finding_names_the_batch() -> Result<(), serde_json::Error> {
        let missing: Finding =
            serde_json::from_value(json!({"code": "batch_missing", "detail": "d", "buffer": "edge-3", "epoch": "e", "first": 7,
            "last": 7, "events": 12, "play": null, "hour_at": null}))?;
        assert_eq!(missing.line(), "batch_missing: edge-3, epoch e, batch 7, 12 events: d");
        let several = Finding { last: Some(9), events: None, ..missing };
        assert_eq!(several.line(), "batch_missing: edge-3, epoch e, batches 7 to 9: d");
        Ok(())
    }
}
