//! `antiphon doctor`: looks at everything the configuration points to, and says about each what is wrong and what to do.
mod keys;

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use futures::future::join_all;
use platform::{Clock, Config, ConfigError};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::{process::Command, time::timeout};

use crate::{migrate::MIGRATIONS, role::Role, runtime};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const POSTGRES_MAJOR_MIN: i32 = 15;
const FREE_BYTES_MIN: u64 = 1 << 30;

/// `antiphon doctor`
#[derive(clap::Args)]
#[command(after_help = "Ends with 1 when something is wrong.")]
pub(crate) struct Args {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
struct Finding {
    what: String,
    /// What was found there, or what is wrong and what to do about it.
    outcome: Result<String, Trouble>,
}

struct Trouble {
    found: String,
    advice: String,
}

impl Finding {
    fn good(what: &str, found: impl Into<String>) -> Self {
        Self { what: what.to_owned(), outcome: Ok(found.into()) }
    }

    fn bad(what: &str, found: impl ToString, advice: &str) -> Self {
        Self { what: what.to_owned(), outcome: Err(Trouble { found: found.to_string(), advice: advice.to_owned() }) }
    }
}

pub(crate) fn run(config: Result<Config, ConfigError>, args: &Args) -> Result<ExitCode> {
    let findings = match config {
        Ok(config) => runtime()?.block_on(examine(&config)),
        Err(error) => vec![Finding::bad("configuration", error, "correct it; antiphon.example.toml shows every setting")],
    };
    let well = findings.iter().all(|finding| finding.outcome.is_ok());
    if args.json {
        println!("{}", as_json(&findings));
    } else {
        println!("{}", as_table(&findings));
        println!("{}", if well { "Everything is as it should be." } else { "Something is wrong; each line above says what to do." });
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![Finding::good("configuration", "is read and valid")];
    findings.extend(keys::examine(config, Clock::system().now()));
    findings.push(disk(config));
    findings.extend(database(config).await);
    findings.push(ffmpeg(config).await);
    findings.extend(parts(config).await);
    findings
}

fn disk(config: &Config) -> Finding {
    let advice = "free some space, or set state.dir to a larger disk";
    match rustix::fs::statvfs(&config.state.dir) {
        Ok(disk) => {
            let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
            let found = format!("{:.1} GiB free for {}", free_bytes as f64 / f64::from(1 << 30), config.state.dir.display());
            if free_bytes < FREE_BYTES_MIN { Finding::bad("disk", found, advice) } else { Finding::good("disk", found) }
        }
        Err(error) => Finding::bad("disk", format!("{}: {error}", config.state.dir.display()), "make the directory that state.dir names"),
    }
}

async fn database(config: &Config) -> Vec<Finding> {
    let url = match config.owner_database_url() {
        Ok(url) => url,
        Err(error) => return vec![Finding::bad("PostgreSQL", error, "set database.url")],
    };
    let mut connection = match connect(url).await {
        Ok(connection) => connection,
        Err(error) => return vec![Finding::bad("PostgreSQL", error, "start PostgreSQL, check database.url, then run antiphon migrate")],
    };
    let mut findings = Vec::new();
    let version: Result<String, _> = sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await;
    let version = version.unwrap_or_default();
    let major = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    findings.push(if major >= POSTGRES_MAJOR_MIN {
        Finding::good("PostgreSQL", format!("version {version}"))
    } else {
        Finding::bad("PostgreSQL", format!("version {version}"), "version 15 or newer is needed")
    });

    let applied: Result<i64, _> =
        sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE success").fetch_one(&mut connection).await;
    let known = MIGRATIONS.iter().count();
    findings.push(match applied {
        Ok(applied) if usize::try_from(applied) == Ok(known) => Finding::good("migrations", format!("all {known} applied")),
        Ok(applied) => Finding::bad("migrations", format!("{applied} applied, {known} known"), "run antiphon migrate"),
        Err(_) => Finding::bad("migrations", "none applied", "run antiphon migrate"),
    });

    for role in platform::migrate::ROLES {
        let logged_in = match config.role_database_url(role) {
            Ok(url) => connect(&url).await.map(drop),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = logged_in {
            findings.push(Finding::bad(
                &format!("database role of {role}"),
                error,
                "run antiphon migrate with the same keys.dir, which sets the roles' passwords",
            ));
        }
    }
    findings
}

async fn connect(url: &str) -> Result<PgConnection, String> {
    match timeout(ANSWER_WITHIN, PgConnection::connect(url)).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
    }
}

async fn ffmpeg(config: &Config) -> Finding {
    let program = &config.ingest.ffmpeg;
    match Command::new(program).arg("-version").output().await {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Finding::good("ffmpeg", text.lines().next().unwrap_or_default().chars().take(60).collect::<String>())
        }
        Ok(output) => Finding::bad("ffmpeg", format!("{program} -version: {}", output.status), "set ingest.ffmpeg to a working ffmpeg"),
        Err(error) => Finding::bad("ffmpeg", format!("{program}: {error}"), "install ffmpeg, or set ingest.ffmpeg to its path"),
    }
}

/// Every role and the edge, by their own word.
async fn parts(config: &Config) -> Vec<Finding> {
    let roles = Role::ALL.map(|role| {
        (
            role.name(),
            config.service_url(role.name()).unwrap_or_default(),
            format!("start it: antiphon {} (its log says why it is not ready)", role.name()),
        )
    });
    let edge = (
        "edge",
        config.public.edge.trim_end_matches('/').to_owned(),
        "start it: node edge/serve.mjs, or deploy it; set public.edge to its address".to_owned(),
    );
    let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build().unwrap_or_default();
    join_all(roles.into_iter().chain([edge]).map(|(name, base, advice)| {
        let client = client.clone();
        async move {
            let url = format!("{base}/readyz");
            match client.get(&url).send().await {
                Ok(response) if response.status().is_success() => Finding::good(name, format!("ready at {base}")),
                Ok(response) => {
                    let status = response.status();
                    let body: String = response.text().await.unwrap_or_default().trim().chars().take(200).collect();
                    Finding::bad(name, format!("{url}: {status} {body}"), &advice)
                }
                Err(_) => Finding::bad(name, format!("{url} does not answer"), &advice),
            }
        }
    }))
    .await
}

fn as_table(findings: &[Finding]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    for finding in findings {
        match &finding.outcome {
            Ok(found) => table.add_row(["ok", &finding.what, found]),
            Err(trouble) => table.add_row(["WRONG", &finding.what, &format!("{}\n→ {}", trouble.found, trouble.advice)]),
        };
    }
    table
}

fn as_json(findings: &[Finding]) -> serde_json::Value {
    let rows = findings.iter().map(|finding| match &finding.outcome {
        Ok(found) => json!({ "what": finding.what, "ok": true, "found": found }),
        Err(trouble) => json!({ "what": finding.what, "ok": false, "found": trouble.found, "advice": trouble.advice }),
    });
    json!({ "findings": rows.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_empty_machine_gets_an_advice_for_each_thing_that_is_missing() {
        let sets = [
            "database.url=postgres://nobody@127.0.0.1:1/none",
            "ingest.ffmpeg=/nowhere/ffmpeg",
            "deployment.mode=production",
            "keys.dir=/nowhere/keys",
            "listen.catalog=127.0.0.1:1",
        ];
        let config = Config::load(None, [], &sets.map(str::to_owned)).unwrap_or_default();
        let findings = examine(&config).await;
        for what in ["keys", "PostgreSQL", "ffmpeg", "catalog"] {
            let trouble = findings.iter().find(|finding| finding.what == what).and_then(|finding| finding.outcome.as_ref().err());
            assert!(trouble.is_some_and(|trouble| !trouble.advice.is_empty()), "{what} is wrong and something can be done");
        }
    }
}
