//! From a feed into the lake. One step is one commit, and it may be killed anywhere:
//!
//! | it dies after          | what is there                             | what the next step does                  |
//! |------------------------|-------------------------------------------|------------------------------------------|
//! | reading the feed       | nothing                                   | reads the same again                     |
//! | making keys            | keys without rows                         | uses them                                |
//! | announcing objects     | names in `lake.pending`                   | takes new names; the sweep removes these |
//! | storing some objects   | objects that no snapshot has              | the same                                 |
//! | writing the rows       | a transaction that the database rolls back | the same                                |
//! | the commit             | everything                                | goes on behind it                        |

use std::collections::{BTreeMap, HashSet};

use arrow::array::RecordBatch;
use bytes::Bytes;
use platform::{
    activity::{Changes, Place},
    random_bytes,
};
use protocol::UnixMs;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    Lake, LakeError,
    keys::{self, Known, Pseudonyms},
    manifest::{self, Commit, File, Tally},
    rows::{self, Kind},
    step::{Step, Watch},
};

/// Most rows of one commit.
const COMMIT_ROWS_MAX: usize = 50_000;
const HOUR_MS: i64 = 3_600_000;
/// What our Parquet files are called in HTTP.
const CONTENT_TYPE: &str = "application/vnd.apache.parquet";

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wrote {
    /// Rows that are in the lake now.
    pub rows: i64,
    /// Rows that were left out because their account has been forgotten.
    pub forgotten: i64,
    /// Whether the feed had more to tell.
    pub more: bool,
    /// The transaction whose end the feed waits for before it tells more.
    pub held_by: Option<i64>,
}

/// Something that somebody did.
trait Deed: Sized {
    const KIND: Kind;
    fn at(&self) -> UnixMs;
    fn subject(&self, lake: &Lake) -> Uuid;
    /// What is told again when it changes; `None` for what happens once.
    fn name(&self) -> Option<Uuid>;
    fn batch(revision: i64, rows: &[(&Self, &Pseudonyms)]) -> Result<RecordBatch, LakeError>;
}

impl Deed for platform::activity::PlayDoc {
    const KIND: Kind = Kind::Play;

    fn at(&self) -> UnixMs {
        self.minted_at_ms
    }

    fn subject(&self, _: &Lake) -> Uuid {
        self.pseudonym
    }

    fn name(&self) -> Option<Uuid> {
        Some(self.play.uuid())
    }

    fn batch(revision: i64, rows: &[(&Self, &Pseudonyms)]) -> Result<RecordBatch, LakeError> {
        rows::plays(revision, rows)
    }
}

impl Deed for platform::activity::LikeDoc {
    const KIND: Kind = Kind::Like;

    fn at(&self) -> UnixMs {
        self.happened_at_ms
    }

    fn subject(&self, lake: &Lake) -> Uuid {
        lake.subject(self.account)
    }

    fn name(&self) -> Option<Uuid> {
        None
    }

    fn batch(revision: i64, rows: &[(&Self, &Pseudonyms)]) -> Result<RecordBatch, LakeError> {
        rows::likes(revision, rows)
    }
}

impl Lake {
    /// Writes what a feed has told since, as one commit; nothing new is no commit.
    ///
    /// # Errors
    /// [`LakeError`]; nothing has been committed then, or, if the connection broke at the commit, all of it.
    pub async fn write(&self, kind: Kind, watch: Watch<'_>) -> Result<Wrote, LakeError> {
        let (base, place) = manifest::position(&self.pool, kind).await?;
        match kind {
            Kind::Play => {
                let told = gather(place, |after| self.feeds.plays(after)).await?;
                self.commit(base, place, told, watch).await
            }
            Kind::Like => {
                let told = gather(place, |after| self.feeds.likes(after)).await?;
                self.commit(base, place, told, watch).await
            }
        }
    }

    async fn commit<D: Deed>(&self, base: i64, place: Place, mut told: Changes<D>, watch: Watch<'_>) -> Result<Wrote, LakeError> {
        watch(Step::Pulled);
        if told.next == place {
            return Ok(Wrote { held_by: told.held_by, ..Wrote::default() });
        }
        told.items = last_words(told.items);
        let now = self.clock.now();
        let deeds: Vec<(Uuid, UnixMs)> = told.items.iter().map(|deed| (deed.subject(self), deed.at())).collect();
        let known = keys::known(&self.pool, &deeds, now).await?;
        watch(Step::Keyed);

        let (files, hours) = pack(base + 1, &told.items, &deeds, &known)?;
        let objects: Vec<String> = files.iter().map(|(file, _)| file.object.clone()).collect();
        manifest::announce(&self.pool, &objects, now).await?;
        watch(Step::Announced);
        let mut stored = Vec::with_capacity(files.len());
        for (file, bytes) in files {
            self.store(&file, bytes).await?;
            stored.push(file);
            watch(Step::Stored);
        }
        let mut commit = Commit::after(&self.pool, base, now).await?;
        commit.add(&stored).await?;
        commit.move_to(D::KIND, told.next).await?;
        let wrote = hours.values().fold(Wrote { more: told.more, held_by: told.held_by, ..Wrote::default() }, |wrote, hour| Wrote {
            rows: wrote.rows + hour.rows_out,
            forgotten: wrote.forgotten + hour.forgotten,
            ..wrote
        });
        commit.count(D::KIND, hours.into_iter()).await?;
        watch(Step::Written);
        commit.finish().await?;
        watch(Step::Committed);
        Ok(wrote)
    }

    /// Stores one file of the lake.
    pub(crate) async fn store(&self, file: &File, bytes: Bytes) -> Result<(), LakeError> {
        Ok(self.objects.put(&self.bucket, &file.object, bytes, CONTENT_TYPE).await?)
    }
}

/// Reads a feed until it ends, or until a commit is full.
async fn gather<T, F: Future<Output = Result<Changes<T>, LakeError>>>(
    place: Place,
    pull: impl Fn(Place) -> F,
) -> Result<Changes<T>, LakeError> {
    let mut told = pull(place).await?;
    while told.more && told.items.len() < COMMIT_ROWS_MAX {
        let page = pull(told.next).await?;
        told.items.extend(page.items);
        (told.next, told.more, told.held_by) = (page.next, page.more, page.held_by);
    }
    Ok(told)
}

/// What changed between two pages of one commit was told twice: the later word stays.
fn last_words<D: Deed>(deeds: Vec<D>) -> Vec<D> {
    let mut told = HashSet::new();
    let mut kept: Vec<D> = deeds.into_iter().rev().filter(|deed| deed.name().is_none_or(|name| told.insert(name))).collect();
    kept.reverse();
    kept
}

type Packed = (Vec<(File, Bytes)>, BTreeMap<i64, Tally>);

/// A file for each day, and the counts of each hour.
fn pack<D: Deed>(revision: i64, deeds: &[D], subjects: &[(Uuid, UnixMs)], known: &Known) -> Result<Packed, LakeError> {
    let mut days: BTreeMap<String, Vec<(&D, &Pseudonyms)>> = BTreeMap::new();
    let mut hours: BTreeMap<i64, Tally> = BTreeMap::new();
    for (deed, (subject, at)) in deeds.iter().zip(subjects) {
        let hour = hours.entry(at.0.div_euclid(HOUR_MS) * HOUR_MS).or_default();
        hour.rows_in += 1;
        match known.names(*subject, *at) {
            Some(names) => {
                hour.rows_out += 1;
                days.entry(rows::day_of(*at)).or_default().push((deed, names));
            }
            None => hour.forgotten += 1,
        }
    }
    let files = days
        .into_iter()
        .map(|(day, rows)| {
            let bytes = rows::encode(&D::batch(revision, &rows)?)?;
            let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
            Ok((file(D::KIND, day, revision, 0, count, 0, &bytes), bytes))
        })
        .collect::<Result<_, LakeError>>()?;
    Ok((files, hours))
}

/// What the manifest says of new bytes. The name begins with the commit it is meant for and is never used again.
pub(crate) fn file(kind: Kind, day: String, revision: i64, level: i16, rows: i64, superseded: i64, bytes: &Bytes) -> File {
    let sha256 = Sha256::digest(bytes).to_vec();
    let (digest, salt) = (hex::encode(sha256.iter().take(8).copied().collect::<Vec<u8>>()), hex::encode(random_bytes::<4>()));
    File {
        object: format!("activity/kind={}/day={day}/{revision:010}-{digest}-{salt}.parquet", kind.name()),
        kind,
        day,
        level,
        rows,
        superseded,
        bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        sha256,
    }
}
