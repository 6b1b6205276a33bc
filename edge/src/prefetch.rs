//! What a player will want next, fetched into the colo's cache behind the answer: it never delays one and never fails one.
//!
//! An isolate remembers what it has lately seen in the cache, so that a track that is warm costs no look-up for each of its requests. What
//! could not be fetched counts as seen too: an origin in trouble is asked for what listeners want and for no more.

use std::{cell::RefCell, rc::Rc};

use protocol::{
    MediaVersion, UnixMs, cmcd,
    media_path::{self, MediaObject},
    query,
    token::Claims,
};

use crate::{Edge, asked::Asked, media, media::Piece, remembered::Remembered};

/// Objects an isolate remembers having seen, and for how long: the cache may have let go of one since.
const SEEN_MAX: usize = 8_192;
const SEEN_MS: i64 = 600_000;

/// An object and the host whose cache it is in.
type Name = (Rc<str>, MediaVersion, MediaObject);

thread_local! {
    static SEEN: RefCell<Remembered<Name, UnixMs>> = RefCell::new(Remembered::of(SEEN_MAX));
}

/// Notes that `piece` is in the cache, or on its way into it. True when that is news.
pub(crate) fn saw(edge: &Edge, piece: Piece) -> bool {
    let name = (Rc::clone(&edge.host), piece.version, piece.object);
    SEEN.with_borrow_mut(|seen| {
        let known = is_seen(seen, &name, edge.now);
        if !known {
            seen.insert(name, edge.now);
        }
        !known
    })
}

/// Whether [`saw`] and [`after`] would have nothing to do.
pub(crate) fn is_warm(host: &Rc<str>, now: UnixMs, asked: &Asked, claims: &Claims, object: MediaObject) -> bool {
    let seen = |object| SEEN.with_borrow(|seen| is_seen(seen, &(Rc::clone(host), claims.version, object), now));
    seen(object) && next(asked, claims, object).is_none_or(seen)
}

fn is_seen(seen: &Remembered<Name, UnixMs>, name: &Name, now: UnixMs) -> bool {
    seen.get(name).is_some_and(|at| now.since(at) < SEEN_MS)
}

/// After the answer to `asked`, which was for `object`: the object that the player says comes next, else the next segment.
pub(crate) fn after(edge: &Rc<Edge>, asked: &Asked, claims: &Claims, object: MediaObject) {
    if let Some(next) = next(asked, claims, object) {
        fetch(edge, Piece { version: claims.version, object: next });
    }
}

fn next(asked: &Asked, claims: &Claims, object: MediaObject) -> Option<MediaObject> {
    let next = said_by_player(asked, object).or_else(|| following(object));
    next.filter(|next| next.rung().is_some_and(|rung| claims.rungs.contains(rung)))
}

/// Has `piece` fetched behind the answer unless it was seen.
pub(crate) fn fetch(edge: &Rc<Edge>, piece: Piece) {
    if saw(edge, piece) {
        edge.later(media::warm(Rc::clone(edge), piece));
    }
}

/// CMCD's `nor` (CTA-5004), from the query or the header; only what is stored as bytes.
fn said_by_player(asked: &Asked, object: MediaObject) -> Option<MediaObject> {
    let resolved = |text: &str| media_path::resolve(object, &cmcd::next_object(text)?);
    let said = match query::argument(asked.query(), "CMCD") {
        Some(text) => resolved(&text),
        None => resolved(&asked.header("cmcd-request")?),
    };
    said.filter(|next| following(*next).is_some())
}

/// What comes after `object` in its rendition; `None` for what is made from the sheet.
fn following(object: MediaObject) -> Option<MediaObject> {
    match object {
        MediaObject::Init(rung) => Some(MediaObject::Segment(rung, 0)),
        MediaObject::First(rung) => Some(MediaObject::Segment(rung, 1)),
        MediaObject::Segment(rung, n) => Some(MediaObject::Segment(rung, n + 1)),
        MediaObject::Index | MediaObject::Playlist(_) | MediaObject::Steering => None,
    }
}
