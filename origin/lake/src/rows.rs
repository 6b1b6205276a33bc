//! Rows and their Parquet form. `docs/lake.md` tells the same for people; a test holds the two together.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use bytes::Bytes;
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use platform::activity::{LikeDoc, PlayDoc};
use protocol::UnixMs;

use crate::{LakeError, keys::Pseudonyms};

/// Most rows of one file: what a merge holds in memory.
pub const FILE_ROWS_MAX: i64 = 200_000;
const ROW_GROUP_ROWS: usize = 50_000;

/// The kinds of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What became of plays, skips among them.
    Play,
    /// Likes, and likes taken back.
    Like,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Play, Self::Like];

    /// The name in paths and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Play => "play",
            Self::Like => "like",
        }
    }

    /// By its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The columns of its files. The day is in the path alone.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let number = |name: &str| Field::new(name, DataType::Int64, false);
        let instant = |name: &str| Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false);
        let truth = |name: &str| Field::new(name, DataType::Boolean, false);
        Arc::new(Schema::new(match self {
            Self::Play => vec![
                text("play"),
                number("revision"),
                instant("started_at"),
                text("listener"),
                text("track"),
                text("version"),
                text("territory"),
                text("plan"),
                number("duration_ms"),
                number("played_ms"),
                text("state"),
                Field::new("reason", DataType::Utf8, true),
                truth("skipped"),
                truth("corroborated"),
                Field::new("rule_version", DataType::Int32, true),
                Field::new("settled_in", DataType::Utf8, true),
            ],
            Self::Like => {
                vec![number("revision"), number("position"), instant("happened_at"), text("listener"), text("track"), truth("liked")]
            }
        }))
    }
}

/// The UTC day that a row belongs to, as `YYYY-MM-DD`.
#[must_use]
pub fn day_of(at: UnixMs) -> String {
    let (year, month, day) = at.date();
    format!("{year:04}-{month:02}-{day:02}")
}

/// A play was skipped when it ended with less heard than the listen rule asks for, by whatever way it was left.
#[must_use]
pub fn is_skip(play: &PlayDoc) -> bool {
    play.state == "void" && play.reason.as_deref() == Some("too_short")
}

/// Plays, each with the names of its listener, as of the commit `revision`.
///
/// # Errors
/// When the columns do not fit the schema, which they do.
pub fn plays(revision: i64, rows: &[(&PlayDoc, &Pseudonyms)]) -> Result<RecordBatch, LakeError> {
    let text =
        |of: &dyn Fn(&PlayDoc) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(|(play, _)| of(play)))) };
    let optional =
        |of: &dyn Fn(&PlayDoc) -> Option<String>| -> ArrayRef { Arc::new(StringArray::from_iter(rows.iter().map(|(play, _)| of(play)))) };
    let number =
        |of: &dyn Fn(&PlayDoc) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(rows.iter().map(|(play, _)| of(play)))) };
    let truth =
        |of: &dyn Fn(&PlayDoc) -> bool| -> ArrayRef { Arc::new(BooleanArray::from_iter(rows.iter().map(|(play, _)| Some(of(play))))) };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(play, names)| names.play(play.play.uuid())))),
        number(&|_| revision),
        instants(rows.iter().map(|(play, _)| play.minted_at_ms)),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, names)| names.listener()))),
        text(&|play| play.track.to_string()),
        text(&|play| play.version.simple().to_string()),
        text(&|play| play.territory.clone()),
        text(&|play| play.plan.clone()),
        number(&|play| play.duration_ms),
        number(&|play| play.played_ms),
        text(&|play| play.state.clone()),
        optional(&|play| play.reason.clone()),
        truth(&is_skip),
        truth(&|play| play.corroborated),
        Arc::new(Int32Array::from_iter(rows.iter().map(|(play, _)| play.rule_version))),
        optional(&|play| play.settled_in.clone()),
    ];
    Ok(RecordBatch::try_new(Kind::Play.schema(), columns)?)
}

/// Likes in the order in which they happened, as of the commit `revision`.
///
/// # Errors
/// When the columns do not fit the schema, which they do.
pub fn likes(revision: i64, rows: &[(&LikeDoc, &Pseudonyms)]) -> Result<RecordBatch, LakeError> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|_| revision))),
        Arc::new(Int64Array::from_iter_values(rows.iter().zip(0..).map(|(_, position)| position))),
        instants(rows.iter().map(|(like, _)| like.happened_at_ms)),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, names)| names.listener()))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(like, _)| like.track.to_string()))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|(like, _)| Some(like.liked)))),
    ];
    Ok(RecordBatch::try_new(Kind::Like.schema(), columns)?)
}

fn instants(at: impl Iterator<Item = UnixMs>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter_values(at.map(|at| at.0)).with_timezone("UTC"))
}

/// A batch as a Parquet file.
///
/// # Errors
/// [`LakeError::Parquet`].
pub fn encode(batch: &RecordBatch) -> Result<Bytes, LakeError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by("antiphon".to_owned())
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(batch)?;
    Ok(writer.into_inner()?.into())
}

/// All rows of a Parquet file of ours.
///
/// # Errors
/// [`LakeError::Parquet`].
pub fn decode(file: Bytes) -> Result<Vec<RecordBatch>, LakeError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(8192).build()?;
    Ok(reader.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use protocol::{PlayId, TrackId};
    use uuid::Uuid;

    use super::*;

    fn play(state: &str, reason: Option<&str>) -> PlayDoc {
        PlayDoc {
            play: PlayId(Uuid::from_u128(1)),
            pseudonym: Uuid::from_u128(2),
            track: TrackId(Uuid::from_u128(3)),
            version: Uuid::from_u128(4),
            territory: "DE".to_owned(),
            plan: "premium".to_owned(),
            duration_ms: 200_000,
            minted_at_ms: UnixMs(1_795_556_280_000),
            played_ms: 1_500,
            state: state.to_owned(),
            reason: reason.map(str::to_owned),
            corroborated: false,
            rule_version: Some(2),
            settled_in: None,
        }
    }

    #[test]
    fn only_a_play_that_ended_before_it_counted_is_a_skip() {
        assert!(is_skip(&play("void", Some("too_short"))));
        for (state, reason) in [("void", Some("overlapping_plays")), ("open", None), ("provisional", None), ("final", None)] {
            assert!(!is_skip(&play(state, reason)), "{state} {reason:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (docs, names) = (vec![play("void", Some("too_short")), play("open", None)], Pseudonyms::under([9; 32]));
        let batch = plays(7, &docs.iter().map(|doc| (doc, &names)).collect::<Vec<_>>()).unwrap();
        assert_eq!(decode(encode(&batch).unwrap()).unwrap(), vec![batch]);
    }

    /// The columns that the section of docs/lake.md under `heading` tells of, as `name: type`.
    fn told(heading: &str) -> Vec<String> {
        let page = include_str!("../../../docs/lake.md");
        let (_, section) = page.split_once(heading).unwrap();
        let rows = section.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with('|'));
        let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
        let mut told: Vec<String> = cells.map(|cells| format!("{}: {}", cells[1].trim_matches('`'), cells[2])).collect();
        told.sort();
        told
    }

    #[test]
    fn the_schema_page_tells_every_column_and_its_type() {
        for (kind, heading) in [(Kind::Play, "### `plays`"), (Kind::Like, "### `likes`")] {
            let word = |field: &Field| match field.data_type() {
                DataType::Utf8 => "text",
                DataType::Int32 | DataType::Int64 => "integer",
                DataType::Timestamp(TimeUnit::Millisecond, Some(_)) => "timestamp",
                DataType::Boolean => "boolean",
                _ => "something else",
            };
            let of_file = |field: &Field| format!("{}: {}{}", field.name(), word(field), if field.is_nullable() { " or null" } else { "" });
            let mut columns: Vec<String> = kind.schema().fields().iter().map(|field| of_file(field)).collect();
            columns.push("day: date".to_owned());
            columns.sort();
            assert_eq!(told(heading), columns);
        }
    }
}
