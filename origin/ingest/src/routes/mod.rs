//! The routes, a file per resource.

pub(crate) mod tracks;
pub(crate) mod uploads;
