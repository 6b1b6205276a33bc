//! `/v1/accounts`

use axum::extract::State;
use platform::{Created, Json, Problem, problem::ProblemDocument};

use crate::{
    Identity,
    account::{Account, AccountRequest, NewAccount},
};

/// Sign up: an account on the free plan. An artist's account owns an artist of the same name.
#[utoipa::path(
    post, path = "/v1/accounts", tag = "identity", request_body = AccountRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes the call safe to repeat")),
    responses(
        (status = 201, description = "The account", body = Account),
        (status = 400, description = "`invalid_body`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`email_taken`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn create(State(app): State<Identity>, Json(request): Json<AccountRequest>) -> Result<Created<Account>, Problem> {
    let account = NewAccount::public(request)?;
    let phc = app.hasher.hash(&account.password).await?;
    Ok(Created(app.store.create(&account, &phc, app.now()).await?))
}
