//! Everything under `/v1` that the edge does not own: passed to the gateway and back, bodies as streams.

use protocol::{Problem, edge_auth};
use worker::{Headers, Method, Request, RequestInit, RequestRedirect, Response, web_sys};

use crate::{Edge, answer, origin, route};

/// The gateway has this long to begin its answer; long polls are internal and do not come this way.
const PATIENCE_MS: u64 = 60_000;

/// Headers that only the edge or the gateway may say.
const NOT_FROM_CLIENTS: [&str; 6] =
    [edge_auth::HEADER, "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// Passes `request` on.
pub(crate) async fn answer(edge: &Edge<'_>, request: &Request) -> Result<Response, Problem> {
    let url = request.inner().url();
    let (path, query) = route::path_and_query(&url);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let headers = headers(edge, request)?;
    let mut init = RequestInit::new();
    // A redirect is the client's to follow.
    init.with_method(request.method()).with_headers(headers).with_redirect(RequestRedirect::Manual);
    // A request to read has no body to pass on (the platform would refuse to make one).
    if !matches!(request.method(), Method::Get | Method::Head) {
        init.with_body(request.inner().body().map(Into::into));
    }
    let forwarded = Request::new_with_init(&format!("{}{path}{query}", edge.settings.gateway_url), &init)
        .map_err(|error| answer::fault("a request", &error))?;
    origin::within(forwarded, PATIENCE_MS).await
}

fn headers(edge: &Edge<'_>, request: &Request) -> Result<Headers, Problem> {
    let copied = web_sys::Headers::new_with_headers(&request.headers().0);
    let headers = copied.map(Headers).map_err(|error| answer::fault("copying headers", &worker::Error::from(error)))?;
    for name in NOT_FROM_CLIENTS {
        let _ = headers.delete(name);
    }
    for name in headers.keys().filter(|name| name.starts_with("antiphon-internal")).collect::<Vec<_>>() {
        let _ = headers.delete(&name);
    }
    if let Some(client) = answer::header(request.headers(), "cf-connecting-ip") {
        let _ = headers.set("x-forwarded-for", &client);
    }
    let _ = headers.set(answer::REQUEST_ID, edge.request_id);
    Ok(headers)
}
