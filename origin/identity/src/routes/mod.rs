//! Identity's routes, one file per resource.

pub(crate) mod accounts;
pub(crate) mod artists;
pub(crate) mod keys;
pub(crate) mod members;
pub(crate) mod memberships;
pub(crate) mod revocations;
pub(crate) mod sessions;
