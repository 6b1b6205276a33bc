//! `/v1/media/{token}/...`: playlists made from the sheet, init sections and segments from the colo's cache or the gateway's shield.
//!
//! The tag is verified before the rest of the path is looked at. Bytes stream from cache or shield to the client and never enter this
//! module's memory; on a miss one branch of the stream goes to the client and the other into the cache.

use protocol::{
    MediaVersion, Problem,
    admission::{self, no_such_segment},
    conditional::{self, Wanted},
    manifest,
    media_path::{self, MediaObject},
    playlist,
    revocation::Revocations,
    sheet::Sheet,
};
use worker::{Method, Request, Response, ResponseBody};

use crate::{Edge, answer, cache, evidence, origin};

/// A URL's token is its holder's alone, so no shared cache downstream keeps the answer; what it names never changes.
const CLIENT_SEGMENT: &str = "private, max-age=31536000, immutable";
const CLIENT_PLAYLIST: &str = "private, max-age=3600";

/// Answers one signed media request.
pub(crate) async fn answer(edge: &Edge<'_>, request: &Request, path: &str) -> Result<Response, Problem> {
    if !matches!(request.method(), Method::Get | Method::Head) {
        return Err(answer::only("GET and HEAD"));
    }
    let admitted = admission::media(&edge.settings.keys, &Revocations::default(), path, edge.now)?;
    let (claims, object, etag) = (admitted.claims, admitted.object, admitted.etag());
    match object {
        MediaObject::Index => {
            let sheet = origin::sheet(edge, claims.version).await?;
            let token = media_path::parse(path).map_or("", |path| path.token);
            let text = manifest::index(&claims, token, &sheet, &edge.settings.gateway_public_url);
            Ok(playlist_answer(request, playlist::CONTENT_TYPE, &etag, text))
        }
        MediaObject::Steering => Ok(playlist_answer(request, playlist::STEERING_TYPE, &etag, playlist::steering())),
        MediaObject::Playlist(rung) => {
            let sheet = origin::sheet(edge, claims.version).await?;
            let text = playlist::media(&sheet, rung).ok_or_else(no_such_segment)?;
            Ok(playlist_answer(request, playlist::CONTENT_TYPE, &etag, text))
        }
        MediaObject::Init(_) | MediaObject::First(_) | MediaObject::Segment(..) => {
            bytes_answer(edge, request, Piece { version: claims.version, object }, &etag).await
        }
    }
}

fn playlist_answer(request: &Request, content_type: &str, etag: &str, text: String) -> Response {
    let headers =
        [("content-type", content_type), ("cache-control", CLIENT_PLAYLIST), ("vary", "Accept-Encoding"), ("etag", etag)];
    let asked = |name| answer::header(request.headers(), name);
    if conditional::none_match(asked("if-none-match").as_deref(), etag) {
        return answer::with_headers(304, &headers, ResponseBody::Empty);
    }
    let response = answer::text(200, &headers, text);
    if conditional::accepts_gzip(evidence::accept_encoding(request).as_deref()) {
        // The runtime compresses a body that says it is compressed (`encodeBody: "automatic"`), and then knows no length beforehand.
        let _ = response.headers().set("content-encoding", "gzip");
        let _ = response.headers().delete("content-length");
    }
    response
}

/// Bytes of a rendition's file.
#[derive(Clone, Copy)]
struct Piece {
    version: MediaVersion,
    object: MediaObject,
}

impl Piece {
    fn key(self) -> String {
        cache::media_key(self.version, self.object)
    }

    fn range(self, sheet: &Sheet) -> Result<(u64, u32), Problem> {
        sheet.object_range(self.object).ok_or_else(no_such_segment)
    }
}

async fn bytes_answer(edge: &Edge<'_>, request: &Request, piece: Piece, etag: &str) -> Result<Response, Problem> {
    let asked = |name| answer::header(request.headers(), name);
    if conditional::none_match(asked("if-none-match").as_deref(), etag) {
        let headers = [("cache-control", CLIENT_SEGMENT), ("etag", etag)];
        return Ok(answer::with_headers(304, &headers, ResponseBody::Empty));
    }
    if request.method() == Method::Head {
        let (_, length) = piece.range(&*origin::sheet(edge, piece.version).await?)?;
        return Ok(piece_response(200, etag, length.into(), "", ResponseBody::Empty));
    }
    // A range is defined for GET alone (RFC 9110 section 14.2).
    if let Some(range) = asked("range").filter(|_| conditional::range_stands(asked("if-range").as_deref(), etag)) {
        let (_, length) = piece.range(&*origin::sheet(edge, piece.version).await?)?;
        match conditional::range(Some(&range), length.into()) {
            Wanted::Whole => {}
            Wanted::Part { first, last } => {
                if let Some(part) = part(edge, piece, etag, first, last, length.into()).await? {
                    return Ok(part);
                }
            }
            Wanted::Unsatisfiable => {
                let headers = [("content-range", format!("bytes */{length}")), ("accept-ranges", "bytes".to_owned())];
                let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                return Ok(answer::with_headers(416, &headers, ResponseBody::Empty));
            }
        }
    }
    whole(edge, piece, etag).await
}

async fn whole(edge: &Edge<'_>, piece: Piece, etag: &str) -> Result<Response, Problem> {
    let key = piece.key();
    if let Some(hit) = cache::get(&key).await
        && let Some(length) = content_length(&hit)
    {
        return Ok(piece_response(200, etag, length, "antiphon-edge; hit", origin::body_of(hit)));
    }
    let (length, mut fetched) = fetch(edge, piece).await?;
    let copy = fetched.cloned().map_err(|error| answer::fault("splitting a stream", &error))?;
    edge.context.wait_until(cache::put(key, stored(etag, length, copy)));
    Ok(piece_response(200, etag, length, "antiphon-edge; fwd=miss; stored", origin::body_of(fetched)))
}

/// One range. The cache cuts it, so on a miss the piece is cached first; `None` when the cache did not keep it, and the whole piece is
/// then the right answer (a server may ignore a range).
async fn part(edge: &Edge<'_>, piece: Piece, etag: &str, first: u64, last: u64, length: u64) -> Result<Option<Response>, Problem> {
    let key = piece.key();
    let (found, status) = match cache::get_part(&key, first, last).await {
        Some(found) => (Some(found), "antiphon-edge; hit"),
        None => {
            let (length, fetched) = fetch(edge, piece).await?;
            cache::put(key.clone(), stored(etag, length, fetched)).await;
            (cache::get_part(&key, first, last).await, "antiphon-edge; fwd=miss; stored")
        }
    };
    Ok(found.map(|found| {
        let response = piece_response(206, etag, last - first + 1, status, origin::body_of(found));
        let _ = response.headers().set("content-range", &format!("bytes {first}-{last}/{length}"));
        response
    }))
}

async fn fetch(edge: &Edge<'_>, piece: Piece) -> Result<(u64, Response), Problem> {
    let (offset, length) = piece.range(&*origin::sheet(edge, piece.version).await?)?;
    let rung = piece.object.rung().ok_or_else(no_such_segment)?;
    Ok((length.into(), origin::media(edge, piece.version, rung, offset, length).await?))
}

/// What goes into the cache: our headers, and of the origin's only the bytes.
fn stored(etag: &str, length: u64, fetched: Response) -> Response {
    let length = length.to_string();
    let headers = [("content-type", MEDIA_TYPE), ("cache-control", origin::IMMUTABLE), ("content-length", &length), ("etag", etag)];
    answer::with_headers(200, &headers, origin::body_of(fetched))
}

const MEDIA_TYPE: &str = "audio/mp4";

fn piece_response(status: u16, etag: &str, length: u64, cache_status: &str, body: ResponseBody) -> Response {
    let length = length.to_string();
    let headers = [
        ("content-type", MEDIA_TYPE),
        ("content-length", length.as_str()),
        ("cache-control", CLIENT_SEGMENT),
        ("accept-ranges", "bytes"),
        ("etag", etag),
        ("cache-status", cache_status),
    ];
    let said = headers.iter().filter(|(_, value)| !value.is_empty()).copied().collect::<Vec<_>>();
    answer::with_headers(status, &said, body)
}

fn content_length(response: &Response) -> Option<u64> {
    answer::header(response.headers(), "content-length")?.parse().ok()
}
