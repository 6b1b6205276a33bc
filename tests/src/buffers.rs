//! What the heartbeat buffers at the edge hold, as an operator asks: signed with the edge's own secret.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use protocol::edge_auth;
use serde::Deserialize;
use serde_json::Value;

use crate::{Client, System, client, eventually};

/// A local system has so many (wrangler.toml, BUFFER_SHARDS).
const BUFFERS: u16 = 64;

/// Waits until no buffer holds anything: everything that was acknowledged is at the origin, and nothing will be sent again.
///
/// # Errors
/// When something is still held after a minute and a half, or was set aside.
pub async fn emptied(system: &System) -> Result<()> {
    #[derive(Deserialize)]
    struct Secret {
        secret: String,
    }
    let secret: Secret = serde_json::from_str(&std::fs::read_to_string(system.state.join("keys/edge.json")).context("edge.json")?)?;
    let secret = hex::decode(secret.secret)?;
    let path = format!("/internal/buffers/0-{}", BUFFERS - 1);
    eventually("the buffers are empty", Duration::from_secs(90), async || {
        let signature = edge_auth::sign(&secret, "GET", &path, b"", crate::now());
        let edge = Client::new(&system.run.edge)?;
        let held: Value =
            client::answer(edge.request(reqwest::Method::GET, &path).header(edge_auth::HEADER, signature)).await?.expect(200)?;
        ensure!(held["posts"] == 0 && held["batches"] == 0 && held["set_aside"] == 0, "{held}");
        Ok(())
    })
    .await
}
