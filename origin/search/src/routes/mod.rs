//! Search's routes, and what both take.

pub(crate) mod search;
pub(crate) mod suggest;

use platform::Problem;

use crate::entry::Kind;

/// Characters of a query; more is not typed by a person.
const QUERY_CHARS_MAX: usize = 256;

/// The query's text.
///
/// # Errors
/// 400 `invalid_query` when it is too long.
fn text(q: Option<String>) -> Result<String, Problem> {
    let q = q.unwrap_or_default();
    if q.chars().count() > QUERY_CHARS_MAX {
        return Err(Problem::bad_request("invalid_query", format!("`q` has at most {QUERY_CHARS_MAX} characters")));
    }
    Ok(q)
}

/// The kinds of a comma-separated list; `None` when the client does not say. Playlists can be asked for and are never found.
///
/// # Errors
/// 400 `invalid_query` for a kind that there is not.
fn kinds(list: Option<&str>) -> Result<Option<Vec<Kind>>, Problem> {
    let Some(list) = list.filter(|list| !list.is_empty()) else { return Ok(None) };
    let mut kinds = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| *name != "playlist") {
        let known = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        kinds.push(known.ok_or_else(|| {
            Problem::bad_request("invalid_query", format!("`type` knows track, artist, album and playlist, not `{name}`"))
        })?);
    }
    Ok(Some(kinds))
}
