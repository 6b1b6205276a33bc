//! `/v1/royalties/statements`: what the caller was paid, for what, and how to check it.

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use platform::{Caller, Json, Page, Paging, Path, Problem};
use protocol::UnixMs;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Royalty, dsr,
    error::RoyaltyError,
    money::{self, Currency, Money},
    settle::Payee,
    store::{
        plays::TrackRef,
        statements::{self, LineRow, StatementRow},
    },
    sum_tree::{self, Side},
};

/// A statement in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatementItem {
    id: Uuid,
    /// The month.
    period: String,
    /// How the pool was shared.
    model: String,
    /// Listens behind it.
    listens: i64,
    /// The exact sum of its lines.
    amount: Money,
    /// `posted`: it is in the balance.
    state: &'static str,
    /// When it was posted, RFC 3339.
    #[serde(with = "protocol::time::rfc3339")]
    #[schema(value_type = String)]
    settled_at: UnixMs,
}

/// A statement with its lines.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Statement {
    #[serde(flatten)]
    head: StatementItem,
    /// Most money first.
    lines: Vec<StatementLine>,
}

/// What one track earned.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatementLine {
    track: TrackRef,
    isrc: Option<String>,
    listens: i64,
    amount: Money,
}

/// That a statement is in its settlement, and that the settlement gives out what it says.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Proof {
    /// What is hashed first.
    leaf: ProofLeaf,
    /// From the leaf to the top.
    path: Vec<ProofStep>,
    /// Leaves in the tree.
    leaves: usize,
    /// The settlement's root and the sum of all statements.
    root: ProofNode,
    /// How to check it.
    rule: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProofLeaf {
    payee: Uuid,
    micros: i64,
    salt: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProofStep {
    side: Side,
    hash: String,
    micros: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProofNode {
    hash: String,
    micros: i64,
}

const RULE: &str = "leaf = SHA-256(00 salt kind payee micros), kind 00 for an account; node = SHA-256(01 left left_micros right \
                    right_micros), its micros are the sum; root = SHA-256(02 leaves top micros); numbers are 8 bytes, big-endian; \
                    payee is the UUID's 16 bytes";

fn money_in(row: &StatementRow, micros: i64) -> Result<Money, RoyaltyError> {
    let currency: Currency = row.currency.parse().map_err(|_| RoyaltyError::Invariant(format!("currency {}", row.currency)))?;
    Ok(Money { micros, currency })
}

fn item(row: &StatementRow) -> Result<StatementItem, RoyaltyError> {
    Ok(StatementItem {
        id: row.id,
        period: row.period.clone(),
        model: row.model.clone(),
        listens: row.listens,
        amount: money_in(row, row.micros)?,
        state: "posted",
        settled_at: row.settled_at(),
    })
}

/// The caller's statements, newest first.
#[utoipa::path(
    get,
    path = "/v1/royalties/statements",
    tag = "royalties",
    params(
        ("limit" = Option<u32>, Query, description = "How many, 1 to 200"),
        ("cursor" = Option<String>, Query, description = "Where to go on, as the page before said"),
    ),
    responses(
        (status = 200, body = Page<StatementItem>),
        (status = 400, description = "`invalid_query`, `invalid_cursor`"),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
    ),
    security(("session" = []))
)]
pub(crate) async fn list(caller: Caller, State(royalty): State<Royalty>, paging: Paging) -> Result<Page<StatementItem>, Problem> {
    let rows = statements::of_payee(&royalty.pool, caller.account, paging.after()?, paging.rows()).await?;
    let items = rows.iter().map(item).collect::<Result<_, _>>()?;
    Ok(Page::of(items, &paging, |item: &StatementItem| item.id))
}

/// A statement of the caller, track by track; as CSV with the suffix `.csv` or `Accept: text/csv`, and laid out after DDEX's flat files for royalty
/// reporting with `.tsv` or `Accept: text/tab-separated-values`.
#[utoipa::path(
    get,
    path = "/v1/royalties/statements/{id}",
    tag = "royalties",
    params(("id" = String, Path, description = "The statement, or the statement and `.csv` or `.tsv`")),
    responses(
        (status = 200, content((Statement = "application/json"), (String = "text/csv"), (String = "text/tab-separated-values"))),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 404, description = "`no_such_statement`: there is none, or it is another's"),
    ),
    security(("session" = []))
)]
pub(crate) async fn read(
    caller: Caller,
    State(royalty): State<Royalty>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (id, form) = Form::of(&name, headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default());
    let id = Uuid::try_parse(id).map_err(|_| RoyaltyError::NotFound("statement"))?;
    let row = statements::one(&royalty.pool, caller.account, id).await?;
    let lines = statements::lines(&royalty.pool, id).await?;
    match form {
        Form::Csv => return Ok(file(&form, &format!("statement-{}-{id}.csv", row.period), csv(&row, &lines))),
        Form::Tsv => return Ok(file(&form, &dsr::file_name(&row, caller.account), dsr::file(&row, &lines, caller.account))),
        Form::Json => {}
    }
    let line = |line: LineRow| {
        Ok(StatementLine { track: line.track, isrc: line.isrc, listens: line.listens, amount: money_in(&row, line.micros)? })
    };
    let lines = lines.into_iter().map(line).collect::<Result<_, RoyaltyError>>()?;
    Ok(Json(Statement { head: item(&row)?, lines }).into_response())
}

/// How a statement is wanted.
enum Form {
    Json,
    Csv,
    Tsv,
}

impl Form {
    /// The statement's name without its suffix, and the form: the suffix decides, else what is accepted first.
    fn of<'a>(name: &'a str, accept: &str) -> (&'a str, Self) {
        let suffixed = |suffix, form| name.strip_suffix(suffix).map(|id| (id, form));
        suffixed(".csv", Self::Csv).or_else(|| suffixed(".tsv", Self::Tsv)).unwrap_or_else(|| {
            let media_type = accept.split([',', ';']).next().unwrap_or_default().trim();
            let form = match media_type {
                "text/csv" => Self::Csv,
                "text/tab-separated-values" => Self::Tsv,
                _ => Self::Json,
            };
            (name, form)
        })
    }

    const fn content_type(&self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Tsv => "text/tab-separated-values; charset=utf-8",
        }
    }
}

fn file(form: &Form, name: &str, text: String) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    ([(header::CONTENT_TYPE, form.content_type().to_owned()), (header::CONTENT_DISPOSITION, disposition)], text).into_response()
}

/// Proof that a statement of the caller is in its settlement.
#[utoipa::path(
    get,
    path = "/v1/royalties/statements/{id}/proof",
    tag = "royalties",
    params(("id" = Uuid, Path, description = "The statement")),
    responses(
        (status = 200, body = Proof),
        (status = 401, description = "`session_missing`, `session_invalid`, `session_expired`"),
        (status = 404, description = "`no_such_statement`: there is none, or it is another's"),
    ),
    security(("session" = []))
)]
pub(crate) async fn proof(caller: Caller, State(royalty): State<Royalty>, Path(id): Path<Uuid>) -> Result<Json<Proof>, Problem> {
    let row = statements::one(&royalty.pool, caller.account, id).await?;
    let (leaves, stored) = statements::leaves(&royalty.pool, row.settlement).await?;
    let index = usize::try_from(row.leaf).unwrap_or(usize::MAX);
    let own = leaves.get(index).copied().filter(|leaf| leaf.payee == Payee::Account(caller.account));
    let own = own.ok_or_else(|| RoyaltyError::Invariant(format!("statement {id} is not leaf {index} of its settlement")))?;
    let path = sum_tree::path(&leaves, index);
    let root = sum_tree::climb(&own, &path, leaves.len());
    if hex::encode(root.hash) != stored {
        return Err(RoyaltyError::Invariant(format!("statement {id} does not lead to the root of its settlement")).into());
    }
    let step = |(side, node): (Side, sum_tree::Node)| ProofStep { side, hash: hex::encode(node.hash), micros: node.micros };
    Ok(Json(Proof {
        leaf: ProofLeaf { payee: caller.account.uuid(), micros: own.micros, salt: hex::encode(own.salt) },
        path: path.into_iter().map(step).collect(),
        leaves: leaves.len(),
        root: ProofNode { hash: stored, micros: root.micros },
        rule: RULE,
    }))
}

/// RFC 4180, with a header.
fn csv(row: &StatementRow, lines: &[LineRow]) -> String {
    let mut text = "period,model,track,title,artist,isrc,listens,amount,currency\r\n".to_owned();
    for line in lines {
        let artist = line.track.artist.as_ref().map_or("", |artist| artist.name.as_str());
        let fields = [
            row.period.clone(),
            row.model.clone(),
            line.track.id.to_string(),
            cell(line.track.title.as_deref().unwrap_or_default()),
            cell(artist),
            cell(line.isrc.as_deref().unwrap_or_default()),
            line.listens.to_string(),
            money::decimal(line.micros),
            row.currency.clone(),
        ];
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}

/// A field, quoted where it must be. A title that a spreadsheet would take for a formula is made text with an apostrophe.
fn cell(text: &str) -> String {
    let guarded = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if guarded.contains([',', '"', '\r', '\n']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_cannot_break_a_row_or_become_a_formula() {
        let table = [("Song", "Song"), ("a,b", "\"a,b\""), ("say \"hi\"", "\"say \"\"hi\"\"\""), ("=1+1", "'=1+1"), ("a\nb", "\"a\nb\"")];
        for (title, expected) in table {
            assert_eq!(cell(title), expected);
        }
    }
}
