//! `antiphon reconcile` on a running system: its table is what was sent, and a loss is named.

use std::{collections::BTreeMap, path::Path, process::Output, time::Duration};

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::process::Command;
use whole_system_tests::{Client, Listener, System, buffers, eventually};

use crate::{period, playback::any_track};

/// What each hop says: in, out, quarantined, duplicate, pending, difference.
type Table = BTreeMap<String, [i64; 6]>;

pub(crate) async fn antiphon(system: &System, arguments: &[&str]) -> Result<Output> {
    let test = std::env::current_exe()?;
    let binary = test.ancestors().nth(2).context("a test lives in target/<profile>/deps")?.join("antiphon");
    let admin = &system.run.accounts.admin;
    let mut command = Command::new(binary);
    command.arg("--config").arg(system.state.join("antiphon.toml")).args(arguments);
    command.env("ANTIPHON_EMAIL", &admin.email).env("ANTIPHON_PASSWORD", &admin.password).current_dir(Path::new("/"));
    Ok(command.output().await?)
}

/// The table of this month, once nothing is on its way any more.
async fn settled(system: &System) -> Result<Table> {
    buffers::emptied(system).await?;
    eventually("every hop adds up and nothing waits", Duration::from_secs(60), async || {
        let output = antiphon(system, &["reconcile", "--period", &period(), "--json"]).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{} {text} {}", output.status, String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_str(&text)?;
        ensure!(answer["identity"]["pending"] == 0 && answer["differences"] == json!([]), "{answer}");
        table(&answer)
    })
    .await
}

fn table(answer: &Value) -> Result<Table> {
    let mut table = Table::new();
    for hop in answer["hops"].as_array().context("hops")? {
        let figures =
            ["in", "out", "quarantined", "duplicate", "pending", "difference"].map(|figure| hop[figure].as_i64().unwrap_or(i64::MIN));
        table.insert(hop["hop"].as_str().context("hop")?.to_owned(), figures);
    }
    Ok(table)
}

/// New events, duplicates, contradictions and garbage by both ways in: every figure of every hop is what was sent.
pub(crate) async fn every_hop_is_reconciled_and_a_lost_batch_is_named(system: &System) -> Result<()> {
    let client = Client::signed_up(&system.run.edge, "listener").await?;
    let play = Listener::begin(&client, &any_track(&client).await?).await?;
    let before = settled(system).await?;

    let garbage = json!({"seq": 9, "kind": "dance", "from_ms": 0, "to_ms": 1});
    let post = async |base: &str, events: &[(u32, &str, u32, u32)], with_garbage: bool| {
        let mut body = play.post(events);
        if with_garbage {
            body["events"].as_array_mut().context("events")?.push(garbage.clone());
        }
        client.at(base).with_token(None).send(Method::POST, "/v1/me/play-event", Some(&body)).await?.expect(202)
    };
    let edge = &system.run.edge;
    post(edge, &[(0, "start", 0, 0), (1, "progress", 0, 10)], false).await?;
    post(edge, &[(0, "start", 0, 0), (1, "progress", 0, 10)], false).await?;
    post(edge, &[(1, "progress", 0, 11)], false).await?;
    post(edge, &[(2, "progress", 10, 20)], true).await?;
    buffers::emptied(system).await?;
    post(&system.run.gateway, &[(0, "start", 0, 0), (1, "progress", 0, 12), (3, "stop", 20, 20)], true).await?;

    let after = settled(system).await?;
    let sent = |hop: &str| -> Result<[i64; 6]> {
        let (before, after) = (before.get(hop).copied().unwrap_or_default(), after.get(hop).copied().context("a hop")?);
        Ok(std::array::from_fn(|figure| after.get(figure).copied().unwrap_or(0) - before.get(figure).copied().unwrap_or(0)))
    };
    for (hop, expected) in [
        ("client", [11, 6, 3, 2, 0, 0]),
        ("buffer", [6, 6, 0, 0, 0, 0]),
        ("collector", [6, 4, 1, 1, 0, 0]),
        ("listens", [4, 4, 0, 0, 0, 0]),
    ] {
        ensure!(sent(hop)? == expected, "{hop}: {:?} instead of {expected:?}", sent(hop)?);
    }
    loses_a_key(system).await
}

/// The owner of the database removes the key of the last batch that an edge's buffer sent, and puts it back.
async fn loses_a_key(system: &System) -> Result<()> {
    let mut owner = PgConnection::connect(&system.run.database).await?;
    let (buffer, epoch, number): (String, String, i64) = sqlx::query_as(
        "SELECT buffer, epoch, number FROM royalty.batches WHERE buffer LIKE 'edge-%' ORDER BY merged_at_ms DESC, number DESC LIMIT 1",
    )
    .fetch_one(&mut owner)
    .await?;
    sqlx::query("SET session_replication_role = replica").execute(&mut owner).await?;
    sqlx::query("CREATE TEMP TABLE removed AS SELECT * FROM royalty.batches WHERE (buffer, epoch, number) = ($1, $2, $3)")
        .bind(&buffer)
        .bind(&epoch)
        .bind(number)
        .execute(&mut owner)
        .await?;
    sqlx::query("DELETE FROM royalty.batches WHERE (buffer, epoch, number) = ($1, $2, $3)")
        .bind(&buffer)
        .bind(&epoch)
        .bind(number)
        .execute(&mut owner)
        .await?;
    let output = antiphon(system, &["reconcile", "--period", &period()]).await?;
    sqlx::query("INSERT INTO royalty.batches SELECT * FROM removed").execute(&mut owner).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(1), "{} {text}", output.status);
    let named = format!("{buffer}, epoch {epoch}, batch {number},");
    ensure!(text.contains("DIFFERENCE: key_missing") && text.contains(&named), "{named} is not in {text}");
    settled(system).await?;
    Ok(())
}
