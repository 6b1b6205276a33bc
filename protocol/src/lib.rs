//! What the edge and the origin must agree on, and nothing else.
//!
//! Everything here is a pure function of its arguments: no I/O, no clock, no randomness. Instants and random bytes come in
//! as parameters, so the same code runs in the Worker (wasm32) and in the gateway (native), and a test is a table.
//!
//! ```text
//!  session ──► manifest ──► token ──► playlist ──► segment     (playback: `session`, `manifest`, `token`, `playlist`)
//!                 │
//!                 └──► ticket ──► heartbeat ──► batch ──► listen   (money: `heartbeat`, `receipt`, `listen`)
//! ```

pub mod admission;
pub mod beats;
pub mod choose;
pub mod cmcd;
pub mod conditional;
pub mod edge_auth;
pub mod evidence;
pub mod heartbeat;
pub mod ids;
pub mod keys;
pub mod listen;
pub mod manifest;
pub mod media_path;
pub mod plan;
pub mod playlist;
pub mod problem;
pub mod query;
pub mod receipt;
pub mod revocation;
pub mod rung;
pub mod session;
pub mod sheet;
pub mod tally;
pub mod territory;
pub mod time;
pub mod token;

pub use ids::{AccountId, ArtistId, MediaVersion, PlayId, ReleaseId, TrackId, UploadId};
pub use plan::{Plan, Role};
pub use problem::Problem;
pub use rung::{Rung, RungSet};
pub use territory::Territory;
pub use time::UnixMs;
