//! The SQL of ingest: uploads and the jobs on them. Changes made by a worker name its fencing number, so that one whose lease has passed to
//! another changes nothing.

pub(crate) mod raw;

use platform::{memberships::Membership, queue::Message};
use protocol::{AccountId, ArtistId, MediaVersion, Territory, TrackId, UnixMs, UploadId};
use sqlx::{FromRow, PgExecutor, PgPool};
use uuid::Uuid;

use crate::{
    jobs::event::Arrival,
    upload::{Declared, Reason, State, Upload},
};

#[derive(FromRow)]
struct Row {
    id: Uuid,
    track_id: Uuid,
    owner_account: Uuid,
    acts_for: Uuid,
    title: String,
    artist: String,
    album: Option<String>,
    isrc: Option<String>,
    genre: Option<String>,
    explicit: bool,
    territories: Option<Vec<String>>,
    release_at_ms: Option<i64>,
    file_name: String,
    content_type: String,
    size_bytes: i64,
    sha256: Vec<u8>,
    state: String,
    reason_code: Option<String>,
    reason_detail: Option<String>,
    sequencer: Option<String>,
    version: Option<Vec<u8>>,
    created_at_ms: i64,
    published_at_ms: Option<i64>,
    percents: Option<Vec<i16>>,
}

/// A column that the table's constraints make impossible.
fn impossible(column: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: "not a value that this version of ingest writes".into() }
}

impl TryFrom<Row> for Upload {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let territories = row.territories.map(|codes| codes.iter().map(|code| code.parse::<Territory>()).collect::<Result<Vec<_>, _>>());
        let declared = Declared {
            title: row.title,
            artist: row.artist,
            album: row.album,
            isrc: row.isrc,
            genre: row.genre,
            explicit: row.explicit,
            territories: territories.transpose().map_err(|_| impossible("territories"))?,
            release_at: row.release_at_ms.map(UnixMs),
            file_name: row.file_name,
            content_type: row.content_type,
            size_bytes: u64::try_from(row.size_bytes).map_err(|_| impossible("size_bytes"))?,
            sha256: row.sha256.try_into().map_err(|_| impossible("sha256"))?,
        };
        let version = row.version.map(|bytes| bytes.try_into().map(MediaVersion)).transpose();
        Ok(Self {
            id: UploadId(row.id),
            track: TrackId(row.track_id),
            owner: AccountId(row.owner_account),
            acts_for: ArtistId(row.acts_for),
            declared,
            state: State::from_name(&row.state).ok_or_else(|| impossible("state"))?,
            reason: row.reason_code.zip(row.reason_detail).map(|(code, detail)| Reason { code, detail }),
            sequencer: row.sequencer,
            version: version.map_err(|_| impossible("version"))?,
            created_at: UnixMs(row.created_at_ms),
            published_at: row.published_at_ms.map(UnixMs),
            percents: row.percents.unwrap_or_default().into_iter().map(|percent| u8::try_from(percent).unwrap_or(0)).collect(),
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT u.id,
                    u.track_id,
                    u.owner_account,
                    u.acts_for,
                    u.title,
                    u.artist,
                    u.album,
                    u.isrc,
                    u.genre,
                    u.explicit,
                    u.territories,
                    u.release_at_ms,
                    u.file_name,
                    u.content_type,
                    u.size_bytes,
                    u.sha256,
                    u.state,
                    u.reason_code,
                    u.reason_detail,
                    u.sequencer,
                    u.version,
                    u.created_at_ms,
                    u.published_at_ms,
                    j.percents
               FROM ingest.uploads u
               LEFT JOIN ingest.jobs j ON j.upload_id = u.id ",
            $rest
        )
    };
}

/// Keeps a new upload, pending, for the artist acted for.
pub(crate) async fn begin(
    db: impl PgExecutor<'_>,
    id: UploadId,
    track: TrackId,
    by: AccountId,
    acts_for: &Membership,
    new: &Declared,
    now: UnixMs,
) -> sqlx::Result<()> {
    let territories = new.territories.as_ref().map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
    sqlx::query(
        "INSERT INTO ingest.uploads (
                    id, track_id, owner_account, title, artist, album, isrc, genre, explicit, territories, release_at_ms,
                    file_name, content_type, size_bytes, sha256, state, created_at_ms, updated_at_ms, acts_for, uploaded_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 'pending', $16, $16, $17, $18)",
    )
    .bind(id.uuid())
    .bind(track.uuid())
    .bind(acts_for.payee.uuid())
    .bind(&new.title)
    .bind(&new.artist)
    .bind(&new.album)
    .bind(&new.isrc)
    .bind(&new.genre)
    .bind(new.explicit)
    .bind(territories)
    .bind(new.release_at.map(|at| at.0))
    .bind(&new.file_name)
    .bind(&new.content_type)
    .bind(i64::try_from(new.size_bytes).unwrap_or(i64::MAX))
    .bind(new.sha256.as_slice())
    .bind(now.0)
    .bind(acts_for.artist_id.uuid())
    .bind(by.uuid())
    .execute(db)
    .await?;
    Ok(())
}

/// The upload of a track, if it is for one of `artists`.
pub(crate) async fn of_track(db: impl PgExecutor<'_>, artists: &[ArtistId], track: TrackId) -> sqlx::Result<Option<Upload>> {
    let row: Option<Row> = sqlx::query_as(select!("WHERE u.track_id = $1 AND u.acts_for = ANY ($2)"))
        .bind(track.uuid())
        .bind(uuids(artists))
        .fetch_optional(db)
        .await?;
    row.map(Upload::try_from).transpose()
}

fn uuids(artists: &[ArtistId]) -> Vec<Uuid> {
    artists.iter().map(|artist| artist.uuid()).collect()
}

/// The uploads for `artists`, newest first, from after `after`.
pub(crate) async fn of_artists(
    db: impl PgExecutor<'_>,
    artists: &[ArtistId],
    after: Option<TrackId>,
    rows: i64,
) -> sqlx::Result<Vec<Upload>> {
    let rows: Vec<Row> = sqlx::query_as(select!(
        "WHERE u.acts_for = ANY ($1)
           AND ($2::UUID IS NULL OR u.track_id < $2)
         ORDER BY u.track_id DESC
         LIMIT $3"
    ))
    .bind(uuids(artists))
    .bind(after.map(TrackId::uuid))
    .bind(rows)
    .fetch_all(db)
    .await?;
    rows.into_iter().map(Upload::try_from).collect()
}

/// The upload whose raw object an event names.
pub(crate) async fn upload(db: impl PgExecutor<'_>, id: UploadId) -> sqlx::Result<Option<Upload>> {
    let row: Option<Row> = sqlx::query_as(select!("WHERE u.id = $1")).bind(id.uuid()).fetch_optional(db).await?;
    row.map(Upload::try_from).transpose()
}

/// Remembers that the bytes have arrived.
pub(crate) async fn arrived(db: impl PgExecutor<'_>, arrival: &Arrival, now: UnixMs) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE ingest.uploads
            SET state         = CASE state WHEN 'pending' THEN 'uploaded' ELSE state END,
                sequencer     = $2,
                etag          = $3,
                updated_at_ms = $4
          WHERE id = $1",
    )
    .bind(arrival.upload.uuid())
    .bind(&arrival.sequencer)
    .bind(&arrival.etag)
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(())
}

/// Takes the job on an upload for this receipt of its message; false while another worker's lease holds.
pub(crate) async fn claim(pool: &PgPool, id: UploadId, message: &Message, lease_until: UnixMs, now: UnixMs) -> sqlx::Result<bool> {
    let mut transaction = pool.begin().await?;
    let claimed = sqlx::query(
        "INSERT INTO ingest.jobs AS job (upload_id, message_id, fence, lease_until_ms, attempts, percents)
              VALUES ($1, $2, $3, $4, 1, ARRAY[0, 0, 0])
                  ON CONFLICT (upload_id) DO UPDATE
                 SET message_id     = EXCLUDED.message_id,
                     fence          = EXCLUDED.fence,
                     lease_until_ms = EXCLUDED.lease_until_ms,
                     attempts       = job.attempts + 1,
                     percents       = EXCLUDED.percents
               WHERE job.fence < EXCLUDED.fence
                 AND (job.lease_until_ms <= $5 OR job.message_id = EXCLUDED.message_id)",
    )
    .bind(id.uuid())
    .bind(message.id)
    .bind(message.fence)
    .bind(lease_until.0)
    .bind(now.0)
    .execute(&mut *transaction)
    .await?;
    sqlx::query("UPDATE ingest.uploads SET state = 'processing', updated_at_ms = $2 WHERE id = $1 AND state = 'uploaded'")
        .bind(id.uuid())
        .bind(now.0)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(claimed.rows_affected() == 1)
}

/// Holds the job for longer and says how far it is; false when another worker has it, or the artist wants it no more.
pub(crate) async fn advance(
    db: impl PgExecutor<'_>,
    id: UploadId,
    fence: i64,
    lease_until: UnixMs,
    percents: [u8; 3],
) -> sqlx::Result<bool> {
    let held = sqlx::query(
        "UPDATE ingest.jobs
            SET lease_until_ms = $3,
                percents       = $4
          WHERE upload_id = $1
            AND fence = $2
            AND EXISTS (SELECT FROM ingest.uploads WHERE id = $1 AND state IN ('uploaded', 'processing'))",
    )
    .bind(id.uuid())
    .bind(fence)
    .bind(lease_until.0)
    .bind(percents.map(i16::from).as_slice())
    .execute(db)
    .await?;
    Ok(held.rows_affected() == 1)
}

/// Marks that the track is being handed to the catalogue, after which only the catalogue can take it down; false when another worker has the job,
/// or the artist has cancelled it.
pub(crate) async fn hand_over(db: impl PgExecutor<'_>, id: UploadId, fence: i64, version: MediaVersion, now: UnixMs) -> sqlx::Result<bool> {
    let marked = sqlx::query(
        "UPDATE ingest.uploads u
            SET version       = $3,
                updated_at_ms = $4
           FROM ingest.jobs j
          WHERE u.id = $1
            AND j.upload_id = u.id
            AND j.fence = $2
            AND u.state IN ('uploaded', 'processing')",
    )
    .bind(id.uuid())
    .bind(fence)
    .bind(version.0.as_slice())
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(marked.rows_affected() == 1)
}

/// Ends an upload that is not being handed to the catalogue yet; false when there is no such.
pub(crate) async fn cancel(db: impl PgExecutor<'_>, track: TrackId, now: UnixMs) -> sqlx::Result<bool> {
    let cancelled = sqlx::query(
        "UPDATE ingest.uploads
            SET state         = 'taken_down',
                updated_at_ms = $2
          WHERE track_id = $1
            AND state IN ('pending', 'uploaded', 'processing')
            AND version IS NULL",
    )
    .bind(track.uuid())
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(cancelled.rows_affected() == 1)
}

/// How an upload ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// It can be heard.
    Published { version: MediaVersion, at: UnixMs },
    /// The catalogue says that its owner has taken it down.
    TakenDown,
    /// It never will be.
    Rejected(Reason),
    /// We failed, too often.
    Held(Reason),
}

/// Ends the upload; false when another worker has the job.
pub(crate) async fn end(db: impl PgExecutor<'_>, id: UploadId, fence: i64, end: &End, now: UnixMs) -> sqlx::Result<bool> {
    let (state, reason, published) = match end {
        End::Published { version, at } => (State::Published, None, Some((version, at))),
        End::TakenDown => (State::TakenDown, None, None),
        End::Rejected(reason) => (State::Rejected, Some(reason), None),
        End::Held(reason) => (State::Held, Some(reason), None),
    };
    let ended = sqlx::query(
        "UPDATE ingest.uploads u
            SET state           = $3,
                reason_code     = $4,
                reason_detail   = $5,
                version         = coalesce($6, version),
                published_at_ms = coalesce($7, published_at_ms),
                updated_at_ms   = $8
           FROM ingest.jobs j
          WHERE u.id = $1
            AND j.upload_id = u.id
            AND j.fence = $2
            AND u.state IN ('uploaded', 'processing')",
    )
    .bind(id.uuid())
    .bind(fence)
    .bind(state.name())
    .bind(reason.map(|reason| reason.code.as_str()))
    .bind(reason.map(|reason| reason.detail.as_str()))
    .bind(published.map(|(version, _)| version.0.as_slice()))
    .bind(published.map(|(_, at)| at.0))
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(ended.rows_affected() == 1)
}

/// Remembers what the catalogue said: the track is down, for good.
pub(crate) async fn taken_down(db: impl PgExecutor<'_>, track: TrackId, now: UnixMs) -> sqlx::Result<()> {
    sqlx::query("UPDATE ingest.uploads SET state = 'taken_down', updated_at_ms = $2 WHERE track_id = $1 AND state = 'published'")
        .bind(track.uuid())
        .bind(now.0)
        .execute(db)
        .await?;
    Ok(())
}

/// Holds the uploads whose message was given up while nobody was left to say so: the worker died each time.
pub(crate) async fn hold_abandoned(db: impl PgExecutor<'_>, reason: &Reason, before: UnixMs, now: UnixMs) -> sqlx::Result<u64> {
    let held = sqlx::query(
        "UPDATE ingest.uploads u
            SET state         = 'held',
                reason_code   = $1,
                reason_detail = $2,
                updated_at_ms = $4
           FROM ingest.jobs j
          WHERE j.upload_id = u.id
            AND u.state IN ('uploaded', 'processing')
            AND u.updated_at_ms < $3
            AND j.lease_until_ms < $3
            AND NOT EXISTS (SELECT FROM queue.messages m WHERE m.id = j.message_id)",
    )
    .bind(&reason.code)
    .bind(&reason.detail)
    .bind(before.0)
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(held.rows_affected())
}
