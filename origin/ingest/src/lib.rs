//! ingest

pub mod media;
