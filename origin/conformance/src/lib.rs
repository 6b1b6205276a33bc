//! Whether what we publish keeps the rules of others.
//!
//! [`hls::check`] fetches a presentation as a player would, measures it, and holds it to the numeric rules of Apple's HLS authoring
//! specification and of the documents it stands on. It knows nothing of Antiphon but how to ask for a manifest, so it may be pointed at any
//! audio-only HLS on demand; `antiphon check-hls` and the whole-system tests do so.

pub mod hls;
