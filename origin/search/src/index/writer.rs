//! Writing the index: a batch of the outbox becomes one commit, which carries the batch's last position. An artist or album is there for as long
//! as a track names it, so a batch works out anew every artist and album that its tracks name, now or before.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use platform::feed::{OutboxEvent, OutboxKind, TrackState};
use tantivy::{Index, IndexWriter, TantivyDocument, Term, schema::Field};
use uuid::Uuid;

use super::{Catalogue, Fields, look_up};
use crate::{entry::Entry, fold};

/// Memory in which documents are gathered before they go to disk; the least that tantivy takes is 15 MB.
const GATHER_BYTES: usize = 32 << 20;

/// The one writer.
pub(crate) struct Writer {
    writer: IndexWriter,
    catalogue: Catalogue,
    position: i64,
}

impl Writer {
    pub(super) fn new(index: &Index, catalogue: Catalogue) -> anyhow::Result<Self> {
        let writer = index.writer_with_num_threads(1, GATHER_BYTES)?;
        let position = index.load_metas()?.payload.and_then(|payload| payload.parse().ok()).unwrap_or(0);
        Ok(Self { writer, catalogue, position })
    }

    /// The outbox position that the index has reached.
    pub(crate) const fn position(&self) -> i64 {
        self.position
    }

    /// Takes everything out: the outbox is not the one this index was made from.
    pub(crate) fn clear(&mut self) -> anyhow::Result<()> {
        self.writer.delete_all_documents()?;
        self.commit(0)
    }

    /// Puts a batch in. What fails leaves the index as it was.
    pub(crate) fn apply(&mut self, events: &[OutboxEvent]) -> anyhow::Result<()> {
        let Some(last) = events.iter().map(|event| event.seq).max() else { return Ok(()) };
        if let Err(error) = self.write(events) {
            self.writer.rollback()?;
            return Err(error);
        }
        self.commit(last)
    }

    fn write(&self, events: &[OutboxEvent]) -> anyhow::Result<()> {
        let fields = self.catalogue.fields;
        // Of several changes to one track the last says it all.
        let mut tracks: BTreeMap<Uuid, Option<Entry>> = BTreeMap::new();
        for event in events.iter().filter(|event| event.seq > self.position) {
            let there = event.kind == OutboxKind::TrackPublished && event.track.state == TrackState::Published;
            tracks.insert(event.track.id.uuid(), there.then(|| Entry::track(&event.track)));
        }
        let ids: Vec<Uuid> = tracks.keys().copied().collect();
        let before = self.catalogue.entries(&ids)?;

        for (id, track) in &tracks {
            self.replace(*id, track.as_ref())?;
        }
        let touched = || before.iter().chain(tracks.values().flatten());
        let artists: BTreeSet<Uuid> = touched().filter_map(|track| Some(track.artist.as_ref()?.id.uuid())).collect();
        for id in artists {
            let named_by =
                self.first_naming(fields.artist_id, id, &tracks, |track| track.artist.as_ref().map(|artist| artist.id.uuid()))?;
            self.replace(id, named_by.and_then(|track| Entry::artist_of(&track)).as_ref())?;
        }
        let albums: BTreeSet<Uuid> = touched().filter_map(Entry::album_id).collect();
        for id in albums {
            let named_by = self.first_naming(fields.album_id, id, &tracks, Entry::album_id)?;
            self.replace(id, named_by.and_then(|track| Entry::album_of(&track)).as_ref())?;
        }
        Ok(())
    }

    /// Of all tracks that name `id` after this batch, the one that is out first: with it the artist or album is out.
    fn first_naming(
        &self,
        field: Field,
        id: Uuid,
        batch: &BTreeMap<Uuid, Option<Entry>>,
        named: impl Fn(&Entry) -> Option<Uuid>,
    ) -> anyhow::Result<Option<Entry>> {
        let searcher = self.catalogue.reader.searcher();
        let in_batch: HashSet<Uuid> = batch.keys().copied().collect();
        // One more than could be in the batch, so that one outside of it is among them if there is any.
        let committed = look_up::tracks_naming(self.catalogue.fields, &searcher, field, id, batch.len() + 1)?;
        let others = committed.into_iter().filter(|track| !in_batch.contains(&track.id));
        let new = batch.values().flatten().filter(|track| named(track) == Some(id)).cloned();
        Ok(others.chain(new).min_by_key(|track| (track.visible_from_ms, track.id)))
    }

    /// Puts an entry in the place of what had its id, or nothing.
    fn replace(&self, id: Uuid, entry: Option<&Entry>) -> anyhow::Result<()> {
        self.writer.delete_term(Term::from_field_text(self.catalogue.fields.id, &id.to_string()));
        if let Some(entry) = entry {
            self.writer.add_document(document(self.catalogue.fields, entry)?)?;
        }
        Ok(())
    }

    fn commit(&mut self, position: i64) -> anyhow::Result<()> {
        let mut commit = self.writer.prepare_commit()?;
        commit.set_payload(&position.to_string());
        commit.commit()?;
        self.position = position;
        self.catalogue.reader.reload()?;
        Ok(())
    }

    /// The position on disk, as a process that starts now would find it.
    #[cfg(test)]
    fn position_on_disk(&self) -> i64 {
        let payload = self.writer.index().load_metas().ok().and_then(|metas| metas.payload);
        payload.and_then(|payload| payload.parse().ok()).unwrap_or(0)
    }
}

fn document(fields: Fields, entry: &Entry) -> anyhow::Result<TantivyDocument> {
    let title = fold::words(&entry.title);
    let mut all = title.clone();
    all.extend(entry.artist.iter().flat_map(|artist| fold::words(&artist.name)));
    all.extend(entry.album.iter().flat_map(|album| fold::words(album)));

    let mut document = TantivyDocument::new();
    document.add_text(fields.id, entry.id.to_string());
    document.add_text(fields.kind, entry.kind.name());
    document.add_text(fields.title, fold::spaced(&title));
    document.add_text(fields.all, fold::spaced(&all));
    document.add_text(fields.joined, fold::joined(&title));
    if entry.kind == crate::entry::Kind::Track {
        if let Some(artist) = &entry.artist {
            document.add_text(fields.artist_id, artist.id.to_string());
        }
        if let Some(album) = entry.album_id() {
            document.add_text(fields.album_id, album.to_string());
        }
    }
    document.add_i64(fields.visible_from_ms, entry.visible_from_ms);
    document.add_text(fields.entry, serde_json::to_string(entry)?);
    Ok(document)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
