//! How the origin knows that a request comes from its edge: an HMAC-SHA256 over method, path with query, body digest and time, in
//! one header, refused outside a window of a minute so that a captured request soon loses its worth. (Batches are idempotent, so
//! a replay within the window changes nothing.)

use hmac::Mac;
use sha2::{Digest, Sha256};

use crate::{
    UnixMs,
    ids::{parse_hex, to_hex},
    keys::hmac_sha256,
};

/// The header that carries the signature: `t=<unix ms>,s=<64 hex>`.
pub const HEADER: &str = "antiphon-edge";
const WINDOW_MS: i64 = 60_000;

/// Why a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EdgeAuthError {
    /// Absent, malformed or of other content.
    #[error("the edge signature is missing or not valid")]
    Invalid,
    /// Too far from the origin's clock.
    #[error("the edge signature is outside its time window")]
    Stale,
}

/// The header value for one request. `body` is empty for a GET.
#[must_use]
pub fn sign(secret: &[u8], method: &str, path_and_query: &str, body: &[u8], now: UnixMs) -> String {
    sign_digest(secret, method, path_and_query, &to_hex(&Sha256::digest(body)), now)
}

/// As [`sign`], for a body whose SHA-256 is known, in lower-case hex: a large one is hashed once.
#[must_use]
pub fn sign_digest(secret: &[u8], method: &str, path_and_query: &str, body_sha256: &str, now: UnixMs) -> String {
    let mac = hmac_sha256(secret, &message(method, path_and_query, body_sha256, now));
    let tag: [u8; 32] = mac.finalize().into_bytes().into();
    format!("t={},s={}", now.0, to_hex(&tag))
}

/// Checks a header value against the request it came with.
///
/// # Errors
/// [`EdgeAuthError`].
pub fn verify(secret: &[u8], header: &str, method: &str, path_and_query: &str, body: &[u8], now: UnixMs) -> Result<(), EdgeAuthError> {
    let (time, tag) = header.strip_prefix("t=").and_then(|rest| rest.split_once(",s=")).ok_or(EdgeAuthError::Invalid)?;
    let at = UnixMs(time.parse().map_err(|_| EdgeAuthError::Invalid)?);
    let tag: [u8; 32] = parse_hex(tag).ok_or(EdgeAuthError::Invalid)?;
    hmac_sha256(secret, &message(method, path_and_query, &to_hex(&Sha256::digest(body)), at))
        .verify_slice(&tag)
        .map_err(|_| EdgeAuthError::Invalid)?;
    if now.since(at).abs() > WINDOW_MS {
        return Err(EdgeAuthError::Stale);
    }
    Ok(())
}

/// Fields are separated by a line feed, which occurs in none of them.
fn message(method: &str, path_and_query: &str, body_sha256: &str, at: UnixMs) -> Vec<u8> {
    format!("antiphon-edge-1\n{method}\n{path_and_query}\n{body_sha256}\n{}", at.0).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_one_request_and_one_minute() {
        let (secret, now) = (b"secret".as_slice(), UnixMs(1_795_556_280_000));
        let header = sign(secret, "POST", "/internal/batches", b"{}", now);
        let check = |secret, method, path, body, at| verify(secret, &header, method, path, body, at);
        assert_eq!(check(secret, "POST", "/internal/batches", b"{}".as_slice(), now.plus_ms(59_000)), Ok(()));
        assert_eq!(check(secret, "POST", "/internal/batches", b"{ }", now), Err(EdgeAuthError::Invalid));
        assert_eq!(check(secret, "GET", "/internal/batches", b"{}", now), Err(EdgeAuthError::Invalid));
        assert_eq!(check(secret, "POST", "/internal/other", b"{}", now), Err(EdgeAuthError::Invalid));
        assert_eq!(check(b"other", "POST", "/internal/batches", b"{}", now), Err(EdgeAuthError::Invalid));
        assert_eq!(check(secret, "POST", "/internal/batches", b"{}", now.plus_ms(61_000)), Err(EdgeAuthError::Stale));
        assert_eq!(verify(secret, "t=1", "GET", "/", b"", now), Err(EdgeAuthError::Invalid));
    }
}
