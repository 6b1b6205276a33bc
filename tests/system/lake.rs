//! From a player and a heart-shaped button to rows: `antiphon lake` on a running system, and DuckDB over a copy.

use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use whole_system_tests::{Client, Listener, System, eventually, foreign};

use crate::{playback::any_track, reconcile::antiphon};

/// Heard before it was skipped; no other check stops there, so this play can be told among pseudonyms.
const HEARD_MS: u32 = 1_234;

async fn ask(system: &System, sql: &str) -> Result<Value> {
    let output = antiphon(system, &["lake", sql, "--json"]).await?;
    ensure!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A play that is skipped and a like that is taken back are rows, each once and of one listener.
pub(crate) async fn what_was_done_is_in_the_lake_once_and_every_engine_reads_it(system: &System) -> Result<()> {
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

    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("copy");
    let output = antiphon(system, &["lake", "--export", &copy.display().to_string()]).await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let of_copy =
        format!("FROM read_parquet('{}/activity/kind=play/*/*.parquet') WHERE played_ms = {HEARD_MS} AND skipped", copy.display());
    let said = foreign::duckdb(&format!("SELECT count(DISTINCT play), any_value(track), any_value(territory) {of_copy}")).await?;
    ensure!(said[0][0] == 1 && said[0][1] == *track, "DuckDB reads {said}");

    let refused = antiphon(system, &["lake", "DELETE FROM plays"]).await?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(!refused.status.success() && said.contains("only be read"), "{said}");
    Ok(())
}
