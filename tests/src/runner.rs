//! Runs named checks against one system and reports them as Rust's own test harness would.

use std::{pin::Pin, time::Instant};

use anyhow::Result;
use futures::future::join_all;

use crate::System;

/// A check's run on one system.
type Outcome<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// One check: named for the promise it holds the system to.
pub struct Check {
    /// The promise.
    pub name: &'static str,
    /// The proof.
    pub run: for<'a> fn(&'a System) -> Outcome<'a>,
}

/// Makes a [`Check`] of an `async fn(&System) -> Result<()>`.
#[macro_export]
macro_rules! check {
    ($path:path) => {
        $crate::runner::Check { name: stringify!($path), run: |system| Box::pin($path(system)) }
    };
}

/// How the checks went.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Checks that held.
    pub passed: usize,
    /// Checks that did not.
    pub failed: usize,
}

impl Tally {
    /// Runs the checks of a stage at the same time; each prints its line when it ends.
    pub async fn stage(&mut self, system: &System, filter: Option<&str>, checks: &[Check]) {
        let chosen = checks.iter().filter(|check| filter.is_none_or(|filter| check.name.contains(filter)));
        let outcomes = join_all(chosen.map(|check| async move {
            let started = Instant::now();
            let outcome = (check.run)(system).await;
            let took = started.elapsed().as_secs_f32();
            match &outcome {
                Ok(()) => println!("test {} ... ok ({took:.1} s)", check.name),
                Err(error) => println!("test {} ... FAILED ({took:.1} s)\n    {error:#}\n", check.name),
            }
            outcome.is_ok()
        }))
        .await;
        let passed = outcomes.iter().filter(|held| **held).count();
        self.passed += passed;
        self.failed += outcomes.len() - passed;
    }

    /// The closing line, in the words of Rust's own harness.
    pub fn report(self) {
        let word = if self.failed == 0 { "ok" } else { "FAILED" };
        println!("\ntest result: {word}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out", self.passed, self.failed);
    }
}
