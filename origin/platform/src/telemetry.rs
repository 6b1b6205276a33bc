//! Logs of the process: JSON lines on standard error for machines, plain text when a person watches. `RUST_LOG` filters.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Starts logging for `role`. The second call of a process does nothing.
pub fn init(role: &str) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn,tantivy=warn,hyper=warn,s3s=warn,s3s_fs=warn"));
    let registry = tracing_subscriber::registry().with(filter);
    let started = if std::io::stderr().is_terminal() {
        registry.with(fmt::layer().with_writer(std::io::stderr)).try_init()
    } else {
        registry
            .with(fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false).with_writer(std::io::stderr))
            .try_init()
    };
    if started.is_ok() {
        tracing::info!(role, version = env!("CARGO_PKG_VERSION"), "starting");
    }
}
