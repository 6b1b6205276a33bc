//! What every service stands on: configuration, keys, HTTP conventions, verified callers, PostgreSQL, the queue, the object store.
//!
//! Nothing here knows a business rule. Powers (clock, randomness, shutdown) are values that a service is handed, so that a test
//! can hand it others.
//!
//! ```text
//!  antiphon.toml, environment, --set ──► Config ──► Keys ──► AuthState ──┐
//!                                          │                             ▼
//!  request ──► serve (id, trace, limits, panics) ──► Caller, Json, Paging ──► handler ──► Page, Created, Problem
//!                                          │                                    │
//!                                          └──► pg::pool, queue::Queue, objects::Objects
//! ```

pub mod activity;
pub mod auth;
pub mod clock;
pub mod config;
pub mod feed;
pub mod idempotency;
pub mod json;
pub mod keys;
pub mod memberships;
pub mod metrics;
pub mod migrate;
pub mod objects;
pub mod openapi;
pub mod paging;
pub mod peer;
pub mod pg;
pub mod problem;
pub mod queue;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;

pub use auth::{Admin, AuthState, Caller};
pub use clock::{Clock, random_bytes};
pub use config::{Config, ConfigArgs, ConfigError};
pub use json::{Created, Json, NoContent, Path, Query};
pub use keys::{Keys, KeysError};
pub use paging::{Page, Paging};
pub use peer::Peer;
pub use problem::Problem;
pub use serve::serve;
pub use shutdown::Shutdown;
