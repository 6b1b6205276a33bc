//! Rules kept by a program: every route is described, refuses strangers and bounds what it takes.

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::Value;
use whole_system_tests::{Client, System, foreign};

/// Routes that are public by intent. Anything else must refuse a stranger with 401.
const PUBLIC: [&str; 9] = [
    "POST /v1/accounts",
    "POST /v1/sessions",
    "POST /v1/sessions/refresh",
    "GET /.well-known/jwks.json",
    "POST /v1/me/play-event",
    "GET /v1/search",
    "GET /v1/search/suggest",
    "GET /v1/tracks/{id}",
    "GET /v1/tracks/{id}/similar",
];

/// Each operation of `/openapi.json`, tried without a session.
pub(crate) async fn every_route_refuses_strangers_and_is_described(system: &System) -> Result<()> {
    let client = Client::new(&system.run.edge)?;
    let document = client.get("/openapi.json").await?;
    let paths = document["paths"].as_object().context("paths")?;
    ensure!(paths.len() >= 20, "only {} paths are described", paths.len());
    let mut faults = Vec::new();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            let name = format!("{method} {path}");
            faults.extend(undescribed(operation).map(|what| format!("{name}: {what}")));
            let is_media = path.starts_with("/v1/media/");
            if path.starts_with("/internal/") {
                faults.push(format!("{name}: internal routes are not public"));
            }
            if is_media || PUBLIC.contains(&name.as_str()) || !path.starts_with("/v1/") {
                continue;
            }
            let concrete = concrete(path);
            let body = operation["requestBody"].is_object().then(|| serde_json::json!({}));
            let answer = client.send(method, &concrete, body.as_ref()).await?;
            if answer.status != 401 {
                faults.push(format!("{name}: a stranger gets {}", answer.status));
            }
        }
    }
    ensure!(faults.is_empty(), "{faults:#?}");
    Ok(())
}

fn undescribed(operation: &Value) -> Option<&'static str> {
    let responses = operation["responses"].as_object()?;
    if !responses.keys().any(|status| status.starts_with('2')) {
        return Some("no success is described");
    }
    if operation["summary"].as_str().or_else(|| operation["description"].as_str()).is_none_or(str::is_empty) {
        return Some("no summary");
    }
    None
}

/// The path with a plausible id in each place.
fn concrete(path: &str) -> String {
    path.split('/')
        .map(|part| if part.starts_with('{') { "019aab00-0000-7000-8000-000000000000" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

/// Made-up requests to every operation, with an artist's session: nothing breaks, and nothing answers what is not described.
pub(crate) async fn no_made_up_request_breaks_the_contract(system: &System) -> Result<()> {
    let artist = Client::signed_up(&system.run.edge, "artist").await?;
    foreign::schemathesis(&system.run.edge, artist.token.as_deref().unwrap_or_default()).await
}

/// `/healthz` and `/readyz` at both voices; an unknown path is a problem document.
pub(crate) async fn every_part_is_healthy(system: &System) -> Result<()> {
    for base in [&system.run.edge, &system.run.gateway] {
        let client = Client::new(base)?;
        for path in ["/healthz", "/readyz"] {
            client.send(Method::GET, path, None).await?.expect(200).with_context(|| format!("{base}{path}"))?;
        }
        let odd = client.send(Method::from_bytes(b"QUERY")?, "/v1/me/likes", None).await?;
        ensure!(odd.status == 405, "{base}: a method nobody knows is answered {}: {}", odd.status, odd.body.text());
        let lost = client.send(Method::GET, "/v1/nowhere", None).await?;
        ensure!(lost.status == 404 && !lost.code().is_empty(), "{}", lost.body.text());
        let internal = client.send(Method::GET, "/internal/sheets/00000000000000000000000000000000", None).await?;
        ensure!(internal.status == 404 || internal.status == 403, "{base} opens /internal: {}", internal.status);
    }
    Ok(())
}
