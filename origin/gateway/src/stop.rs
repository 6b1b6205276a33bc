//! How the gateway stops: on SIGTERM it first says "not ready" and closes each connection after its answer, waits for what is under way,
//! and only then lets Pingora close the listeners.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch, UnixShutdownSignalWatch};
use tokio::sync::Mutex;

use crate::gateway::Gateway;

/// Waits for a reason to stop, then for the requests under way.
pub(crate) struct Stop {
    gateway: Arc<Gateway>,
    asked: Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Stop {
    pub(crate) fn new(gateway: Arc<Gateway>, asked: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { gateway, asked: Mutex::new(Box::pin(asked)) }
    }

    /// Until nothing is under way, or the patience is over.
    async fn drain(&self) {
        self.gateway.draining.store(true, Ordering::Release);
        let patience = Duration::from_secs(self.gateway.conf.drain.s_max);
        let idle = async {
            while self.gateway.metrics.in_flight() > 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(patience, idle).await.is_err() {
            tracing::warn!(in_flight = self.gateway.metrics.in_flight(), "requests are still under way and will be cut off");
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Stop {
    async fn recv(&self) -> ShutdownSignal {
        let mut asked = self.asked.lock().await;
        let signal = tokio::select! {
            signal = UnixShutdownSignalWatch.recv() => signal,
            () = asked.as_mut() => ShutdownSignal::GracefulTerminate,
        };
        if matches!(signal, ShutdownSignal::GracefulTerminate) {
            self.drain().await;
        }
        signal
    }
}
