//! A segment that is warm, which is most of what is asked for: everything is known without waiting, but for the bytes, and nothing is to be done behind
//! the answer. Then the cache is asked by `platform.js`, and neither a future of ours nor a task is made. Every other request, and every refusal, is
//! answered at length (`media`), by the same judgement.

use std::rc::Rc;

use protocol::{
    UnixMs, admission,
    media_path::{self, MediaObject},
    receipt,
};
use worker::{Env, Method, js_sys::Promise, worker_sys};

use crate::{AT_LENGTH, answer, asked::Asked, cache, counters, media, prefetch, request_id, revoked, settings::Settings, sheets};

/// Headers whose sender wants something else than all of it.
const WANT_LESS: [&str; 2] = ["range", "if-none-match"];

/// The answer to a request for a warm segment.
pub(crate) fn answer(asked: &Asked, env: &Env, context: &worker_sys::Context, now: UnixMs) -> Option<Promise> {
    let path = asked.path();
    let is_media = asked.method == Some(Method::Get) && path.starts_with(media_path::PREFIX);
    if !is_media || !revoked::is_young(now) || WANT_LESS.iter().any(|name| asked.header(name).is_some()) {
        return None;
    }
    let settings = Settings::loaded()?;
    let admitted = revoked::judge(|revoked| admission::media(&settings.keys, revoked, path, now)).ok()?;
    let (claims, object, etag) = (admitted.claims, admitted.object, admitted.etag());
    if !matches!(object, MediaObject::First(_) | MediaObject::Segment(..)) {
        return None;
    }
    let host: Rc<str> = asked.host().into();
    if !prefetch::is_warm(&host, now, asked, &claims, object) {
        return None;
    }
    let sheet = sheets::remembered(&host, claims.version)?;
    let (_, length) = sheet.object_range(object)?;
    let hit = media::hit(&etag, length.into(), None).with(answer::REQUEST_ID, &request_id(asked));
    let hit = match receipt::issue(&settings.keys, claims.play, object, &sheet, now) {
        Some(receipt) => hit.with(receipt::HEADER, &receipt),
        None => hit,
    };
    counters::keep_up(env, now);
    let key = cache::media_key(&host, claims.version, object);
    Some(AT_LENGTH.with(|at_length| hit.cached(&key, at_length.as_ref(), asked.raw(), env.as_ref(), context.as_ref())))
}
