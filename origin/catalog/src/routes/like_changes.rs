//! `/internal/likes`: where the activity lake reads who liked what.

use axum::extract::State;
use platform::{
    Json, Problem, Query,
    activity::{Changes, LikeDoc, ReadOn},
};

use crate::{Catalog, store::like_changes};

/// The likes after a place in the feed.
#[utoipa::path(
    get,
    path = "/internal/likes",
    tag = "internal",
    params(ReadOn),
    responses((status = 200, body = Changes<LikeDoc>), (status = 400, description = "`invalid_query`"))
)]
pub(crate) async fn read(State(catalog): State<Catalog>, Query(from): Query<ReadOn>) -> Result<Json<Changes<LikeDoc>>, Problem> {
    let (rows, held_by) = (like_changes::after(&catalog.pool, &from).await?, like_changes::held_by(&catalog.pool).await?);
    Ok(Json(from.page(rows, held_by)))
}
