//! `/v1/me/recommendations`

use axum::{extract::State, http::HeaderName};
use platform::{Caller, Json, Problem, Query, problem::ProblemDocument};

use super::{Limit, Recommendations};
use crate::{MODEL, Recommend};

/// What the caller might like, best first. With nothing to recommend the list is empty and says why.
#[utoipa::path(
    get, path = "/v1/me/recommendations", tag = "recommendations",
    params(("limit" = Option<usize>, Query, description = "How many, 1 to 200")),
    responses(
        (status = 200, description = "Recommendations; the header Antiphon-Model names the model", body = Recommendations),
        (status = 400, description = "`invalid_query`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security(("session" = []))
)]
pub(crate) async fn list(
    caller: Caller,
    State(recommend): State<Recommend>,
    Query(limit): Query<Limit>,
) -> Result<([(HeaderName, &'static str); 1], Json<Recommendations>), Problem> {
    let picks = recommend.shelf().popular(recommend.audience(Some(caller.country)), limit.rows());
    let model = [(HeaderName::from_static("antiphon-model"), MODEL)];
    Ok((model, Json(picks.into())))
}
