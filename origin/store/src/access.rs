//! Who may do what: whoever holds the key pair, everything; whoever holds a presigned URL, exactly what it says.

use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    s3_error,
};

/// Refuses anonymous requests, and headers that a presigned URL did not sign.
///
/// S3 refuses a presigned request that carries an `x-amz-*` header outside `X-Amz-SignedHeaders`; `s3s` does not look. Without
/// this, the holder of an upload URL could add `x-amz-copy-source` and the like and change what the request means.
#[derive(Debug)]
pub(crate) struct SignedOnly;

#[async_trait::async_trait]
impl S3Access for SignedOnly {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        if cx.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        }
        let Some(signed) = cx.uri().query().and_then(signed_headers) else { return Ok(()) };
        let stranger = cx.headers().keys().map(http::HeaderName::as_str).find(|name| {
            // The content hash is verified against the body, whether signed or not.
            name.starts_with("x-amz-") && *name != "x-amz-content-sha256" && !signed.split(';').any(|one| one == *name)
        });
        match stranger {
            Some(name) => Err(s3_error!(AccessDenied, "There were headers present in the request which were not signed: {}", name)),
            None => Ok(()),
        }
    }
}

/// The value of `X-Amz-SignedHeaders`, when this is a presigned URL.
fn signed_headers(query: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-SignedHeaders="))?;
    Some(value.replace("%3B", ";").replace("%3b", ";"))
}
