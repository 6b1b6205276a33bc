//! From the start of the process to the first answer: with the Worker's module to read, compile and instantiate, and with nothing of the kind.

use std::time::Instant;

use anyhow::Result;

use super::{
    origin::Origin,
    scene::Scene,
    workerd::{Kind, Workers},
};
use crate::client::Client;

/// One kind of Worker, started again and again.
#[derive(Debug)]
pub(crate) struct Startup {
    /// Which.
    pub(crate) kind: Kind,
    /// Until the process listened, ms. workerd compiles a Worker before that.
    pub(crate) listening_ms: Vec<f64>,
    /// The first request's answer, ms.
    pub(crate) first_ms: Vec<f64>,
    /// CPU of the process by then, ms.
    pub(crate) cpu_ms: Vec<f64>,
}

/// Starts each kind `rounds` times, in turn.
///
/// # Errors
/// When one does not come up.
pub(crate) fn measure(workers: &Workers, scene: &Scene, rounds: usize) -> Result<Vec<Startup>> {
    let origin = Origin::start(scene)?;
    let mut kinds = [Kind::Empty, Kind::Ours, Kind::JavaScript].map(|kind| Startup {
        kind,
        listening_ms: Vec::new(),
        first_ms: Vec::new(),
        cpu_ms: Vec::new(),
    });
    // One more: the first start of each reads the program from the disk.
    for round in 0..=rounds {
        for startup in &mut kinds {
            let worker = workers.start(startup.kind, scene, &origin)?;
            let mut client = Client::new(&worker.url)?;
            let asked = Instant::now();
            client.get("/healthz", &[])?;
            let first_ms = asked.elapsed().as_secs_f64() * 1e3;
            if round > 0 {
                startup.listening_ms.push(worker.listening_after.as_secs_f64() * 1e3);
                startup.first_ms.push(first_ms);
                startup.cpu_ms.push(worker.cpu()?.as_secs_f64() * 1e3);
            }
        }
    }
    Ok(kinds.into())
}
