//! Signed media, as the edge serves it: `/v1/media/{token}/...`. The token is judged by `protocol`, the sheet says where the bytes are,
//! the shield has them. For players whose edge is down, so nothing here needs a database.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use http::Method;
use pingora::http::RequestHeader;
use protocol::{
    Problem,
    admission::{self, no_such_segment},
    conditional, manifest,
    media_path::{self, MediaObject},
    playlist, receipt,
};

use crate::{
    answer::{Answer, header_text},
    gateway::Gateway,
    shield::{Key, ShieldError},
};

/// The same words as at the edge. Under one token an object never changes; the token is the listener's own, so no shared cache may keep it.
const CACHE_SEGMENT: &str = "private, max-age=31536000, immutable";
const CACHE_PLAYLIST: &str = "private, max-age=3600";
const AUDIO: &str = "audio/mp4";

/// Answers a signed media path.
pub(crate) async fn answer(gateway: &Gateway, request: &RequestHeader, path: &str) -> Result<Answer, Problem> {
    let admitted = gateway.revoked.judged(|revoked| admission::media(&gateway.token_keys, revoked, path, gateway.clock.now()))?;
    let (claims, object, etag) = (admitted.claims, admitted.object, admitted.etag());
    let sheet = gateway.sheets.get(claims.version).await.map_err(unavailable)?;
    match object {
        MediaObject::Index => {
            let token = media_path::parse(path).map_or("", |path| path.token);
            let text = manifest::index(&claims, token, &sheet, &gateway.public_url);
            Ok(playlist_answer(request, playlist::CONTENT_TYPE, &etag, &text))
        }
        MediaObject::Steering => Ok(playlist_answer(request, playlist::STEERING_TYPE, &etag, &playlist::steering())),
        MediaObject::Playlist(rung) => {
            let text = playlist::media(&sheet, rung).ok_or_else(no_such_segment)?;
            Ok(playlist_answer(request, playlist::CONTENT_TYPE, &etag, &text))
        }
        MediaObject::Init(rung) | MediaObject::First(rung) | MediaObject::Segment(rung, _) => {
            let (offset, length) = sheet.object_range(object).ok_or_else(no_such_segment)?;
            let key = Key::Range { version: sheet.version, rung, offset, length: u64::from(length) };
            let answer = bytes_answer(gateway, request, key, &etag).await?;
            // Only for what was asked for in full: no part, no HEAD, nothing the player says it has.
            let is_whole = answer.status == 200 && request.method == Method::GET;
            let receipt = is_whole.then(|| receipt::issue(&gateway.token_keys, claims.play, object, &sheet, gateway.clock.now())).flatten();
            Ok(match receipt {
                Some(receipt) => answer.header(receipt::HEADER, &receipt),
                None => answer,
            })
        }
    }
}

async fn bytes_answer(gateway: &Gateway, request: &RequestHeader, key: Key, etag: &str) -> Result<Answer, Problem> {
    let Key::Range { length, .. } = key else { return Err(no_such_segment()) };
    let reader = gateway.shield.read(key).await.map_err(unavailable)?;
    let status = reader.cache_status();
    let answer = Answer::stream(AUDIO, reader, length).header("cache-control", CACHE_SEGMENT).header("cache-status", status);
    Ok(answer.negotiated(request, etag))
}

/// A text, gzipped when that is accepted (authoring specification 10.1): an hour of segments shrinks to a tenth.
pub(crate) fn text_answer(request: &RequestHeader, content_type: &'static str, text: &str) -> Answer {
    let accepted = conditional::accepts_gzip(header_text(request, "accept-encoding"));
    match accepted.then(|| gzip(text.as_bytes())).flatten() {
        Some(packed) => Answer::whole(200, content_type, packed).header("content-encoding", "gzip"),
        None => Answer::whole(200, content_type, text.to_owned()),
    }
}

/// A playlist. Its etag is weak, since it stands for both encodings.
fn playlist_answer(request: &RequestHeader, content_type: &'static str, etag: &str, text: &str) -> Answer {
    text_answer(request, content_type, text)
        .header("vary", "Accept-Encoding")
        .header("cache-control", CACHE_PLAYLIST)
        .negotiated(request, etag)
}

fn gzip(text: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::default());
    encoder.write_all(text).ok()?;
    encoder.finish().ok()
}

/// What the shield's refusal means to a caller.
pub(crate) fn unavailable(error: ShieldError) -> Problem {
    match error {
        ShieldError::NotFound => Problem::new(404, "no_such_media", "there is no such media"),
        ShieldError::Unavailable => Problem::unavailable("media_unavailable", "the media store does not answer", 1),
        ShieldError::Overloaded => Problem::unavailable("media_overloaded", "too many listeners are waiting for the media store", 1),
        ShieldError::Corrupt => Problem::unavailable("media_corrupt", "the stored media is not what its name promises", 30),
    }
}
