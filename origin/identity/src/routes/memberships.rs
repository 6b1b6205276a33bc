//! `/internal/accounts/{id}/memberships`, for services that must know whom an account acts for.

use axum::extract::State;
use platform::{Page, Path, Problem, memberships::Membership};
use protocol::AccountId;

use crate::Identity;

/// The artists that an account acts for, as what, and who is paid for each.
#[utoipa::path(
    get, path = "/internal/accounts/{id}/memberships", tag = "internal",
    params(("id" = String, Path, description = "The account")),
    responses((status = 200, description = "Its memberships", body = Page<Membership>))
)]
pub(crate) async fn list(State(app): State<Identity>, Path(account): Path<AccountId>) -> Result<Page<Membership>, Problem> {
    Ok(Page::whole(app.store.memberships(account).await?))
}
