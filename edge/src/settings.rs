//! What the Worker is told by its bindings (`wrangler.toml`, `wrangler secret put`): read and checked once an isolate, since keys cost
//! more to prepare than to use.

use std::{cell::RefCell, rc::Rc};

use protocol::{Problem, keys::TokenKeys, session::SessionVerifier};
use worker::{Env, js_sys::Reflect};

const BUFFER_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Bindings, parsed.
pub(crate) struct Settings {
    /// Sign and verify tokens (secret `TOKEN_KEYS`).
    pub(crate) keys: TokenKeys,
    /// Verify sessions (variable `SESSION_JWKS`).
    pub(crate) sessions: SessionVerifier,
    /// Signs what the edge asks of the gateway (secret `EDGE_SECRET`, hex).
    pub(crate) edge_secret: Vec<u8>,
    /// Where the edge reaches the gateway (variable `GATEWAY_URL`), without a slash at the end.
    pub(crate) gateway_url: String,
    /// Where players reach it (variable `GATEWAY_PUBLIC_URL`).
    pub(crate) gateway_public_url: String,
    /// How many heartbeat buffers there are (variable `BUFFER_SHARDS`).
    pub(crate) buffer_shards: u16,
    /// Bytes one buffer holds at most (variable `BUFFER_BYTES_MAX`, 128 MiB without it). Beyond it the origin has been away for hours, and players
    /// keep their events themselves.
    pub(crate) buffer_bytes_max: usize,
    /// Whether `request.cf` is the platform's word. On a developer's machine it is a placeholder.
    pub(crate) located_by_platform: bool,
}

thread_local! {
    static LOADED: RefCell<Option<Rc<Settings>>> = const { RefCell::new(None) };
}

impl Settings {
    /// The isolate's settings. A deployment that lacks one answers 503 and says which.
    pub(crate) fn of(env: &Env) -> Result<Rc<Self>, Problem> {
        LOADED.with(|slot| {
            let mut slot = slot.borrow_mut();
            if let Some(settings) = slot.as_ref() {
                return Ok(Rc::clone(settings));
            }
            let settings = Rc::new(Self::read(env)?);
            *slot = Some(Rc::clone(&settings));
            Ok(settings)
        })
    }

    /// The isolate's settings, when a request has read them before.
    pub(crate) fn loaded() -> Option<Rc<Self>> {
        LOADED.with_borrow(Clone::clone)
    }

    fn read(env: &Env) -> Result<Self, Problem> {
        let text = |name: &str| env.var(name).map(|value| value.to_string()).map_err(|_| unset(name, "is not set"));
        let url = |name: &str| text(name).map(|url| url.trim_end_matches('/').to_owned());
        Ok(Self {
            keys: TokenKeys::parse(&text("TOKEN_KEYS")?).map_err(|error| unset("TOKEN_KEYS", &error.to_string()))?,
            sessions: SessionVerifier::from_jwks(&text("SESSION_JWKS")?).map_err(|error| unset("SESSION_JWKS", &error.to_string()))?,
            edge_secret: from_hex(&text("EDGE_SECRET")?).ok_or_else(|| unset("EDGE_SECRET", "is not hex of at least 16 bytes"))?,
            gateway_url: url("GATEWAY_URL")?,
            gateway_public_url: url("GATEWAY_PUBLIC_URL")?,
            buffer_shards: text("BUFFER_SHARDS")?
                .parse()
                .ok()
                .filter(|shards| *shards > 0)
                .ok_or_else(|| unset("BUFFER_SHARDS", "is not a number from 1 to 65535"))?,
            buffer_bytes_max: optional(env, "BUFFER_BYTES_MAX").and_then(|bytes| bytes.parse().ok()).unwrap_or(BUFFER_BYTES_MAX),
            located_by_platform: text("ENVIRONMENT")? != "local",
        })
    }
}

/// A variable that may be absent. Plain workerd makes null of one that its environment lacks, and the crate's own look at a variable throws on that.
fn optional(env: &Env, name: &str) -> Option<String> {
    Reflect::get(env, &name.into()).ok()?.as_string()
}

/// Says what an operator must set; a parse error of a secret names a place in it, never its content.
fn unset(name: &str, reason: &str) -> Problem {
    crate::log::error("not_configured", serde_json::json!({ "binding": name, "cause": reason }));
    Problem::unavailable("edge_not_configured", format!("this deployment lacks a working {name}"), 30)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    const SECRET_BYTES_MIN: usize = 16;
    let nibble = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let bytes: Option<Vec<u8>> = text
        .as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some((nibble(high)? << 4) | nibble(low)?),
            _ => None,
        })
        .collect();
    bytes.filter(|bytes| bytes.len() >= SECRET_BYTES_MIN)
}
