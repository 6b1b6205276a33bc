//! `/.well-known/jwks.json`

use axum::{
    extract::State,
    http::{HeaderName, header},
};
use platform::Json;
use serde_json::Value;

use crate::Identity;

/// The public keys that access tokens are verified with (RFC 7517).
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "identity",
    responses((status = 200, description = "A JWK set", body = Object))
)]
pub(crate) async fn jwks(State(app): State<Identity>) -> ([(HeaderName, &'static str); 1], Json<Value>) {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(app.signer.jwks()))
}
