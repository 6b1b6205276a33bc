//! What only the edge may ask: `/internal/...`, each request signed over method, target and body. The signature is checked before
//! anything else is looked at, and ends here: no service ever sees it.

use bytes::Bytes;
use pingora::http::RequestHeader;
use protocol::{Problem, edge_auth};

use crate::{
    answer::{Answer, header_text},
    gateway::Gateway,
    media,
    routes::Service,
    shield::Key,
};

/// Objects here are named by what they hold, and the one who asks is a cache.
const CACHE: &str = "public, max-age=31536000, immutable";

/// Whether the edge signed this very request.
pub(crate) fn verify(gateway: &Gateway, request: &RequestHeader, body: &[u8]) -> Result<(), Problem> {
    let refused = || Problem::new(403, "edge_signature_invalid", "this path is for the edge, whose signature is missing or does not fit");
    let signature = header_text(request, edge_auth::HEADER).ok_or_else(refused)?;
    let target = std::str::from_utf8(request.raw_path()).map_err(|_| refused())?;
    edge_auth::verify(&gateway.edge_secret, signature, request.method.as_str(), target, body, gateway.clock.now()).map_err(|error| {
        tracing::warn!(%error, target, "an edge signature is refused");
        refused()
    })
}

/// `/internal/sheets/{version}`.
pub(crate) async fn sheet(gateway: &Gateway, path: &str) -> Result<Answer, Problem> {
    let version = path.strip_prefix("/internal/sheets/").and_then(|text| text.parse().ok()).ok_or_else(no_such_media)?;
    let text = gateway.sheets.text(version).await.map_err(media::unavailable)?;
    Ok(Answer::whole(200, "application/json", text).header("cache-control", CACHE))
}

/// `/internal/media/{version}/{rung}/{offset}-{length}`: 200, never 206, because the edge's cache stores only whole answers.
pub(crate) async fn range(gateway: &Gateway, path: &str) -> Result<Answer, Problem> {
    let key = parse_range(path).ok_or_else(no_such_media)?;
    let reader = gateway.shield.read(key).await.map_err(media::unavailable)?;
    let status = reader.cache_status();
    Ok(Answer::stream("audio/mp4", reader, key.length().unwrap_or_default()).header("cache-control", CACHE).header("cache-status", status))
}

/// `/internal/batches`: a frozen batch on its way to royalty, byte for byte; its answer, code for code.
pub(crate) async fn batch(gateway: &Gateway, body: Bytes, request_id: &str) -> Result<Answer, Problem> {
    let unavailable = || Problem::unavailable("not_kept", "royalty does not answer", 2);
    let answer = gateway.services.post(Service::Royalty, "/internal/batches", request_id, body).await.map_err(|error| {
        tracing::warn!(%error, "royalty does not answer");
        unavailable()
    })?;
    let status = answer.status().as_u16();
    let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let content_type = if answer.status().is_success() { "application/json" } else { Problem::CONTENT_TYPE };
    let body = answer.bytes().await.map_err(|_| unavailable())?;
    let mut answer = Answer::whole(status, content_type, body).header("cache-control", "no-store");
    if let Some(seconds) = retry_after {
        answer = answer.header("retry-after", &seconds);
    }
    Ok(answer)
}

fn parse_range(path: &str) -> Option<Key> {
    let mut segments = path.strip_prefix("/internal/media/")?.split('/');
    let (version, rung, range) = (segments.next()?.parse().ok()?, segments.next()?.parse().ok()?, segments.next()?);
    let (offset, length) = range.split_once('-')?;
    let number = |digits: &str| if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None };
    Some(Key::Range { version, rung, offset: number(offset)?, length: number(length)? })
}

fn no_such_media() -> Problem {
    Problem::new(404, "no_such_media", "there is no such media")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_an_offset_and_a_length() {
        let version = "0123456789abcdef0123456789abcdef";
        let parsed = |rest: &str| parse_range(&format!("/internal/media/{version}/{rest}"));
        assert_eq!(parsed("aac-128/700-32000").map(|key| key.to_string()), Some(format!("{version}/aac-128/700-32000")));
        for wrong in ["aac-128/700", "aac-128/-1-5", "aac-128/+1-5", "aac-128/1-", "mp3/1-5", "aac-128/99999999999999999999-5"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
        assert_eq!(parse_range("/internal/media/../aac-128/1-5"), None);
    }
}
