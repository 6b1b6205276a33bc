//! The two questions an orchestrator asks. Ready means that this process can serve; a service behind that is down makes its own routes
//! answer 503 and takes nothing else with it, so it is not part of the answer.

use std::sync::atomic::Ordering;

use crate::gateway::Gateway;

/// `/healthz`: the process answers.
pub(crate) fn alive() -> &'static str {
    r#"{"status":"alive"}"#
}

/// `/readyz`: 503 once a stop has begun, so that load balancers send new clients elsewhere.
pub(crate) fn ready(gateway: &Gateway) -> (u16, String) {
    if gateway.draining.load(Ordering::Acquire) {
        (503, r#"{"status":"draining","missing":["this process is stopping"]}"#.to_owned())
    } else {
        (200, r#"{"status":"ready","missing":[]}"#.to_owned())
    }
}
