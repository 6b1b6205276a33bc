//! `/v1/artists/{id}/members`: who acts for an artist and as what. Any member may look, owners decide.

use axum::extract::State;
use platform::{Caller, Created, Json, NoContent, Page, Path, Problem, memberships, memberships::MemberRole, problem::ProblemDocument};
use protocol::{AccountId, ArtistId};

use crate::{
    Identity, IdentityError,
    account::email_key,
    member::{InvitationRequest, Member, RoleRequest},
};

/// Who acts for an artist: its members, and those it has invited.
#[utoipa::path(
    get, path = "/v1/artists/{id}/members", tag = "identity", security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The artist")),
    responses(
        (status = 200, description = "All of them, the oldest first; at most 100", body = Page<Member>),
        (status = 401, description = "`session_missing`, `session_invalid` or `session_expired`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "`not_a_member`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list(caller: Caller, State(app): State<Identity>, Path(artist): Path<ArtistId>) -> Result<Page<Member>, Problem> {
    let role = app.store.role_for(caller.account, artist).await?;
    memberships::require(role, MemberRole::Viewer)?;
    let mut members = app.store.members(artist).await?;
    if role != Some(MemberRole::Owner) {
        members.iter_mut().for_each(|member| member.email = None);
    }
    Ok(Page::whole(members))
}

/// Invite the account that logs in with an address; it acts for the artist once it has accepted. A member gets the role that is named. Asked too
/// often, it answers 429: like signing up, it tells whether an address has an account.
#[utoipa::path(
    post, path = "/v1/artists/{id}/members", tag = "identity", security(("session" = [])), request_body = InvitationRequest,
    params(
        ("id" = uuid::Uuid, Path, description = "The artist"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the call safe to repeat"),
    ),
    responses(
        (status = 201, description = "The member, `invited` until it accepts", body = Member),
        (status = 400, description = "`invalid_body`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, description = "`session_missing`, `session_invalid` or `session_expired`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "`not_a_member`, `needs_owner`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`no_such_account`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`last_owner`, `too_many_members`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_requests`, with Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn invite(
    caller: Caller,
    State(app): State<Identity>,
    Path(artist): Path<ArtistId>,
    Json(request): Json<InvitationRequest>,
) -> Result<Created<Member>, Problem> {
    // Before the address is looked up: who is no owner learns nothing, at any rate.
    memberships::require(app.store.role_for(caller.account, artist).await?, MemberRole::Owner)?;
    app.throttles.charge_invitation(caller.account, app.now())?;
    let account = app.store.account_of(&email_key(&request.email)).await?.ok_or(IdentityError::NoSuchMember)?;
    let member = app.store.put_member(caller.account, artist, account, request.role, Some(request.email.trim()), app.now()).await?;
    tracing::info!(%artist, %account, role = request.role.name(), by = %caller.account, "a member is invited, or its role set");
    Ok(Created(member))
}

/// Give a member its role, at once; an account that is no member is invited. Again changes nothing.
#[utoipa::path(
    put, path = "/v1/artists/{id}/members/{account}", tag = "identity", security(("session" = [])), request_body = RoleRequest,
    params(("id" = uuid::Uuid, Path, description = "The artist"), ("account" = uuid::Uuid, Path, description = "The account")),
    responses(
        (status = 200, description = "The member", body = Member),
        (status = 400, description = "`invalid_body`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, description = "`session_missing`, `session_invalid` or `session_expired`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "`not_a_member`, `needs_owner`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`no_such_account`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`last_owner`, `too_many_members`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put(
    caller: Caller,
    State(app): State<Identity>,
    Path((artist, account)): Path<(ArtistId, AccountId)>,
    Json(request): Json<RoleRequest>,
) -> Result<Json<Member>, Problem> {
    let member = app.store.put_member(caller.account, artist, account, request.role, None, app.now()).await?;
    tracing::info!(%artist, %account, role = request.role.name(), by = %caller.account, "a member's role is set");
    Ok(Json(member))
}

/// Remove a member, or take an invitation back. Every service refuses it from its next call on. Again is no error.
#[utoipa::path(
    delete, path = "/v1/artists/{id}/members/{account}", tag = "identity", security(("session" = [])),
    params(("id" = uuid::Uuid, Path, description = "The artist"), ("account" = uuid::Uuid, Path, description = "The account")),
    responses(
        (status = 204, description = "It is no member"),
        (status = 401, description = "`session_missing`, `session_invalid` or `session_expired`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "`not_a_member`, `needs_owner`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`last_owner`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn remove(
    caller: Caller,
    State(app): State<Identity>,
    Path((artist, account)): Path<(ArtistId, AccountId)>,
) -> Result<NoContent, Problem> {
    app.store.remove_member(caller.account, artist, account).await?;
    tracing::info!(%artist, %account, by = %caller.account, "a membership ends");
    Ok(NoContent)
}
