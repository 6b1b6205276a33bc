//! The wish to stop, shared by everything that runs: from SIGTERM or SIGINT (or a test) to every loop and server of the process.

use std::sync::Arc;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// A cloneable flag that is raised once.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Not raised; raise it with [`Self::request`].
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Raised by SIGTERM or SIGINT. Call within a Tokio runtime.
    ///
    /// # Errors
    /// When the operating system refuses the handlers.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let raised = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            raised.request();
        });
        Ok(shutdown)
    }

    /// Raises the flag.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is raised.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Completes when it is raised, at once when it has been.
    pub async fn requested(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as `self`, so the error of a closed channel cannot occur.
        let _ = receiver.wait_for(|raised| *raised).await;
    }

    /// Waits for `ms` milliseconds; `false` when the flag was raised meanwhile, which ends the caller's loop.
    pub async fn pause(&self, ms: u64) -> bool {
        tokio::select! {
            () = self.requested() => false,
            () = tokio::time::sleep(std::time::Duration::from_millis(ms)) => !self.is_requested(),
        }
    }
}
