//! `antiphon token inspect` and `verify`: what a token says, and what an edge would answer.
use std::process::ExitCode;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use protocol::{
    UnixMs,
    keys::TokenKeys,
    token::{Claims, Purpose, Refusal, Unverified, examine},
};
use serde_json::{Value, json};

use super::{Configured, KeysArgs, instant, length_text, token_of};

/// What a token is looked at with, however it is judged.
#[derive(clap::Args)]
struct LookArgs {
    /// The token, a URL or path with one, or - for standard input
    token: String,
    #[command(flatten)]
    keys: KeysArgs,
    /// Judge it as at this instant instead of now
    #[arg(long, value_name = "RFC 3339", value_parser = instant)]
    at: Option<UnixMs>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `antiphon token inspect`
#[derive(clap::Args)]
#[command(after_help = "Without a key document nothing is verified, and it says so. Ends with 1 when the text is no token at all.")]
pub(super) struct InspectArgs {
    #[command(flatten)]
    look: LookArgs,
}

/// `antiphon token verify`
#[derive(clap::Args)]
#[command(after_help = "Ends with 0 when the token is valid; with 1 and the reason when it is refused.")]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    look: LookArgs,
    /// What it is to permit: to fetch media, or to report what was heard
    #[arg(long, value_parser = super::mint::purpose)]
    purpose: Purpose,
}

/// What was found about the tag, the key and the instants.
enum Verdict {
    NotVerified,
    Valid,
    Refused(Refusal),
}

impl Verdict {
    fn of(keys: Option<&TokenKeys>, token: &str, unverified: &Unverified, now: UnixMs) -> Self {
        let Some(keys) = keys else { return Self::NotVerified };
        let Some(purpose) = unverified.purpose() else { return Self::Refused(Refusal::Field) };
        examine(keys, token, purpose, now).map_or_else(Self::Refused, |_| Self::Valid)
    }

    fn json(&self) -> Value {
        match self {
            Self::NotVerified => json!({ "verdict": "not_verified" }),
            Self::Valid => json!({ "verdict": "valid" }),
            Self::Refused(refusal) => json!({ "verdict": "refused", "refusal": refusal.code(), "reason": refusal.to_string() }),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::NotVerified => "not verified: there is no key document here (--keys FILE); anybody may have written this".to_owned(),
            Self::Valid => "valid: the tag holds".to_owned(),
            Self::Refused(refusal @ (Refusal::Expired | Refusal::FromTheFuture)) => format!("refused: the tag holds, but {refusal}"),
            Self::Refused(refusal) => format!("refused: {refusal}"),
        }
    }
}

pub(super) fn inspect(config: Configured<'_>, InspectArgs { look: args }: &InspectArgs, now: UnixMs) -> Result<ExitCode> {
    let (token, now) = (token_of(&args.token)?, args.at.unwrap_or(now));
    let unverified = Unverified::decode(&token).context(Refusal::Encoding)?;
    let keys = args.keys.read_if_there(config)?;
    let verdict = Verdict::of(keys.as_ref(), &token, &unverified, now);
    if args.json {
        let mut told = fields(&unverified);
        merge(&mut told, verdict.json());
        println!("{}", serde_json::to_string_pretty(&told)?);
    } else {
        println!("{}", table(&unverified, now));
        println!("\n{}", verdict.text());
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn verify(config: Configured<'_>, VerifyArgs { look: args, purpose }: &VerifyArgs, now: UnixMs) -> Result<ExitCode> {
    let (token, keys) = (token_of(&args.token)?, args.keys.read(config)?);
    let judged = examine(&keys, &token, *purpose, args.at.unwrap_or(now));
    let verdict = judged.map_or_else(Verdict::Refused, |_| Verdict::Valid);
    match (judged, args.json) {
        (_, true) => println!("{}", serde_json::to_string_pretty(&verdict.json())?),
        (Ok(claims), false) => println!("valid until {}", claims.expires_at.rfc3339()),
        (Err(_), false) => eprintln!("{}", verdict.text()),
    }
    Ok(if judged.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fields(unverified: &Unverified) -> Value {
    let mut told = json!({ "layout": unverified.layout(), "key_id": unverified.key_id(), "tag": hex::encode(unverified.tag()) });
    let Some(claims) = unverified.claims() else {
        merge(&mut told, json!({ "body": hex::encode(unverified.body()) }));
        return told;
    };
    let Claims { purpose, plan, rungs, territory, buffer, expires_at, duration_ms, play, track, version, pseudonym } = claims;
    merge(
        &mut told,
        json!({
            "purpose": purpose.name(),
            "plan": plan,
            "rungs": rungs.iter().collect::<Vec<_>>(),
            "territory": territory,
            "buffer": buffer,
            "expires_at": expires_at.rfc3339(),
            "duration_ms": duration_ms,
            "play": play,
            "minted_at": play.minted_at().rfc3339(),
            "track": track,
            "version": version,
            "pseudonym": pseudonym.to_string(),
        }),
    );
    told
}

fn merge(told: &mut Value, more: Value) {
    if let (Value::Object(told), Value::Object(more)) = (told, more) {
        told.extend(more);
    }
}

fn table(unverified: &Unverified, now: UnixMs) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_row(["layout", &unverified.layout().to_string()]);
    table.add_row(["key id", &unverified.key_id().to_string()]);
    let Some(claims) = unverified.claims() else {
        table.add_row(["body", &hex::encode(unverified.body())]);
        table.add_row(["tag", &hex::encode(unverified.tag())]);
        return table;
    };
    let rungs: Vec<_> = claims.rungs.iter().map(|rung| rung.name()).collect();
    let left_ms = claims.expires_at.since(now);
    let left = if left_ms < 0 { format!("{} ago", length_text(left_ms)) } else { format!("in {}", length_text(left_ms)) };
    for (name, value) in [
        ("purpose", claims.purpose.name().to_owned()),
        ("plan", claims.plan.name().to_owned()),
        ("rungs", rungs.join(", ")),
        ("territory", claims.territory.to_string()),
        ("heartbeat buffer", claims.buffer.to_string()),
        ("expires at", format!("{} ({left})", claims.expires_at.rfc3339())),
        ("track lasts", format!("{} ms", claims.duration_ms)),
        ("play", format!("{} (minted {})", claims.play, claims.play.minted_at().rfc3339())),
        ("track", claims.track.to_string()),
        ("media version", claims.version.to_string()),
        ("pseudonym", claims.pseudonym.to_string()),
        ("tag", hex::encode(unverified.tag())),
    ] {
        table.add_row([name.to_owned(), value]);
    }
    table
}
