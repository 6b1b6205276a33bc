//! `/v1/search/suggest`

use std::collections::HashSet;

use axum::extract::State;
use platform::{Page, Problem, Query, problem::ProblemDocument};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::text;
use crate::{Search, entry::Kind, fold, rank::Wanted};

const SUGGESTIONS: usize = 8;

/// What `GET /v1/search/suggest` takes.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct SuggestQuery {
    /// What has been typed so far.
    q: Option<String>,
}

/// What may be meant.
#[derive(Serialize, ToSchema)]
pub(crate) struct Suggestion {
    /// To complete the query with.
    text: String,
    /// What it names.
    r#type: Kind,
    /// Its id.
    id: Uuid,
}

/// Complete what is being typed. Names that read the same are suggested once.
#[utoipa::path(
    get, path = "/v1/search/suggest", tag = "search", params(SuggestQuery),
    responses(
        (status = 200, description = "At most eight, best first; none for an empty query", body = Page<Suggestion>),
        (status = 400, description = "`invalid_query`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn suggest(State(app): State<Search>, Query(query): Query<SuggestQuery>) -> Result<Page<Suggestion>, Problem> {
    let Some(wanted) = Wanted::from(&text(query.q)?) else { return Ok(Page::whole(Vec::new())) };
    let answers = app.find(wanted, Kind::ALL.to_vec()).await?;
    let mut seen = HashSet::new();
    let unlike = answers.into_iter().map(|answer| answer.entry).filter(|entry| seen.insert(fold::joined(&fold::words(&entry.title))));
    let suggestions = unlike.take(SUGGESTIONS).map(|entry| Suggestion { text: entry.title, r#type: entry.kind, id: entry.id });
    Ok(Page::whole(suggestions.collect()))
}
