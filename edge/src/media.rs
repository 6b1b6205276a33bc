//! `/v1/media/{token}/...`: playlists made from the sheet, init sections and segments from the colo's cache or the gateway's shield.
//!
//! The tag is verified before the rest of the path is looked at. Bytes stream from cache or shield to the client and never enter this
//! module's memory; on a miss one branch of the stream goes to the client and the other into the cache.
//!
//! `first.mp4` is an entry of its own beside the init section and segment 0. Cutting the two out of it would save one segment a rendition,
//! but their players would wait for all of it where they need the first bytes, and each hit would cost a second request and a sheet.

use std::rc::Rc;

use protocol::{
    MediaVersion, Problem,
    admission::{self, no_such_segment},
    conditional::{self, Wanted},
    manifest,
    media_path::{self, MediaObject},
    playlist, receipt,
    sheet::Sheet,
    token::Claims,
};
use worker::web_sys::{ReadableStream, Response};

use crate::{
    Edge,
    answer::{self, Answer},
    asked::Asked,
    cache::{self, Content},
    evidence, origin, prefetch, revoked, sheets,
};

const CLIENT_PLAYLIST: &str = "private, max-age=3600";
const HIT: &str = "antiphon-edge; hit";
const MISS: &str = "antiphon-edge; fwd=miss; stored";

/// Answers one signed media request.
pub(crate) async fn answer(edge: &Rc<Edge>, asked: &Asked) -> Result<Answer, Problem> {
    if !asked.reads() {
        return Err(answer::only("GET and HEAD"));
    }
    revoked::keep_up(edge).await;
    let admitted = revoked::judge(|revoked| admission::media(&edge.settings.keys, revoked, asked.path(), edge.now))?;
    let (claims, object, etag) = (admitted.claims, admitted.object, admitted.etag());
    match object {
        MediaObject::Index => {
            let sheet = sheets::sheet(edge, claims.version).await?;
            let token = media_path::parse(asked.path()).map_or("", |path| path.token);
            let text = manifest::index(&claims, token, &sheet, &edge.settings.gateway_public_url);
            Ok(text_answer(asked, playlist::CONTENT_TYPE, &etag, text))
        }
        MediaObject::Steering => Ok(text_answer(asked, playlist::STEERING_TYPE, &etag, playlist::steering())),
        MediaObject::Playlist(rung) => {
            let sheet = sheets::sheet(edge, claims.version).await?;
            let text = playlist::media(&sheet, rung).ok_or_else(no_such_segment)?;
            Ok(text_answer(asked, playlist::CONTENT_TYPE, &etag, text))
        }
        MediaObject::Init(_) | MediaObject::First(_) | MediaObject::Segment(..) => {
            let piece = Piece { version: claims.version, object };
            let answer = bytes_answer(edge, asked, piece, &etag).await?;
            if matches!(answer.status(), 200 | 206) && !asked.is_head() {
                prefetch::saw(edge, piece);
                prefetch::after(edge, asked, &claims, object);
                return Ok(with_receipt(edge, &claims, object, answer).await);
            }
            Ok(answer)
        }
    }
}

/// A receipt for what was asked for in full: no part, no HEAD, nothing the player says it has. The answer waits for no origin to have one.
async fn with_receipt(edge: &Rc<Edge>, claims: &Claims, object: MediaObject, answer: Answer) -> Answer {
    if answer.status() != 200 || matches!(object, MediaObject::Init(_)) {
        return answer;
    }
    let Some(sheet) = sheets::at_hand(edge, claims.version).await else {
        let (edge, version) = (Rc::clone(edge), claims.version);
        Rc::clone(&edge).later(async move { drop(sheets::sheet(&edge, version).await) });
        return answer;
    };
    match receipt::issue(&edge.settings.keys, claims.play, object, &sheet, edge.now) {
        Some(receipt) => answer.with(receipt::HEADER, &receipt),
        None => answer,
    }
}

fn text_answer(asked: &Asked, content_type: &str, etag: &str, text: String) -> Answer {
    let about = |answer: Answer| answer.with("cache-control", CLIENT_PLAYLIST).with("vary", "Accept-Encoding").with("etag", etag);
    if conditional::none_match(asked.header("if-none-match").as_deref(), etag) {
        return about(Answer::new(304)).counted_as("not_modified");
    }
    let answer = about(Answer::text(200, content_type, text)).counted_as("text");
    if conditional::accepts_gzip(evidence::accept_encoding(asked).as_deref()) { answer.gzipped() } else { answer }
}

/// Bytes of a rendition's file.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    /// Of which media version.
    pub(crate) version: MediaVersion,
    /// Which of its objects.
    pub(crate) object: MediaObject,
}

impl Piece {
    fn key(self, edge: &Edge) -> String {
        cache::media_key(&edge.host, self.version, self.object)
    }

    fn range(self, sheet: &Sheet) -> Result<(u64, u32), Problem> {
        sheet.object_range(self.object).ok_or_else(no_such_segment)
    }
}

async fn bytes_answer(edge: &Rc<Edge>, asked: &Asked, piece: Piece, etag: &str) -> Result<Answer, Problem> {
    if conditional::none_match(asked.header("if-none-match").as_deref(), etag) {
        return Ok(Answer::audio(304).with("etag", etag).counted_as("not_modified"));
    }
    if asked.is_head() {
        let (_, length) = piece.range(&*sheets::sheet(edge, piece.version).await?)?;
        return Ok(bytes(200, etag, length.into(), None));
    }
    // A range is defined for GET alone (RFC 9110 section 14.2).
    if let Some(range) = asked.header("range").filter(|_| conditional::range_stands(asked.header("if-range").as_deref(), etag)) {
        let (_, length) = piece.range(&*sheets::sheet(edge, piece.version).await?)?;
        match conditional::range(Some(&range), length.into()) {
            Wanted::Whole => {}
            Wanted::Part { first, last } => {
                if let Some(part) = part(edge, piece, etag, first, last, length.into()).await? {
                    return Ok(part);
                }
            }
            Wanted::Unsatisfiable => return Ok(Answer::audio(416).with("content-range", &format!("bytes */{length}"))),
        }
    }
    whole(edge, piece, etag).await
}

async fn whole(edge: &Rc<Edge>, piece: Piece, etag: &str) -> Result<Answer, Problem> {
    let key = piece.key(edge);
    if let Some(hit) = cache::get(&key).await
        && let Some(length) = content_length(&hit)
    {
        return Ok(self::hit(etag, length, hit.body()));
    }
    let (length, fetched) = fetch(edge, piece).await?;
    let copy = fetched.clone().map_err(|error| answer::fault("splitting a stream", &worker::Error::from(error)))?;
    edge.later(store(key, length, copy));
    Ok(bytes(200, etag, length, fetched.body()).with("cache-status", MISS).counted_as("miss"))
}

/// One range. The cache cuts it, so on a miss the piece is cached first; `None` when the cache did not keep it, and the whole piece is
/// then the right answer (a server may ignore a range).
async fn part(edge: &Rc<Edge>, piece: Piece, etag: &str, first: u64, last: u64, length: u64) -> Result<Option<Answer>, Problem> {
    let key = piece.key(edge);
    let (found, status, outcome) = match cache::get_part(&key, first, last).await {
        Some(found) => (Some(found), HIT, "hit"),
        None => {
            let (length, fetched) = fetch(edge, piece).await?;
            store(key.clone(), length, fetched).await;
            (cache::get_part(&key, first, last).await, MISS, "miss")
        }
    };
    Ok(found.map(|found| {
        bytes(206, etag, last - first + 1, found.body())
            .with("content-range", &format!("bytes {first}-{last}/{length}"))
            .with("cache-status", status)
            .counted_as(outcome)
    }))
}

/// Puts `piece` into the cache unless it is there. Nobody waits for it and nobody is told when that fails.
pub(crate) async fn warm(edge: Rc<Edge>, piece: Piece) {
    let key = piece.key(&edge);
    let Ok(sheet) = sheets::sheet(&edge, piece.version).await else { return };
    // The last segment has none after it.
    if piece.range(&sheet).is_err() || cache::get(&key).await.is_some() {
        return;
    }
    if let Ok((length, fetched)) = fetch(&edge, piece).await {
        edge.count("prefetch", "fetched");
        store(key, length, fetched).await;
    }
}

async fn fetch(edge: &Rc<Edge>, piece: Piece) -> Result<(u64, Response), Problem> {
    let (offset, length) = piece.range(&*sheets::sheet(edge, piece.version).await?)?;
    let rung = piece.object.rung().ok_or_else(no_such_segment)?;
    Ok((length.into(), origin::media(edge, piece.version, rung, offset, length).await?))
}

/// What goes into the cache: our headers, and of the origin's answer only the bytes.
async fn store(key: String, length: u64, fetched: Response) {
    let Some(stream) = fetched.body() else { return };
    let headers = [("content-type", "audio/mp4"), ("cache-control", cache::IMMUTABLE), ("content-length", &length.to_string())];
    cache::put(key, &headers, Content::Stream(stream)).await;
}

/// All of a piece that is in the cache.
pub(crate) fn hit(etag: &str, length: u64, body: Option<ReadableStream>) -> Answer {
    bytes(200, etag, length, body).with("cache-status", HIT).counted_as("hit")
}

fn bytes(status: u16, etag: &str, length: u64, body: Option<ReadableStream>) -> Answer {
    Answer::audio(status).with("content-length", &length.to_string()).with("etag", etag).streaming(body)
}

fn content_length(response: &Response) -> Option<u64> {
    response.headers().get("content-length").ok()??.parse().ok()
}
