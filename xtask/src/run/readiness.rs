//! Whether every part answers: each `/readyz` is asked until it says 200, and what it said otherwise is kept for the
//! message that a start which never gets there ends with.
use std::{fmt::Write, time::Duration};

use anyhow::Result;

use super::ports::Ports;

/// Parts that answer `/readyz` where they listen.
const ASKED: &[&str] = &["identity", "catalog", "ingest", "store", "search", "recommend", "royalty", "lake", "gateway", "edge"];
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The parts that have not been ready yet, with their last answer.
pub(crate) struct Readiness {
    client: ureq::Agent,
    waiting: Vec<(&'static str, String, String)>,
}

impl Readiness {
    /// Nothing has answered so far.
    pub(crate) fn new(ports: &Ports) -> Result<Self> {
        let waiting = ASKED
            .iter()
            .map(|part| Ok((*part, format!("http://127.0.0.1:{}/readyz", ports.of(part)?), "no answer yet".to_owned())))
            .collect::<Result<_>>()?;
        let client = ureq::Agent::config_builder().timeout_global(Some(ANSWER_WITHIN)).http_status_as_error(false).build().into();
        Ok(Self { client, waiting })
    }

    /// Asks those that were not ready; true once every one has been.
    pub(crate) fn ask(&mut self) -> bool {
        let client = &self.client;
        self.waiting.retain_mut(|(_, url, last)| match client.get(url.as_str()).call() {
            Ok(response) if response.status() == 200 => false,
            Ok(mut response) => {
                let body = response.body_mut().read_to_string().unwrap_or_default();
                *last = format!("{} {}", response.status(), body.trim());
                true
            }
            Err(error) => {
                *last = error.to_string();
                true
            }
        });
        self.waiting.is_empty()
    }

    /// Who is not ready, and why as far as it is known.
    pub(crate) fn complaint(&self) -> String {
        self.waiting.iter().fold(String::new(), |mut text, (part, url, last)| {
            let _ = write!(text, "\n  {part} ({url}): {last}");
            text
        })
    }

    /// The parts that have not been ready.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.waiting.iter().map(|(part, _, _)| *part)
    }
}
