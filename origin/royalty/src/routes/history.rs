//! `/v1/me/history`: what the caller has heard, and whether it counts.

use axum::extract::State;
use platform::{Caller, Page, Paging, Problem};

use crate::{
    Royalty,
    store::plays::{self, HistoryItem},
};

/// The caller's plays, newest first.
#[utoipa::path(
    get,
    path = "/v1/me/history",
    tag = "royalties",
    params(
        ("limit" = Option<u32>, Query, description = "How many, 1 to 200"),
        ("cursor" = Option<String>, Query, description = "Where to go on, as the page before said"),
    ),
    responses(
        (status = 200, body = Page<HistoryItem>),
        (status = 400, description = "`invalid_query`, `invalid_cursor`"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn list(caller: Caller, State(royalty): State<Royalty>, paging: Paging) -> Result<Page<HistoryItem>, Problem> {
    // An account is known here by its pseudonym alone, which only a holder of the keys can compute.
    let pseudonym = royalty.keys.pseudonym(caller.account);
    let plays = plays::history(&royalty.pool, pseudonym, paging.after()?, paging.rows()).await?;
    Ok(Page::of(plays, &paging, |item| item.play_id))
}
