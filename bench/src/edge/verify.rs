//! What one check of a media token, or of a session, costs: N of them in one request, seen from outside, since a Worker's clock stands still while it
//! computes. The slope over N leaves out what a request itself costs.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, ensure};

use super::{
    origin::Origin,
    scene::Scene,
    workerd::{Kind, Worker, Workers},
};
use crate::client::Client;

const FEW: usize = 50;
/// Messages a request: tokens, and sessions, whose curve takes its time.
const MANY_TOKENS: usize = 3_050;
const MANY_SESSIONS: usize = 250;

/// One way of checking, with microseconds of CPU a message, one value a round.
#[derive(Debug)]
pub(crate) struct Way {
    /// Its path in bench/workers/verify.js.
    pub(crate) path: &'static str,
    /// For people.
    pub(crate) name: &'static str,
    many: usize,
    /// One value a round.
    pub(crate) us: Vec<f64>,
}

/// The Worker's check of a token.
pub(crate) const WASM: &str = "wasm";
/// The same by WebCrypto.
pub(crate) const WEBCRYPTO: &str = "webcrypto";

fn ways() -> [Way; 6] {
    let way = |path, name, many| Way { path, name, many, us: Vec::new() };
    [
        way(WASM, "media token (HMAC), WebAssembly: the Worker's code", MANY_TOKENS),
        way("receipt-wasm", "the same, and a segment's receipt", MANY_TOKENS),
        way(WEBCRYPTO, "media token, JavaScript with WebCrypto", MANY_TOKENS),
        way("sign", "`crypto.subtle.sign` of 81 bytes alone", MANY_TOKENS),
        way("session-wasm", "session (Ed25519), WebAssembly: the Worker's code", MANY_SESSIONS),
        way("session-webcrypto", "session, JavaScript with WebCrypto", MANY_SESSIONS),
    ]
}

/// Measures all ways in turn.
///
/// # Errors
/// When one of them does not take what is valid, or takes something else.
pub(crate) fn measure(workers: &Workers, scene: &Scene, module: &Path, rounds: usize) -> Result<Vec<Way>> {
    let origin = Origin::start(scene)?;
    let ours = workers.start(Kind::Ours, scene, &origin)?;
    let headers = [("authorization", scene.authorization.as_str()), ("accept", "application/json")];
    let media = Scene::media(&Client::new(&ours.url)?.get(&scene.manifest(), &headers)?.json()?)?;
    let token = media.rsplit('/').next().context("a signed directory ends with its token")?;
    let session = scene.authorization.strip_prefix("Bearer ").context("a session is a bearer token")?;
    let worker = workers.with_verify_module(module).start(Kind::Verify, scene, &origin)?;
    let mut client = Client::new(&worker.url)?;

    let mut ways = ways();
    let text = |way: &Way| if way.path.starts_with("session") { session } else { token };
    for way in ways.iter().filter(|way| way.path != "sign") {
        ensure!(valid(&mut client, way.path, text(way), 3)? == 3, "{} refuses what is valid", way.name);
        ensure!(valid(&mut client, way.path, &altered(text(way)), 3)? == 0, "{} takes what was altered", way.name);
    }
    // The first round compiles the code.
    for round in 0..=rounds {
        for way in &mut ways {
            let us = slope_us(&worker, &mut client, way, text(way))?;
            if round > 0 {
                way.us.push(us);
            }
        }
    }
    Ok(ways.into())
}

/// With another character in the middle, where every bit counts.
fn altered(text: &str) -> String {
    let (head, tail) = text.split_at(text.len() / 2);
    let other = if tail.starts_with('A') { "B" } else { "A" };
    format!("{head}{other}{}", tail.get(1..).unwrap_or_default())
}

fn slope_us(worker: &Worker, client: &mut Client, way: &Way, text: &str) -> Result<f64> {
    let mut cost = |count| -> Result<f64> {
        let (before, begun) = (worker.cpu()?, Instant::now());
        ensure!(valid(client, way.path, text, count)? == count, "{} refuses what is valid", way.name);
        // One thread computes, so what it used is at most the time that went by; more is another thread's.
        let used = worker.cpu()?.saturating_sub(before);
        Ok(used.min(begun.elapsed()).as_secs_f64() * 1e6)
    };
    let (few, many) = (cost(FEW)?, cost(way.many)?);
    Ok((many - few) / (way.many - FEW) as f64)
}

fn valid(client: &mut Client, path: &str, text: &str, count: usize) -> Result<usize> {
    let answer = client.get(&format!("/{path}?n={count}&text={text}"), &[])?;
    let told = String::from_utf8_lossy(&answer.body).into_owned();
    told.parse().with_context(|| format!("/{path}: {} {told}", answer.status))
}
