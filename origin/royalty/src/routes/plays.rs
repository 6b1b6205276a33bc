//! `/internal/plays`: where the activity lake reads what became of plays.

use axum::extract::State;
use platform::{
    Json, Problem, Query,
    activity::{Changes, PlayDoc, ReadOn},
};

use crate::{Royalty, store::play_changes};

/// The plays that changed after a place in the feed, each once, as it is now.
#[utoipa::path(
    get,
    path = "/internal/plays",
    tag = "internal",
    params(ReadOn),
    responses((status = 200, body = Changes<PlayDoc>), (status = 400, description = "`invalid_query`"))
)]
pub(crate) async fn read(State(royalty): State<Royalty>, Query(from): Query<ReadOn>) -> Result<Json<Changes<PlayDoc>>, Problem> {
    let (rows, held_by) = (play_changes::after(&royalty.pool, &from).await?, play_changes::held_by(&royalty.pool).await?);
    Ok(Json(from.page(rows, held_by)))
}
