//! `/v1/royalties/reconciliation`: every hop held against the one before it.

use axum::extract::State;
use platform::{Admin, Json, Problem, Query, activity::Place};
use serde::Deserialize;

use crate::{
    Royalty, RoyaltyError,
    period::Period,
    reconcile::{self, Reconciliation},
    store,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfPeriod {
    period: Period,
    #[serde(default)]
    hours: bool,
}

/// A period hop by hop: what each was given, what it made of it, what does not add up and which batch is to be asked.
#[utoipa::path(
    get,
    path = "/v1/royalties/reconciliation",
    tag = "royalties",
    params(
        ("period" = String, Query, description = "The month of the plays' mints, such as 2026-11"),
        ("hours" = Option<bool>, Query, description = "Whether each hour is told too"),
    ),
    responses(
        (status = 200, body = Reconciliation),
        (status = 400, description = "`invalid_query`"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 403, description = "`not_an_admin`"),
        (status = 503, description = "`unavailable`, `intake_away`: what waits in the log cannot be counted now"),
    ),
    security(("session" = []))
)]
pub(crate) async fn read(_: Admin, State(royalty): State<Royalty>, Query(of): Query<OfPeriod>) -> Result<Json<Reconciliation>, Problem> {
    // Before the snapshot: what the lake holds is in the database already, whatever is folded meanwhile.
    let lake = match &royalty.lake {
        Some(lake) => lake.account(of.period).await.map_err(|error| tracing::warn!(%error, "the lake does not answer")).ok(),
        None => None,
    };
    let (snapshot, in_log) = snapshot(&royalty, of.period, lake.as_ref().map(|lake| lake.written_to)).await?;
    let mut reconciliation = reconcile::reconcile(of.period, &snapshot, in_log, lake.as_ref());
    if !of.hours {
        reconciliation.hours.clear();
    }
    Ok(Json(reconciliation))
}

/// Tries to find a moment in which nothing was merged between the two looks.
const TRIES: u32 = 5;

async fn snapshot(royalty: &Royalty, period: Period, lake: Option<Place>) -> Result<(store::reconcile::Snapshot, i64), RoyaltyError> {
    for _ in 0..TRIES {
        let place = royalty.intake.place().await?;
        let snapshot = store::reconcile::read(&royalty.pool, period, lake).await?;
        let in_log = royalty.intake.waiting(period).await?;
        if royalty.intake.place().await? == place {
            return Ok((snapshot, in_log));
        }
    }
    Err(RoyaltyError::IntakeAway("batches are being merged faster than they can be counted".to_owned()))
}
