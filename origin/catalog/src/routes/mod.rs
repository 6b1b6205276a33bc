//! One file for each resource: extract, authorise, call, answer.

pub(crate) mod cards;
pub(crate) mod follows;
pub(crate) mod like_changes;
pub(crate) mod likes;
pub(crate) mod outbox;
pub(crate) mod publications;
pub(crate) mod tracks;

use platform::Problem;

/// 404 for a track that the catalogue does not have.
fn no_such_track() -> Problem {
    Problem::not_found("no_such_track", "there is no track with this id")
}
