//! Many small files of a day become one. Rows are neither made nor lost: what goes in is what comes out, but for older revisions of a play,
//! which are counted. The step is one commit like any other, so a reader sees the many or the one. Files that were replaced stay in the store
//! until nobody can be reading them ([`crate::sweep`]).

use std::collections::{BTreeMap, HashMap};

use arrow::{
    array::{Array as _, Int64Array, RecordBatch, StringArray, UInt64Array},
    compute::{concat_batches, take_record_batch},
};
use bytes::Bytes;
use protocol::UnixMs;
use sha2::{Digest as _, Sha256};

use crate::{
    Lake, LakeError,
    manifest::{self, Commit, File},
    rows::{self, FILE_ROWS_MAX, Kind},
    step::{Step, Watch},
    write,
};

/// Files of one level that are worth a merge: each row is written again once a level, so about log16 of the files of a day.
pub const FAN_IN: usize = 16;
/// Once nothing was added to a day for so long, whatever it has becomes one file.
pub const QUIET_MS: i64 = 3_600_000;

/// What a merge did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// What is in them.
    pub kind: Kind,
    /// The day.
    pub day: String,
    /// Files that became one.
    pub files: usize,
    /// Rows of that one.
    pub rows: i64,
    /// Older revisions that were left out.
    pub superseded: i64,
}

impl Lake {
    /// Merges the files of one day where that is worth it; `None` when nothing is.
    ///
    /// # Errors
    /// [`LakeError`], and then the lake is as it was.
    pub async fn compact(&self, watch: Watch<'_>) -> Result<Option<Merged>, LakeError> {
        let base = manifest::number(&self.pool).await?;
        let now = self.clock.now();
        // A file above half the maximum could not grow any more.
        let small = manifest::small_files(&self.pool, FILE_ROWS_MAX / 2).await?;
        let Some(chosen) = choose(small, now) else { return Ok(None) };
        watch(Step::Pulled);
        let mut batches = Vec::with_capacity(chosen.len());
        for file in &chosen {
            batches.extend(self.load(file).await?);
        }
        let (Some(first), level) = (chosen.first(), chosen.iter().map(|file| file.level).max().unwrap_or(0)) else { return Ok(None) };
        let (kind, day, rows_in) = (first.kind, first.day.clone(), chosen.iter().map(|file| file.rows).sum::<i64>());
        let (bytes, rows) =
            tokio::task::spawn_blocking(move || merge(kind, &batches)).await.map_err(|error| LakeError::Parquet(error.to_string()))??;
        let one = write::file(kind, day.clone(), base + 1, level.saturating_add(1), rows, rows_in - rows, &bytes);

        manifest::announce(&self.pool, std::slice::from_ref(&one.object), now).await?;
        watch(Step::Announced);
        self.store(&one, bytes).await?;
        watch(Step::Stored);
        let merged = Merged { kind, day, files: chosen.len(), rows, superseded: rows_in - rows };
        let mut commit = Commit::after(&self.pool, base, now).await?;
        commit.remove(&chosen.into_iter().map(|file| file.object).collect::<Vec<_>>()).await?;
        commit.add(&[one]).await?;
        watch(Step::Written);
        commit.finish().await?;
        watch(Step::Committed);
        Ok(Some(merged))
    }

    /// A file's rows, held to what the manifest says of it.
    async fn load(&self, file: &File) -> Result<Vec<RecordBatch>, LakeError> {
        let bytes = self.objects.get(&self.bucket, &file.object).await?;
        if Sha256::digest(&bytes).as_slice() != file.sha256 {
            return Err(LakeError::Contradiction(format!("{} has other bytes than were written", file.object)));
        }
        let batches = rows::decode(bytes)?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if i64::try_from(rows).ok() != Some(file.rows) {
            return Err(LakeError::Contradiction(format!("{} has {rows} rows, not {}", file.object, file.rows)));
        }
        Ok(batches)
    }
}

/// The files of one day and kind to merge: enough of one level, or all of a day that has become quiet.
fn choose(small: Vec<(File, UnixMs)>, now: UnixMs) -> Option<Vec<File>> {
    let mut days: BTreeMap<(String, &str), Vec<(File, UnixMs)>> = BTreeMap::new();
    for (file, added) in small {
        days.entry((file.day.clone(), file.kind.name())).or_default().push((file, added));
    }
    for files in days.into_values() {
        let last_added = files.iter().map(|(_, added)| *added).max()?;
        let files: Vec<File> = files.into_iter().map(|(file, _)| file).collect();
        let mut levels: BTreeMap<i16, Vec<File>> = BTreeMap::new();
        for file in &files {
            levels.entry(file.level).or_default().push(file.clone());
        }
        let full = levels.into_values().find(|level| level.len() >= FAN_IN).map(|mut level| {
            level.truncate(FAN_IN);
            level
        });
        let quiet = (now.since(last_added) >= QUIET_MS).then_some(files);
        if let Some(chosen) = full.or(quiet).map(as_many_as_fit).filter(|chosen| chosen.len() > 1) {
            return Some(chosen);
        }
    }
    None
}

fn as_many_as_fit(files: Vec<File>) -> Vec<File> {
    let mut rows = 0;
    files
        .into_iter()
        .take_while(|file| {
            rows += file.rows;
            rows <= FILE_ROWS_MAX
        })
        .collect()
}

/// One file of all rows, in the order of time, without older revisions of the same play.
fn merge(kind: Kind, batches: &[RecordBatch]) -> Result<(Bytes, i64), LakeError> {
    let all = concat_batches(&kind.schema(), batches)?;
    let kept = match kind {
        Kind::Play => newest_revisions(&all)?,
        Kind::Like => (0..all.num_rows()).collect(),
    };
    let order = in_time(&all, kind, kept)?;
    let merged = take_record_batch(&all, &order)?;
    Ok((rows::encode(&merged)?, i64::try_from(merged.num_rows()).unwrap_or(i64::MAX)))
}

fn newest_revisions(all: &RecordBatch) -> Result<Vec<usize>, LakeError> {
    let (plays, revisions) = (column::<StringArray>(all, "play")?, column::<Int64Array>(all, "revision")?);
    let mut newest: HashMap<&str, (i64, usize)> = HashMap::with_capacity(all.num_rows());
    for row in 0..all.num_rows() {
        let revision = revisions.value(row);
        newest.entry(plays.value(row)).and_modify(|known| *known = (revision, row).max(*known)).or_insert((revision, row));
    }
    Ok(newest.into_values().map(|(_, row)| row).collect())
}

fn in_time(all: &RecordBatch, kind: Kind, mut kept: Vec<usize>) -> Result<UInt64Array, LakeError> {
    let name = match kind {
        Kind::Play => "started_at",
        Kind::Like => "happened_at",
    };
    let instants = column::<arrow::array::TimestampMillisecondArray>(all, name)?;
    kept.sort_unstable_by_key(|row| (instants.value(*row), *row));
    Ok(kept.into_iter().filter_map(|row| u64::try_from(row).ok()).collect())
}

fn column<'a, A: 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A, LakeError> {
    let found = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref());
    found.ok_or_else(|| LakeError::Contradiction(format!("a file without a column {name} of its kind")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_795_556_280_000);

    fn file(day: &str, level: i16, rows: i64, n: usize) -> File {
        let object = format!("{day}-{level}-{n}");
        File { object, kind: Kind::Play, day: day.to_owned(), level, rows, superseded: 0, bytes: 1, sha256: vec![0; 32] }
    }

    #[test]
    fn a_level_is_merged_when_it_is_full_and_a_day_when_it_is_quiet() {
        let fresh = |count: usize| (0..count).map(|n| (file("2026-11-25", 0, 10, n), NOW)).collect::<Vec<_>>();
        assert_eq!(choose(fresh(FAN_IN - 1), NOW), None);
        assert_eq!(choose(fresh(FAN_IN + 3), NOW).map(|files| files.len()), Some(FAN_IN));
        assert_eq!(choose(fresh(3), NOW.plus_ms(QUIET_MS)).map(|files| files.len()), Some(3));
        assert_eq!(choose(fresh(1), NOW.plus_ms(QUIET_MS)), None);
    }

    #[test]
    fn a_merge_never_holds_more_than_a_file_may_have() {
        let big: Vec<_> = (0..5).map(|n| (file("2026-11-25", 1, FILE_ROWS_MAX / 2, n), NOW)).collect();
        assert_eq!(choose(big, NOW.plus_ms(QUIET_MS)).map(|files| files.len()), Some(2));
    }
}
