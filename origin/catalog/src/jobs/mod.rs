//! What runs beside the routes.

pub(crate) mod counters;
