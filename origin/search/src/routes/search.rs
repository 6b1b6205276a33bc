//! `/v1/search`

use axum::extract::State;
use platform::{Page, Paging, Problem, Query, feed::ArtistDoc, paging::cursor, problem::ProblemDocument};
use protocol::ArtistId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{kinds, text};
use crate::{
    Answer, Search,
    entry::{Entry, Kind},
    rank::{Matches, Wanted},
};

/// What `GET /v1/search` takes.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchQuery {
    /// What to look for. Empty: everything there is, newest first.
    q: Option<String>,
    /// Kinds to find, comma-separated: `track`, `artist`, `album`, `playlist`. All of them when left out; with an empty `q`, tracks.
    r#type: Option<String>,
    /// Answers a page, 1 to 200.
    limit: Option<u32>,
    /// Where to go on.
    cursor: Option<String>,
}

/// One answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct Found {
    /// What it is.
    r#type: Kind,
    /// Its id.
    id: Uuid,
    /// Its title; an artist's name.
    title: String,
    /// Whose it is; left out for an artist.
    #[serde(skip_serializing_if = "Option::is_none")]
    artist: Option<FoundArtist>,
    /// The album a track is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    album: Option<String>,
    /// How long a track is.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<i64>,
    /// Where the query matched.
    highlights: Highlights,
    /// From 0 to 1; only the order matters.
    score: f64,
}

/// An artist by id and name.
#[derive(Serialize, ToSchema)]
pub(crate) struct FoundArtist {
    #[schema(value_type = String, format = Uuid)]
    id: ArtistId,
    name: String,
}

/// Ranges `[from, to)` in UTF-16 code units, by field; a field that did not match is left out.
#[derive(Serialize, Default, ToSchema)]
pub(crate) struct Highlights {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    title: Vec<(usize, usize)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    artist: Vec<(usize, usize)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    album: Vec<(usize, usize)>,
}

/// Search, or with an empty query leaf through the whole catalogue. Exact matches come first, then beginnings, then near misses.
#[utoipa::path(
    get, path = "/v1/search", tag = "search", params(SearchQuery),
    responses(
        (status = 200, description = "Answers, best first", body = Page<Found>),
        (status = 400, description = "`invalid_query` or `invalid_cursor`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn search(State(app): State<Search>, Query(query): Query<SearchQuery>) -> Result<Page<Found>, Problem> {
    let (text, kinds) = (text(query.q)?, kinds(query.r#type.as_deref())?);
    let paging = Paging::new(query.limit, query.cursor)?;
    match Wanted::from(&text) {
        Some(wanted) => answers(&app, wanted, kinds.unwrap_or_else(|| Kind::ALL.to_vec()), &paging).await,
        None => catalogue(&app, kinds.unwrap_or_else(|| vec![Kind::Track]), paging).await,
    }
}

/// A page of the ranked answers. The cursor counts, since the ranking itself moves with what is listened to.
async fn answers(app: &Search, wanted: Wanted, kinds: Vec<Kind>, paging: &Paging) -> Result<Page<Found>, Problem> {
    let from = paging.after::<usize>()?.unwrap_or(0);
    let limit = usize::try_from(paging.limit).unwrap_or(usize::MAX);
    let answers = app.find(wanted, kinds).await?;
    let next_cursor = (answers.len() > from.saturating_add(limit)).then(|| cursor(&(from + limit)));
    let items = answers.into_iter().skip(from).take(limit).map(Found::from).collect();
    Ok(Page { items, next_cursor })
}

async fn catalogue(app: &Search, kinds: Vec<Kind>, paging: Paging) -> Result<Page<Found>, Problem> {
    let (after, now) = (paging.after::<Uuid>()?, app.clock.now());
    let rows = usize::try_from(paging.rows()).unwrap_or(usize::MAX);
    let entries = app.on_a_thread(move |catalogue| catalogue.browse(&kinds, after, rows, now)).await?;
    let page = Page::of(entries, &paging, |entry| entry.id);
    let items = page.items.into_iter().map(|entry| Found::new(entry, Highlights::default(), 1.0)).collect();
    Ok(Page { items, next_cursor: page.next_cursor })
}

impl Found {
    fn new(entry: Entry, highlights: Highlights, score: f64) -> Self {
        Self {
            r#type: entry.kind,
            id: entry.id,
            title: entry.title,
            artist: entry.artist.map(|ArtistDoc { id, name }| FoundArtist { id, name }),
            album: entry.album,
            duration_ms: entry.duration_ms,
            highlights,
            score,
        }
    }
}

impl From<Answer> for Found {
    fn from(Answer { entry, rank, matches: Matches { title, artist, album } }: Answer) -> Self {
        Self::new(entry, Highlights { title, artist, album }, rank.score())
    }
}
