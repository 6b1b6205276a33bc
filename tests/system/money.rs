//! Heartbeats become listens, listens become money.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;
use whole_system_tests::{Client, Listener, System, client::answer, eventually};

use crate::{period, playback::any_track};

/// Heard in real time, since receipts are what the rule believes.
async fn hear(system: &System, play: &Listener, first: &[(u32, &str, u32, u32)]) -> Result<()> {
    play.beat(system, first).await?;
    sleep(Duration::from_secs(16)).await;
    play.beat(system, &[(1, "progress", 0, 16_000)]).await?;
    sleep(Duration::from_secs(16)).await;
    play.beat(system, &[(2, "progress", 16_000, 32_000)]).await?;
    Ok(())
}

pub(crate) async fn reaches(play: &Listener, state: &str) -> Result<Value> {
    eventually(&format!("the play is {state}"), Duration::from_secs(60), async || {
        let item = play.in_history().await?;
        ensure!(item["state"] == state, "{item}");
        Ok(item)
    })
    .await
}

/// Every post sent three times and out of order: exactly one listen of 32 s.
pub(crate) async fn duplicated_and_shuffled_heartbeats_give_one_listen(system: &System) -> Result<()> {
    let client = Client::signed_up(&system.run.edge, "listener").await?;
    let play = Listener::begin(&client, &any_track(&client).await?).await?;
    hear(system, &play, &[(0, "start", 0, 0)]).await?;
    for _ in 0..2 {
        play.beat(system, &[(2, "progress", 16_000, 32_000), (0, "start", 0, 0)]).await?;
        play.beat(system, &[(1, "progress", 0, 16_000)]).await?;
    }
    play.beat(system, &[(3, "stop", 32_000, 32_000), (1, "progress", 0, 16_000)]).await?;
    let item = reaches(&play, "provisional").await?;
    ensure!(item["played_ms"] == 32_000, "{item}");
    let history = client.get("/v1/me/history").await?;
    ensure!(history["items"].as_array().is_some_and(|items| items.len() == 1), "{history}");
    Ok(())
}

/// What was not heard is not paid.
pub(crate) async fn a_play_too_short_or_too_fast_is_void(system: &System) -> Result<()> {
    let client = Client::signed_up(&system.run.edge, "listener").await?;
    let track = any_track(&client).await?;
    let short = Listener::begin(&client, &track).await?;
    short.beat(system, &[(0, "start", 0, 0), (1, "stop", 0, 1_500)]).await?;
    let item = reaches(&short, "void").await?;
    ensure!(item["reason"].to_string().contains("too_short"), "{item}");
    let fast = Listener::begin(&client, &track).await?;
    fast.beat(system, &[(0, "start", 0, 0), (1, "progress", 0, 30_000), (2, "end", 30_000, 40_000)]).await?;
    let item = reaches(&fast, "void").await?;
    ensure!(item["reason"].to_string().contains("faster_than_time"), "{item}");
    Ok(())
}

/// The same event by both paths has one name and counts once.
pub(crate) async fn a_heartbeat_through_the_gateway_counts_once_with_the_edge(system: &System) -> Result<()> {
    let client = Client::signed_up(&system.run.edge, "listener").await?;
    let play = Listener::begin(&client, &any_track(&client).await?).await?;
    hear(system, &play, &[(0, "start", 0, 0)]).await?;
    let again = play.post(&[(1, "progress", 0, 16_000), (2, "progress", 16_000, 32_000), (3, "stop", 32_000, 34_000)]);
    client.at(&system.run.gateway).send(Method::POST, "/v1/me/play-event", Some(&again)).await?.expect(202)?;
    let item = reaches(&play, "provisional").await?;
    ensure!(item["played_ms"].as_i64().is_some_and(|ms| (32_000..=34_000).contains(&ms)), "{item}");
    Ok(())
}

/// CMCD in event mode, as a stock player posts it: through the edge, once more through the gateway, with a line nobody can read.
pub(crate) async fn a_stock_players_reports_count(system: &System) -> Result<()> {
    let client = Client::signed_up(&system.run.edge, "listener").await?;
    let play = Listener::begin(&client, &any_track(&client).await?).await?;
    let ticket = play.manifest["play"]["ticket"].as_str().context("ticket")?;
    let record = |sn: u32, rest: &str| format!("cid=\"{ticket}\",sid=\"stock\",sn={sn},v=2,{rest}");
    let report = async |base: &str, body: String| {
        answer(Client::new(base)?.request(Method::POST, "/v1/me/play-event").header("content-type", "application/cmcd").body(body)).await
    };
    let begun = format!("{}\nnonsense\n", record(0, "e=ps,sta=p,ts=1000"));
    let said = report(&system.run.edge, begun).await?.expect(202)?;
    ensure!(said["accepted"] == 1 && said["rejected"][0]["code"] == "malformed_record", "{said}");
    sleep(Duration::from_secs(31)).await;
    let heard = format!("{}\n{}\n", record(1, "e=t,sta=p,ts=31500"), record(2, "e=ps,sta=e,ts=32000"));
    report(&system.run.edge, heard.clone()).await?.expect(202)?;
    report(&system.run.gateway, heard).await?.expect(202)?;
    let item = reaches(&play, "provisional").await?;
    ensure!(item["played_ms"] == 31_000, "{item}");
    report(&system.run.edge, record(3, "e=t,sta=e,ts=62000")).await?.refused(410, "play_ended")?;
    report(&system.run.gateway, record(3, "e=t,sta=e,ts=62000")).await?.refused(410, "play_ended")?;
    report(&system.run.edge, "e=t,sid=\"stock\",sn=0,sta=p,ts=1,v=2".to_owned()).await?.refused(401, "ticket_invalid")?;
    Ok(())
}

/// A pool that no share divides: shares sum to the unit, a second run posts nothing, every statement adds up.
pub(crate) async fn an_awkward_pool_is_settled_to_the_unit_once(system: &System) -> Result<()> {
    let admin = Client::logged_in(&system.run.edge, &system.run.accounts.admin).await?;
    let artist = Client::logged_in(&system.run.edge, &system.run.accounts.artist).await?;
    let listener = Client::signed_up(&system.run.edge, "listener").await?;
    let account = uuid::Uuid::from_u128(rand::random()).to_string();
    drop(listener);
    let item = |source: &str, micros: i64| json!({"items": [{"source_id": source, "account_id": account, "period": period(), "territory": "DE", "amount": {"micros": micros, "currency": "EUR"}}]});
    let revenue = item("invoice-1", 10_000_019);
    let taken = admin.send(Method::POST, "/v1/royalties/revenue", Some(&revenue)).await?.expect(201)?;
    ensure!(taken["accepted"] == 1, "{taken}");
    let again = admin.send(Method::POST, "/v1/royalties/revenue", Some(&revenue)).await?.expect(201)?;
    ensure!(again["accepted"] == 0 && again["duplicate"] == 1, "{again}");
    let other = admin.send(Method::POST, "/v1/royalties/revenue", Some(&item("invoice-1", 5))).await?;
    ensure!(other.status == 409, "other content under the same source: {}", other.status);

    let order = |dry_run: bool| json!({"period": period(), "currency": "EUR", "model": "pro_rata", "dry_run": dry_run});
    let dry = admin.send(Method::POST, "/v1/royalties/settlements", Some(&order(true))).await?;
    ensure!(dry.status.is_success(), "{}", dry.body.text());
    let first = admin.send(Method::POST, "/v1/royalties/settlements", Some(&order(false))).await?.expect(201)?;
    let micros = |amount: &Value| amount["micros"].as_i64().unwrap_or(-1);
    ensure!(micros(&first["pool"]) == 10_000_019, "{first}");
    ensure!(micros(&first["paid"]) + micros(&first["remainder"]) == 10_000_019, "{first}");
    ensure!(micros(&first["remainder"]) < 10_000, "less than a cent is carried: {first}");
    ensure!(first["listens"].as_i64().is_some_and(|listens| listens >= 2), "{first}");
    let balance = artist.get("/v1/royalties/balance").await?;
    let second = admin.send(Method::POST, "/v1/royalties/settlements", Some(&order(false))).await?;
    ensure!(second.status.is_success() && second.body.json()["id"] == first["id"], "{}", second.body.text());
    ensure!(artist.get("/v1/royalties/balance").await? == balance, "a second run changed the balance");

    let statements = artist.get("/v1/royalties/statements").await?;
    let statement = statements["items"].as_array().and_then(|items| items.first()).context("the artist has a statement")?;
    ensure!(micros(&statement["amount"]) > 0 && statement["amount"] == balance["available"], "{statement} {balance}");
    let whole = artist.get(&format!("/v1/royalties/statements/{}", statement["id"].as_str().unwrap_or_default())).await?;
    let lines = whole["lines"].as_array().or_else(|| whole["items"].as_array()).context("lines")?;
    let sum: i64 = lines.iter().map(|line| micros(&line["amount"])).sum();
    ensure!(sum == micros(&statement["amount"]), "lines add up to {sum}, the statement says {statement}");
    let stranger = Client::signed_up(&system.run.edge, "artist").await?;
    let refused =
        stranger.send(Method::GET, &format!("/v1/royalties/statements/{}", statement["id"].as_str().unwrap_or_default()), None).await?;
    ensure!(refused.status == 404, "a stranger reads the statement: {}", refused.status);
    Ok(())
}
