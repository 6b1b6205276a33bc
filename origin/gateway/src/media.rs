//! Signed media, as the edge serves it: `/v1/media/{token}/...`. The token is judged by `protocol`, the sheet says where the bytes are,
//! the shield has them. For players whose edge is down, so nothing here needs a database.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use pingora::http::RequestHeader;
use protocol::{
    Problem, Rung, manifest,
    media_path::{self, MediaObject},
    playlist,
    sheet::Sheet,
    token::{self, Purpose, TokenError},
};

use crate::{
    answer::{Answer, header_text, quality},
    gateway::Gateway,
    shield::{Key, ShieldError},
};

/// The same words as at the edge. Under one token an object never changes; the token is the listener's own, so no shared cache may keep it.
const CACHE_SEGMENT: &str = "private, max-age=31536000, immutable";
const CACHE_PLAYLIST: &str = "private, max-age=3600";
const AUDIO: &str = "audio/mp4";

/// Answers a signed media path.
pub(crate) async fn answer(gateway: &Gateway, request: &RequestHeader, path: &str) -> Result<Answer, Problem> {
    // The tag before anything else of the path: who has no token learns nothing.
    let token = path.strip_prefix(media_path::PREFIX).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let claims = token::verify(&gateway.token_keys, token, Purpose::Media, gateway.clock.now()).map_err(refuse_token)?;
    let object = media_path::parse(path).ok_or_else(no_such_segment)?.object;
    manifest::allow_object(&claims, object)?;
    let sheet = gateway.sheets.get(claims.version).await.map_err(unavailable)?;
    let version = claims.version;
    match object {
        MediaObject::Index => {
            Ok(playlist_answer(request, &format!("W/\"{version}.index.{}\"", claims.rungs.bits()), &manifest::index(&claims, &sheet)))
        }
        MediaObject::Playlist(rung) => {
            let text = playlist::media(&sheet, rung).ok_or_else(no_such_segment)?;
            Ok(playlist_answer(request, &format!("W/\"{version}.{rung}\""), &text))
        }
        MediaObject::Init(rung) => bytes_answer(gateway, request, &sheet, rung, sheet.init_range(rung), "init").await,
        MediaObject::Segment(rung, n) => bytes_answer(gateway, request, &sheet, rung, sheet.segment_range(rung, n), &n.to_string()).await,
    }
}

async fn bytes_answer(
    gateway: &Gateway,
    request: &RequestHeader,
    sheet: &Sheet,
    rung: Rung,
    range: Option<(u64, u32)>,
    name: &str,
) -> Result<Answer, Problem> {
    let (offset, length) = range.ok_or_else(no_such_segment)?;
    let key = Key::Range { version: sheet.version, rung, offset, length: u64::from(length) };
    let reader = gateway.shield.read(key).await.map_err(unavailable)?;
    let (etag, status) = (format!("\"{}.{rung}/{name}\"", sheet.version), reader.cache_status());
    let answer = Answer::stream(AUDIO, reader, u64::from(length)).header("cache-control", CACHE_SEGMENT).header("cache-status", status);
    Ok(answer.negotiated(request, &etag))
}

/// A playlist, gzipped when that is accepted: an hour of segments shrinks to a tenth. The etag is weak, since it stands for both encodings.
fn playlist_answer(request: &RequestHeader, etag: &str, text: &str) -> Answer {
    let answer = match accepts_gzip(request).then(|| gzip(text.as_bytes())).flatten() {
        Some(packed) => Answer::whole(200, playlist::CONTENT_TYPE, packed).header("content-encoding", "gzip"),
        None => Answer::whole(200, playlist::CONTENT_TYPE, text.to_owned()),
    };
    answer.header("vary", "Accept-Encoding").header("cache-control", CACHE_PLAYLIST).negotiated(request, etag)
}

fn accepts_gzip(request: &RequestHeader) -> bool {
    let accepted = header_text(request, "accept-encoding").unwrap_or_default();
    quality(accepted, "gzip").or_else(|| quality(accepted, "*")).is_some_and(|quality| quality > 0.0)
}

fn gzip(text: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::default());
    encoder.write_all(text).ok()?;
    encoder.finish().ok()
}

fn refuse_token(error: TokenError) -> Problem {
    match error {
        TokenError::Invalid => Problem::new(403, "token_invalid", "this media address was not signed by this service"),
        TokenError::Expired => Problem::new(403, "token_expired", "this media address has expired: ask for the manifest again"),
    }
}

fn no_such_segment() -> Problem {
    Problem::new(404, "no_such_segment", "this media version has no such playlist or segment")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(encoding: &str) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        request.insert_header("accept-encoding", encoding).unwrap();
        request
    }

    #[test]
    fn gzip_is_used_when_it_is_accepted() {
        for (encoding, expected) in
            [("gzip", true), ("br, GZIP;q=0.5", true), ("gzip;q=0, *", false), ("br", false), ("", false), ("*;q=0.1", true)]
        {
            assert_eq!(accepts_gzip(&request(encoding)), expected, "{encoding}");
        }
    }
}
