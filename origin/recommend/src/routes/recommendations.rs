//! `/v1/me/recommendations`

use axum::{extract::State, http::HeaderName};
use platform::{Caller, Page, Problem, Query, problem::ProblemDocument};

use super::{Limit, Recommendation};
use crate::{MODEL, Recommend};

/// What the caller might like, best first; empty while nothing has been published.
#[utoipa::path(
    get, path = "/v1/me/recommendations", tag = "recommendations",
    params(("limit" = Option<usize>, Query, description = "How many, 1 to 200")),
    responses(
        (status = 200, description = "Recommendations; the header Antiphon-Model names the model", body = Page<Recommendation>),
        (status = 400, description = "`invalid_query`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("session" = []))
)]
pub(crate) async fn list(
    _caller: Caller,
    State(recommend): State<Recommend>,
    Query(limit): Query<Limit>,
) -> Result<([(HeaderName, &'static str); 1], Page<Recommendation>), Problem> {
    let picks = recommend.shelf().popular(limit.rows());
    let model = [(HeaderName::from_static("antiphon-model"), MODEL)];
    Ok((model, Page::whole(picks.into_iter().map(Recommendation::from).collect())))
}
