//! The Worker's checks of a media token and of a session and nothing else, as a WebAssembly module of its own, so that `bench edge` can put them
//! beside WebCrypto.
//!
//! `verify.js` writes keys and tokens into memory that [`reserve`] gave it and calls [`verify`] or [`verify_session`] once a message, as wasm-bindgen's glue does
//! for a string: what is measured includes the crossing.
#![allow(unsafe_code, reason = "a module without wasm-bindgen is called with addresses")]

use std::cell::RefCell;

use protocol::{
    UnixMs,
    keys::TokenKeys,
    receipt::Segment,
    session::SessionVerifier,
    token::{Purpose, Verifier as _},
};

thread_local! {
    static KEYS: RefCell<Option<TokenKeys>> = const { RefCell::new(None) };
    static SESSIONS: RefCell<Option<SessionVerifier>> = const { RefCell::new(None) };
}

/// `length` bytes for the caller to write into. They are never given back.
#[unsafe(no_mangle)]
pub extern "C" fn reserve(length: usize) -> *mut u8 {
    Box::leak(vec![0; length].into_boxed_slice()).as_mut_ptr()
}

/// Reads the key document at `address`. 1 when it can be used.
///
/// # Safety
/// `address` is from [`reserve`], and `length` is not above what was asked for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn set_keys(address: *const u8, length: usize) -> u32 {
    // SAFETY: by this function's contract.
    let bytes = unsafe { std::slice::from_raw_parts(address, length) };
    let keys = std::str::from_utf8(bytes).ok().and_then(|json| TokenKeys::parse(json).ok());
    let usable = keys.is_some();
    KEYS.set(keys);
    u32::from(usable)
}

/// Verifies the media token at `address` at `now_ms`. 1 when it is valid.
///
/// # Safety
/// As [`set_keys`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn verify(address: *const u8, length: usize, now_ms: f64) -> u32 {
    // SAFETY: by this function's contract.
    let bytes = unsafe { std::slice::from_raw_parts(address, length) };
    let Ok(token) = std::str::from_utf8(bytes) else { return 0 };
    KEYS.with_borrow(|keys| keys.as_ref().is_some_and(|keys| keys.verify(token, Purpose::Media, UnixMs(now_ms as i64)).is_ok())).into()
}

/// As [`verify`], and makes the receipt that a segment of its play is answered with. 1 when there is one.
///
/// # Safety
/// As [`set_keys`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn verify_and_receipt(address: *const u8, length: usize, now_ms: f64) -> u32 {
    // SAFETY: by this function's contract.
    let bytes = unsafe { std::slice::from_raw_parts(address, length) };
    let now = UnixMs(now_ms as i64);
    let segment = Segment { n: 12, start_ms: 68_000, end_ms: 74_000 };
    let receipt = |keys: &TokenKeys| {
        let claims = keys.verify(std::str::from_utf8(bytes).ok()?, Purpose::Media, now).ok()?;
        segment.seal(keys, claims.play, now)
    };
    KEYS.with_borrow(|keys| keys.as_ref().and_then(receipt).is_some_and(|text| std::hint::black_box(text).len() > 16)).into()
}

/// Reads the key set at `address`. 1 when it can be used.
///
/// # Safety
/// As [`set_keys`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn set_jwks(address: *const u8, length: usize) -> u32 {
    // SAFETY: by this function's contract.
    let bytes = unsafe { std::slice::from_raw_parts(address, length) };
    let sessions = std::str::from_utf8(bytes).ok().and_then(|json| SessionVerifier::from_jwks(json).ok());
    let usable = sessions.is_some();
    SESSIONS.set(sessions);
    u32::from(usable)
}

/// Verifies the session at `address` at `now_ms`. 1 when it may ask for a manifest.
///
/// # Safety
/// As [`set_keys`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn verify_session(address: *const u8, length: usize, now_ms: f64) -> u32 {
    // SAFETY: by this function's contract.
    let bytes = unsafe { std::slice::from_raw_parts(address, length) };
    let Ok(jwt) = std::str::from_utf8(bytes) else { return 0 };
    SESSIONS
        .with_borrow(|sessions| sessions.as_ref().is_some_and(|sessions| sessions.verify_for_play(jwt, UnixMs(now_ms as i64)).is_ok()))
        .into()
}
