//! The index on disk: one document for everything that can be found. Each commit carries the outbox position it reaches, so that after a crash
//! the index and its position agree, and the feed goes on from exactly there. All of it is derived: when it cannot be opened, it is made anew.

mod look_up;
mod writer;

use std::{fs, path::Path};

use anyhow::Context as _;
pub(crate) use look_up::Kinds;
use protocol::UnixMs;
use tantivy::{
    Index, IndexReader, ReloadPolicy, Searcher, TantivyDocument,
    directory::MmapDirectory,
    schema::{FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions, Value as _},
};
use uuid::Uuid;
pub(crate) use writer::Writer;

use crate::entry::Entry;

/// The fields of a document.
#[derive(Debug, Clone, Copy)]
struct Fields {
    /// The id, by which a document is replaced and by which pages are ordered.
    id: Field,
    kind: Field,
    /// Folded words of the title.
    title: Field,
    /// Folded words of title, artist and album.
    all: Field,
    /// The folded title without spaces.
    joined: Field,
    /// On tracks: whose they are.
    artist_id: Field,
    album_id: Field,
    visible_from_ms: Field,
    /// The entry itself, as JSON.
    entry: Field,
}

impl Fields {
    fn schema() -> (Schema, Self) {
        let words = || {
            let indexing =
                TextFieldIndexing::default().set_tokenizer("whitespace").set_index_option(IndexRecordOption::Basic).set_fieldnorms(false);
            TextOptions::default().set_indexing_options(indexing)
        };
        let mut schema = Schema::builder();
        let fields = Self {
            id: schema.add_text_field("id", STRING | FAST),
            kind: schema.add_text_field("kind", STRING),
            title: schema.add_text_field("title", words()),
            all: schema.add_text_field("all", words()),
            joined: schema.add_text_field("joined", STRING),
            artist_id: schema.add_text_field("artist_id", STRING),
            album_id: schema.add_text_field("album_id", STRING),
            visible_from_ms: schema.add_i64_field("visible_from_ms", INDEXED | FAST),
            entry: schema.add_text_field("entry", STORED),
        };
        (schema.build(), fields)
    }
}

/// For reading; cheap to clone.
#[derive(Clone)]
pub(crate) struct Catalogue {
    reader: IndexReader,
    fields: Fields,
}

/// Opens the index in `dir`, or makes it anew when it is missing, damaged or of another program's shape.
pub(crate) fn open(dir: &Path) -> anyhow::Result<(Catalogue, Writer)> {
    let (schema, fields) = Fields::schema();
    let attempt = || -> anyhow::Result<Index> {
        fs::create_dir_all(dir)?;
        Ok(Index::open_or_create(MmapDirectory::open(dir)?, schema.clone())?)
    };
    let index = match attempt() {
        Ok(index) => index,
        Err(error) => {
            tracing::warn!(%error, dir = %dir.display(), "the search index cannot be used; making it anew from the outbox");
            fs::remove_dir_all(dir).with_context(|| format!("the unusable index in {} cannot be removed", dir.display()))?;
            attempt().context("a new search index cannot be made")?
        }
    };
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
    let catalogue = Catalogue { reader, fields };
    let writer = Writer::new(&index, catalogue.clone())?;
    Ok((catalogue, writer))
}

impl Catalogue {
    /// The entries with these ids that are there.
    pub(crate) fn entries(&self, ids: &[Uuid]) -> anyhow::Result<Vec<Entry>> {
        let searcher = self.reader.searcher();
        let mut entries = Vec::with_capacity(ids.len());
        for id in ids {
            entries.extend(look_up::by_id(self.fields, &searcher, *id)?);
        }
        Ok(entries)
    }

    /// One page of everything that is out at `now`, newest ids first, after the id `after`.
    pub(crate) fn browse(&self, kinds: &Kinds, after: Option<Uuid>, limit: usize, now: UnixMs) -> anyhow::Result<Vec<Entry>> {
        look_up::browse(self.fields, &self.reader.searcher(), kinds, after, limit, now)
    }

    /// What may answer a query: the best `limit` by the index's own coarse order.
    pub(crate) fn candidates(
        &self,
        wanted: &crate::rank::Wanted,
        kinds: &Kinds,
        popular: &[Uuid],
        limit: usize,
        now: UnixMs,
    ) -> anyhow::Result<Vec<Entry>> {
        look_up::candidates(self.fields, &self.reader.searcher(), wanted, kinds, popular, limit, now)
    }
}

/// The entry kept in a document.
fn entry(fields: Fields, searcher: &Searcher, address: tantivy::DocAddress) -> anyhow::Result<Entry> {
    let document: TantivyDocument = searcher.doc(address)?;
    let json = document.get_first(fields.entry).and_then(|value| value.as_str()).context("a document without its entry")?;
    Ok(serde_json::from_str(json)?)
}
