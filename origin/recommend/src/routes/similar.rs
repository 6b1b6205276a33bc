//! `/v1/tracks/{id}/similar`

use axum::extract::State;
use platform::{Json, Path, Problem, Query, problem::ProblemDocument};
use protocol::TrackId;

use super::{Limit, Recommendations};
use crate::Recommend;

/// Tracks around this one: by the same artist, then of the same genre, then popular ones.
#[utoipa::path(
    get, path = "/v1/tracks/{id}/similar", tag = "recommendations",
    params(("id" = String, Path, description = "The track"), ("limit" = Option<usize>, Query, description = "How many, 1 to 200")),
    responses(
        (status = 200, description = "Similar tracks", body = Recommendations),
        (status = 400, description = "`invalid_query`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`track_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list(
    State(recommend): State<Recommend>,
    Path(track): Path<TrackId>,
    Query(limit): Query<Limit>,
) -> Result<Json<Recommendations>, Problem> {
    let picks = recommend.shelf().similar(track, recommend.audience(None), limit.rows());
    let picks = picks.ok_or_else(|| Problem::not_found("track_not_found", "no track that can be played has this id"))?;
    Ok(Json(picks.into()))
}
