//! Requests at a fixed rate, whatever the answers do. Each is due at an instant of its own and its latency runs from that instant to the last
//! byte of its answer, also when it had to wait for a connection: no answer hides behind another (coordinated omission).

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::Effort;
use crate::{client::Client, stats::Samples};

/// The kernel wakes a sleeper this much late; the rest is waited for awake.
const OVERSLEEP: Duration = Duration::from_micros(120);

/// What one window asks for, in turn.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    /// `http://host:port`
    pub(crate) url: String,
    /// Paths, each as often as the others.
    pub(crate) paths: Vec<String>,
    /// Headers of every request.
    pub(crate) headers: Vec<(String, String)>,
}

impl Requests {
    /// Asks once.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub(crate) fn ask(&self, client: &mut Client, number: usize) -> Result<crate::client::Answer> {
        let Some(path) = self.paths.get(number % self.paths.len().max(1)) else { bail!("nothing to ask for") };
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = client.get(path, &headers)?;
        if answer.status != 200 {
            bail!("{path}: {} {:.200}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        Ok(answer)
    }
}

/// Sends `effort.rate` requests a second for `effort.window`, and answers their latencies.
///
/// # Errors
/// When an answer is not 200.
pub(crate) fn run(requests: &Requests, effort: Effort) -> Result<Samples> {
    let count = (f64::from(effort.rate) * effort.window.as_secs_f64()).round() as usize;
    let between = Duration::from_secs(1) / effort.rate;
    let next = AtomicUsize::new(0);
    let begun = Instant::now() + Duration::from_millis(5);
    let connection = || -> Result<Vec<Duration>> {
        let mut client = Client::new(&requests.url)?;
        let mut latencies = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(latencies);
            }
            let due = begun + between * u32::try_from(number).unwrap_or(u32::MAX);
            wait_until(due);
            requests.ask(&mut client, number)?;
            latencies.push(due.elapsed());
        }
    };
    let mut samples = Samples::default();
    thread::scope(|scope| {
        let connections: Vec<_> = (0..effort.connections).map(|_| scope.spawn(connection)).collect();
        for connection in connections {
            match connection.join() {
                Ok(latencies) => latencies?.into_iter().for_each(|latency| samples.push(latency)),
                Err(_) => bail!("a connection's thread ended early"),
            }
        }
        Ok(samples)
    })
}

fn wait_until(due: Instant) {
    let ahead = due.saturating_duration_since(Instant::now());
    if ahead > OVERSLEEP {
        thread::sleep(ahead - OVERSLEEP);
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn one_late_answer_makes_those_behind_it_late_too() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stall = Duration::from_millis(200);
        thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let mut answered = 0;
            while connection.read(&mut request).unwrap_or(0) > 0 {
                if answered == 10 {
                    thread::sleep(stall);
                }
                answered += 1;
                connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });
        let requests = Requests { url, paths: vec!["/".to_owned()], headers: Vec::new() };
        let effort = Effort { rounds: 1, rate: 100, window: Duration::from_millis(500), connections: 1 };
        let samples = run(&requests, effort).unwrap();
        // A closed loop would have one late sample of 50. Here all that were due during the stall waited for it.
        assert_eq!(samples.len(), 50);
        assert!(samples.percentile(70) >= stall / 4, "{:?}", samples.percentile(70));
    }
}
