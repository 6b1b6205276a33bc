//! Everything under `/v1` that the edge does not own: passed to the gateway and back, bodies as streams.

use protocol::{Problem, edge_auth};
use worker::{
    Headers,
    web_sys::{Request, RequestInit, RequestRedirect},
};

use crate::{
    Edge,
    answer::{self, Answer},
    asked::Asked,
    origin,
};

/// The gateway has this long to begin its answer; long polls are internal and do not come this way.
const PATIENCE_MS: u64 = 60_000;

/// Headers that only the edge or the gateway may say.
const NOT_FROM_CLIENTS: [&str; 6] =
    [edge_auth::HEADER, "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// Passes a request on.
pub(crate) async fn answer(edge: &Edge, asked: &Asked) -> Result<Answer, Problem> {
    let query = asked.query().map(|query| format!("?{query}")).unwrap_or_default();
    let headers = headers(edge, asked)?;
    let init = RequestInit::new();
    init.set_method(&asked.raw().method());
    init.set_headers(&headers.0);
    // A redirect is the client's to follow.
    init.set_redirect(RequestRedirect::Manual);
    // A request to read has no body to pass on (the platform would refuse to make one).
    if let Some(body) = asked.raw().body().filter(|_| !asked.reads()) {
        init.set_body(&body);
    }
    let forwarded = Request::new_with_str_and_init(&format!("{}{}{query}", edge.settings.gateway_url, asked.path()), &init)
        .map_err(|error| answer::fault("a request", &worker::Error::from(error)))?;
    let response = origin::within(&forwarded, PATIENCE_MS).await.map_err(|cause| origin::unreachable(edge, &cause))?;
    Ok(Answer::passed_on(&response))
}

fn headers(edge: &Edge, asked: &Asked) -> Result<Headers, Problem> {
    let headers = asked.copied_headers().map_err(|error| answer::fault("copying headers", &error))?;
    for name in NOT_FROM_CLIENTS {
        let _ = headers.delete(name);
    }
    for name in headers.keys().filter(|name| name.starts_with("antiphon-internal")).collect::<Vec<_>>() {
        let _ = headers.delete(&name);
    }
    if let Some(client) = asked.header("cf-connecting-ip") {
        let _ = headers.set("x-forwarded-for", &client);
    }
    let _ = headers.set(answer::REQUEST_ID, &edge.request_id);
    Ok(headers)
}
