//! `/v1/royalties/balance`: what the ledger says is the caller's.

use axum::extract::State;
use platform::{Caller, Json, Problem};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Royalty,
    ledger::{self, Account},
    money::{Currency, Money},
};

/// A payee's money.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Balance {
    /// May be paid out.
    available: Money,
    /// Waits for a decision.
    held: Money,
    #[schema(value_type = String, example = "EUR")]
    currency: Currency,
}

/// The caller's balance.
#[utoipa::path(
    get,
    path = "/v1/royalties/balance",
    tag = "royalties",
    responses(
        (status = 200, body = Balance),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn read(caller: Caller, State(royalty): State<Royalty>) -> Result<Json<Balance>, Problem> {
    let currency = royalty.currency;
    let mut connection = royalty.pool.acquire().await?;
    let available = ledger::balance(&mut connection, Account::Payee(caller.account), currency).await?;
    let held = ledger::balance(&mut connection, Account::Held(caller.account), currency).await?;
    let money = |micros| Money { micros, currency };
    Ok(Json(Balance { available: money(available), held: money(held), currency }))
}
