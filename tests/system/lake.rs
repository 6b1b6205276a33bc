//! From a player and a heart-shaped button to rows: `antiphon lake` on a running system, and engines that are not ours over a copy.

use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use whole_system_tests::{Client, Listener, System, eventually, foreign::Engine};

use crate::{playback::any_track, reconcile::antiphon};

/// Heard before it was skipped; no other check stops there, so this play can be told among pseudonyms.
const HEARD_MS: u32 = 1_234;

async fn ask(system: &System, sql: &str) -> Result<Value> {
    let output = antiphon(system, &["lake", sql, "--json"]).await?;
    ensure!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A play that is skipped and a like that is taken back are rows, each once and of one listener.
pub(crate) async fn what_was_done_is_in_the_lake_once(system: &System) -> Result<()> {
    let client = Client::signed_up(&system.run.edge, "listener").await?;
    let track = any_track(&client).await?;
    let play = Listener::begin(&client, &track).await?;
    play.beat(system, &[(0, "start", 0, 0)]).await?;
    for method in [Method::PUT, Method::DELETE] {
        client.send(method, &format!("/v1/me/likes/{track}"), None).await?.expect(204)?;
    }
    tokio::time::sleep(Duration::from_millis(HEARD_MS.into())).await;
    play.beat(system, &[(1, "stop", 0, HEARD_MS)]).await?;

    let likes = format!(
        "SELECT liked, likes.track, played_ms FROM skips JOIN likes USING (listener) WHERE played_ms = {HEARD_MS} ORDER BY likes.revision, position"
    );
    eventually("the skip and the like are in the lake", Duration::from_secs(60), async || {
        let said = ask(system, &likes).await?;
        let row = |liked: bool| json!({"liked": liked, "track": track, "played_ms": HEARD_MS});
        ensure!(said == json!([row(true), row(false)]), "{said}");
        Ok(())
    })
    .await?;

    let refused = antiphon(system, &["lake", "DELETE FROM plays"]).await?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(!refused.status.success() && said.contains("only be read"), "{said}");
    Ok(())
}

/// All that was played and liked so far, as the database has it: plays and credited time by state, changes of mind by kind, versions written twice.
const OF_DATABASE: &str = "SELECT json_build_array(
    (SELECT json_agg(json_build_array(state, plays, played_ms) ORDER BY state COLLATE \"C\")
     FROM (SELECT state, count(*) AS plays, sum(played_ms)::BIGINT AS played_ms FROM royalty.plays GROUP BY state) AS states),
    (SELECT json_agg(json_build_array(liked, likes) ORDER BY liked)
     FROM (SELECT liked, count(*) AS likes FROM catalog.like_changes GROUP BY liked) AS minds),
    json_build_array(json_build_array(0)))";
/// The same of the lake.
const OF_LAKE: [&str; 3] = [
    "SELECT state, count(*) AS plays, sum(played_ms) AS played_ms FROM plays GROUP BY state ORDER BY state",
    "SELECT liked, count(*) AS likes FROM likes GROUP BY liked ORDER BY liked",
    "SELECT count(*) AS repeated FROM (SELECT play, revision FROM play_revisions GROUP BY play, revision HAVING count(*) > 1) AS twice",
];

/// DuckDB and Spark count in a copy what the database counts of the whole run.
pub(crate) async fn every_engine_counts_what_the_database_does(system: &System) -> Result<()> {
    let (copy, truth) = eventually("the lake is level with the database", Duration::from_secs(60), async || {
        let mut database = PgConnection::connect(&system.run.database).await?;
        let truth = sqlx::query_scalar::<_, Value>(OF_DATABASE).fetch_one(&mut database).await?;
        let copy = tempfile::tempdir()?;
        let output = antiphon(system, &["lake", "--export", &copy.path().display().to_string()]).await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Nobody plays now, but what they played may still be on its way to its judgement, and from there to the lake.
        let said = Engine::DuckDb.ask(copy.path(), &OF_LAKE).await?;
        ensure!(said.as_ref() == Some(&truth), "DuckDB counts {said:?}, the database {truth}");
        Ok((copy, truth))
    })
    .await?;
    let plays: i64 = truth[0].as_array().into_iter().flatten().filter_map(|of_state| of_state[1].as_i64()).sum();
    ensure!(plays > 0 && truth[1].as_array().is_some_and(|minds| minds.len() == 2), "nothing is compared: {truth}");
    if let Some(said) = Engine::Spark.ask(copy.path(), &OF_LAKE).await? {
        ensure!(said == truth, "Spark counts {said}, the database {truth}");
    }
    Ok(())
}
