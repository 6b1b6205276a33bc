//! `/v1/royalties/quarantine`: records that cannot count, why, and once more after a fix.

use axum::extract::State;
use platform::{Admin, Created, Json, Page, Paging, Path, Problem, Query};
use protocol::{UnixMs, tally::Hour};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Royalty, RoyaltyError,
    period::Period,
    quarantine::{self, REPLAY_MAX, Reason, Replay},
    store::quarantine::{self as store, QuarantineRow, Selection},
};

/// A record in quarantine.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuarantineItem {
    id: i64,
    /// Why it cannot count.
    reason: String,
    /// The play, when a good ticket named one.
    play: Option<Uuid>,
    /// The month it is told under.
    period: String,
    /// When a buffer received it, RFC 3339.
    #[serde(with = "protocol::time::rfc3339")]
    #[schema(value_type = String)]
    received_at: UnixMs,
    /// The batch it came in.
    buffer: String,
    epoch: String,
    number: i64,
}

/// A record with all that is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Explained {
    #[serde(flatten)]
    item: QuarantineItem,
    /// `quarantined`, or what a replay made of it: `counted` or `duplicate`.
    state: &'static str,
    /// When it was replayed.
    #[serde(with = "protocol::time::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    replayed_at: Option<UnixMs>,
    /// What the reason means.
    meaning: &'static str,
    /// What would have to change.
    fix: &'static str,
    /// The record as it was received.
    #[schema(value_type = Object)]
    record: Value,
}

/// Which records to replay: some by name, or all that stand of a period or a reason.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayRequest {
    /// These records only, at most 500.
    #[schema(max_items = 500)]
    ids: Option<Vec<i64>>,
    /// Records of this month only.
    #[schema(value_type = Option<String>)]
    period: Option<Period>,
    /// Records quarantined for this reason only.
    reason: Option<String>,
    /// Records after this one only: `next` of the answer before.
    #[serde(default)]
    after: i64,
    /// Do everything, and write nothing.
    #[serde(default)]
    dry_run: bool,
}

impl QuarantineItem {
    fn of(row: &QuarantineRow) -> Self {
        Self {
            id: row.id,
            reason: row.reason.clone(),
            play: row.play,
            period: Hour(row.hour).starts_at().month(),
            received_at: UnixMs(row.received_at_ms),
            buffer: row.buffer.clone(),
            epoch: row.epoch.clone(),
            number: row.number,
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Filter {
    period: Option<Period>,
    reason: Option<String>,
}

/// The records that stand in quarantine, oldest first.
#[utoipa::path(
    get,
    path = "/v1/royalties/quarantine",
    tag = "royalties",
    params(
        ("period" = Option<String>, Query, description = "Of this month only, such as 2026-11"),
        ("reason" = Option<String>, Query, description = "For this reason only, such as ticket_invalid"),
        ("limit" = Option<u32>, Query, description = "How many, 1 to 200"),
        ("cursor" = Option<String>, Query, description = "Where to go on, as the page before said"),
    ),
    responses(
        (status = 200, body = Page<QuarantineItem>),
        (status = 400, description = "`invalid_query`, `invalid_cursor`"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 403, description = "`not_an_admin`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn list(
    _: Admin,
    State(royalty): State<Royalty>,
    Query(filter): Query<Filter>,
    paging: Paging,
) -> Result<Page<QuarantineItem>, Problem> {
    let Filter { period, reason } = filter;
    let which = Selection { ids: None, period, reason: reason.map(storable), after: paging.after()?.unwrap_or(0), rows: paging.rows() };
    let mut connection = royalty.pool.acquire().await?;
    let rows = store::standing(&mut connection, &which).await?;
    Ok(Page::of(rows.iter().map(QuarantineItem::of).collect(), &paging, |item: &QuarantineItem| item.id))
}

/// What is wrong with a record, and what would fix it.
#[utoipa::path(
    get,
    path = "/v1/royalties/quarantine/{id}",
    tag = "royalties",
    params(("id" = i64, Path, description = "The record")),
    responses(
        (status = 200, body = Explained),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 403, description = "`not_an_admin`"),
        (status = 404, description = "`no_such_record`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn read(_: Admin, State(royalty): State<Royalty>, Path(id): Path<String>) -> Result<Json<Explained>, Problem> {
    let id = id.parse().map_err(|_| RoyaltyError::NotFound("record"))?;
    let row = store::one(&royalty.pool, id).await?.ok_or(RoyaltyError::NotFound("record"))?;
    let reason = Reason::of(&row.reason);
    Ok(Json(Explained {
        item: QuarantineItem::of(&row),
        state: row.replayed_as_new.map_or("quarantined", |is_new| if is_new { "counted" } else { "duplicate" }),
        replayed_at: row.replayed_at_ms.map(UnixMs),
        meaning: reason.map_or("a reason that this version does not know", |reason| reason.meaning),
        fix: reason.map_or("ask the version that wrote it", |reason| reason.fix),
        record: serde_json::from_str(&row.record).unwrap_or_else(|_| Value::String(row.record.clone())),
    }))
}

/// Merge records that stand in quarantine again, by the keys and rules of now and at their own receipts. What still cannot count stays. At most 500 at a
/// time; the same again finds nothing left to do.
#[utoipa::path(
    post,
    path = "/v1/royalties/quarantine/replays",
    tag = "royalties",
    request_body = ReplayRequest,
    responses(
        (status = 201, body = Replay),
        (status = 400, description = "`invalid_body`"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 403, description = "`not_an_admin`"),
        (status = 422, description = "`bad_item`: too many ids"),
    ),
    security(("session" = []))
)]
pub(crate) async fn replay(
    _: Admin,
    State(royalty): State<Royalty>,
    Json(request): Json<ReplayRequest>,
) -> Result<Created<Replay>, Problem> {
    let ReplayRequest { ids, period, reason, after, dry_run } = request;
    if ids.as_ref().is_some_and(|ids| ids.len() > REPLAY_MAX) {
        let detail = format!("at most {REPLAY_MAX} records at a time");
        return Err(RoyaltyError::BadItem { pointer: "/ids".to_owned(), detail }.into());
    }
    let which = Selection { ids, period, reason: reason.map(storable), after, rows: 0 };
    let now = royalty.clock.now();
    let replayed = quarantine::replay(&royalty.pool, &royalty.merger.partitions, &royalty.keys, &which, dry_run, now).await?;
    if !dry_run && replayed.counted + replayed.duplicate > 0 {
        royalty.merger.merged.notify_one();
    }
    Ok(Created(replayed))
}

/// No reason has a NUL in it, and PostgreSQL takes none.
fn storable(text: String) -> String {
    text.replace('\0', "\u{fffd}")
}
