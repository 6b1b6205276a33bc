//! `/docs`: one self-contained page that reads `/openapi.json` and renders it. Nothing on it comes from another host, and its policy
//! says so to the browser.

use crate::answer::Answer;

const PAGE: &str = include_str!("docs.html");
const POLICY: &str =
    "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

pub(crate) fn page() -> Answer {
    Answer::whole(200, "text/html; charset=utf-8", PAGE).header("content-security-policy", POLICY).header("cache-control", "no-cache")
}
