//! Reading the index: by id, page by page, and what may answer a query. Scores here only choose what is worth ranking.

use std::ops::Bound;

use protocol::UnixMs;
use tantivy::{
    DocAddress, Order, Searcher, Term,
    collector::TopDocs,
    query::{BooleanQuery, ConstScoreQuery, DisjunctionMaxQuery, FuzzyTermQuery, Occur, Query, RangeQuery, TermQuery, TermSetQuery},
    schema::{Field, IndexRecordOption},
};
use uuid::Uuid;

use super::{Fields, entry};
use crate::{
    entry::{Entry, Kind},
    rank::{Wanted, typos_allowed},
};

/// Which kinds of entry are wanted.
pub(crate) type Kinds = Vec<Kind>;

pub(super) fn by_id(fields: Fields, searcher: &Searcher, id: Uuid) -> anyhow::Result<Option<Entry>> {
    let found = searcher.search(&term(fields.id, &id.to_string()), &TopDocs::with_limit(1).order_by_score())?;
    found.first().map(|(_, address)| entry(fields, searcher, *address)).transpose()
}

/// Tracks that name `id` in `field`, those that are out longest first, at most `limit`.
pub(super) fn tracks_naming(fields: Fields, searcher: &Searcher, field: Field, id: Uuid, limit: usize) -> anyhow::Result<Vec<Entry>> {
    let order = TopDocs::with_limit(limit).order_by_fast_field::<i64>("visible_from_ms", Order::Asc);
    let found = searcher.search(&term(field, &id.to_string()), &order)?;
    found.into_iter().map(|(_, address)| entry(fields, searcher, address)).collect()
}

pub(super) fn browse(
    fields: Fields,
    searcher: &Searcher,
    kinds: &Kinds,
    after: Option<Uuid>,
    limit: usize,
    now: UnixMs,
) -> anyhow::Result<Vec<Entry>> {
    let mut must = allowed(fields, kinds, now);
    if let Some(after) = after {
        let before = RangeQuery::new(Bound::Unbounded, Bound::Excluded(Term::from_field_text(fields.id, &after.to_string())));
        must.push((Occur::Must, Box::new(before)));
    }
    let order = TopDocs::with_limit(limit).order_by_string_fast_field("id", Order::Desc);
    let found = searcher.search(&BooleanQuery::new(must), &order)?;
    found.into_iter().map(|(_, address)| entry(fields, searcher, address)).collect()
}

pub(super) fn candidates(
    fields: Fields,
    searcher: &Searcher,
    wanted: &Wanted,
    kinds: &Kinds,
    popular: &[Uuid],
    limit: usize,
    now: UnixMs,
) -> anyhow::Result<Vec<Entry>> {
    let mut query = allowed(fields, kinds, now);
    query.push((Occur::Must, Box::new(matching(fields, wanted))));
    if !popular.is_empty() {
        let ids = popular.iter().map(|id| Term::from_field_text(fields.id, &id.to_string()));
        // Less than any difference in how well the words match: it only decides which of too many equals are looked at.
        query.push((Occur::Should, scored(TermSetQuery::new(ids), 0.1)));
    }
    let found: Vec<(f32, DocAddress)> = searcher.search(&BooleanQuery::new(query), &TopDocs::with_limit(limit).order_by_score())?;
    found.into_iter().map(|(_, address)| entry(fields, searcher, address)).collect()
}

/// Of a wanted kind, and out.
fn allowed(fields: Fields, kinds: &Kinds, now: UnixMs) -> Vec<(Occur, Box<dyn Query>)> {
    let kinds = kinds.iter().map(|kind| Term::from_field_text(fields.kind, kind.name()));
    let out = RangeQuery::new(Bound::Unbounded, Bound::Included(Term::from_field_i64(fields.visible_from_ms, now.0)));
    vec![(Occur::Must, scored(TermSetQuery::new(kinds), 0.0)), (Occur::Must, scored(out, 0.0))]
}

/// Every word somewhere, or the whole title with its spaces set otherwise.
fn matching(fields: Fields, wanted: &Wanted) -> DisjunctionMaxQuery {
    let words = wanted.open_words().map(|(word, open)| (Occur::Must, Box::new(word_matching(fields, word, open)) as Box<dyn Query>));
    let joined = Term::from_field_text(fields.joined, &wanted.joined);
    let typos = u8::try_from(typos_allowed(&wanted.joined)).unwrap_or(0);
    DisjunctionMaxQuery::new(vec![
        Box::new(BooleanQuery::new(words.collect())),
        scored(TermQuery::new(joined.clone(), IndexRecordOption::Basic), 200.0),
        scored(FuzzyTermQuery::new_prefix(joined.clone(), 0, true), 60.0),
        scored(FuzzyTermQuery::new_prefix(joined, typos, true), 1.0),
    ])
}

fn word_matching(fields: Fields, word: &str, open: bool) -> DisjunctionMaxQuery {
    let in_title = Term::from_field_text(fields.title, word);
    let anywhere = Term::from_field_text(fields.all, word);
    let mut ways = vec![
        scored(TermQuery::new(in_title.clone(), IndexRecordOption::Basic), 8.0),
        scored(TermQuery::new(anywhere.clone(), IndexRecordOption::Basic), 6.0),
    ];
    if open {
        ways.push(scored(FuzzyTermQuery::new_prefix(in_title, 0, true), 4.0));
        ways.push(scored(FuzzyTermQuery::new_prefix(anywhere.clone(), 0, true), 3.0));
    }
    for (typos, score) in [(1u8, 1.5), (2, 1.0)] {
        if usize::from(typos) <= typos_allowed(word) {
            let near = if open {
                FuzzyTermQuery::new_prefix(anywhere.clone(), typos, true)
            } else {
                FuzzyTermQuery::new(anywhere.clone(), typos, true)
            };
            ways.push(scored(near, score));
        }
    }
    DisjunctionMaxQuery::new(ways)
}

fn scored(query: impl Query, score: f32) -> Box<dyn Query> {
    Box::new(ConstScoreQuery::new(Box::new(query), score))
}

fn term(field: Field, text: &str) -> TermQuery {
    TermQuery::new(Term::from_field_text(field, text), IndexRecordOption::Basic)
}
