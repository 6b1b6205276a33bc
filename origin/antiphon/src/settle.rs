//! `antiphon settle`: asks the royalty service, as an administrator, to settle a month; prints what it did.
use anyhow::Result;
use comfy_table::{Table, presets};
use platform::Config;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::{Api, LoginArgs},
    runtime,
};

/// `antiphon settle`
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    antiphon settle --period 2026-11 --currency EUR --model pro_rata --dry-run    what would be paid\n  \
    antiphon settle --period 2026-11 --currency EUR --model pro_rata              post it; again posts nothing\n  \
    antiphon settle --period 2026-11 --currency EUR --model user_centric --json | jq .root")]
pub(crate) struct Args {
    /// The month, as YYYY-MM
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    period: String,
    /// The currency, as ISO 4217 writes it
    #[arg(long, value_name = "CODE")]
    currency: String,
    /// How the pool is shared
    #[arg(long, value_enum)]
    model: Model,
    /// Compute everything, post nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    login: LoginArgs,
}

/// The two ways to share a pool.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Model {
    /// All revenue in one pool, shared by listens
    #[value(name = "pro_rata")]
    ProRata,
    /// Each listener's revenue shared by that listener's own listens
    #[value(name = "user_centric")]
    UserCentric,
}

pub(crate) fn run(config: &Config, args: &Args) -> Result<()> {
    let model = match args.model {
        Model::ProRata => "pro_rata",
        Model::UserCentric => "user_centric",
    };
    let order = json!({ "period": args.period, "currency": args.currency, "model": model, "dry_run": args.dry_run });
    let settlement = runtime()?.block_on(async {
        let api = Api::log_in(config, &args.login, |accounts| accounts.admin).await?;
        api.send(Method::POST, "/v1/royalties/settlements", Some(&order)).await
    })?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&settlement)?);
    } else {
        println!("{}", table(&settlement));
        if args.dry_run {
            println!("Nothing was posted (--dry-run).");
        }
    }
    Ok(())
}

/// Every field in the order in which the service gives them.
fn table(settlement: &Value) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in settlement.as_object().into_iter().flatten() {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Object(_) => money(value).unwrap_or_else(|| value.to_string()),
            other => other.to_string(),
        };
        table.add_row([name.replace('_', " "), value]);
    }
    table
}

/// `{"micros": 9990000, "currency": "EUR"}` as `9.990000 EUR`.
fn money(value: &Value) -> Option<String> {
    let (micros, currency) = (value.get("micros")?.as_i64()?, value.get("currency")?.as_str()?);
    let sign = if micros < 0 { "-" } else { "" };
    Some(format!("{sign}{}.{:06} {currency}", micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000))
}

pub(crate) fn month(text: &str) -> Result<String, String> {
    let valid = text.split_once('-').is_some_and(|(year, month)| {
        year.len() == 4
            && month.len() == 2
            && year.bytes().all(|digit| digit.is_ascii_digit())
            && month.parse::<u8>().is_ok_and(|month| (1..=12).contains(&month))
    });
    if valid { Ok(text.to_owned()) } else { Err("a month is written as YYYY-MM, for example 2026-11".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_to_the_last_millionth() {
        assert_eq!(money(&json!({"micros": 9_990_001, "currency": "EUR"})).as_deref(), Some("9.990001 EUR"));
        assert_eq!(money(&json!({"micros": -5, "currency": "EUR"})).as_deref(), Some("-0.000005 EUR"));
        assert_eq!(money(&json!({"listens": 3})), None);
    }

    #[test]
    fn a_month_that_is_none_is_refused_before_anything_is_asked() {
        assert_eq!(month("2026-11").as_deref(), Ok("2026-11"));
        for wrong in ["2026-13", "2026-1", "11-2026", "november", ""] {
            assert!(month(wrong).is_err(), "{wrong}");
        }
    }
}
