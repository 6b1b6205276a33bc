//! Reading a track whole: its release, recording, current version, deals and counter, in one query.

use platform::feed::TrackState;
use protocol::{AccountId, ArtistId, MediaVersion, Territory, TrackId, UnixMs, sheet::Loudness};
use sqlx::{FromRow, PgExecutor, types::Json};
use uuid::Uuid;

use crate::{
    publication::RungLine,
    track::{ArtistRef, Rights, Track},
};

#[derive(FromRow)]
struct Row {
    id: Uuid,
    title: String,
    artist_id: Uuid,
    artist_name: String,
    album: Option<String>,
    isrc: Option<String>,
    genre: Option<String>,
    explicit: bool,
    duration_ms: i64,
    owner_account: Uuid,
    acts_for: Option<Uuid>,
    version: Vec<u8>,
    state: String,
    track_territories: Option<Vec<String>>,
    track_release_at_ms: Option<i64>,
    release_territories: Option<Vec<String>>,
    release_release_at_ms: Option<i64>,
    published_at_ms: i64,
    integrated_clufs: i32,
    true_peak_cdbtp: i32,
    rungs: Json<Vec<RungLine>>,
    likes: i64,
}

/// The track, if the catalogue has it.
pub(crate) async fn track(db: impl PgExecutor<'_>, id: TrackId) -> sqlx::Result<Option<Track>> {
    let row = sqlx::query_as::<_, Row>(
        "SELECT t.id,
                t.title,
                a.id AS artist_id,
                a.name AS artist_name,
                r.title AS album,
                rec.isrc,
                rec.genre,
                rec.explicit,
                v.duration_ms,
                t.owner_account,
                t.acts_for,
                v.version,
                t.state,
                td.territories AS track_territories,
                td.release_at_ms AS track_release_at_ms,
                rd.territories AS release_territories,
                rd.release_at_ms AS release_release_at_ms,
                t.published_at_ms,
                v.integrated_clufs,
                v.true_peak_cdbtp,
                v.rungs,
                coalesce(c.value, 0) AS likes
           FROM catalog.tracks t
           JOIN catalog.artists a ON a.id = t.artist_id
           JOIN catalog.recordings rec ON rec.id = t.recording_id
           JOIN catalog.media_versions v ON v.recording_id = rec.id AND v.version = rec.current_version
           LEFT JOIN catalog.releases r ON r.id = t.release_id
           LEFT JOIN catalog.deals td ON td.track_id = t.id
           LEFT JOIN catalog.deals rd ON rd.release_id = t.release_id
           LEFT JOIN catalog.counters c ON c.kind = 'track_likes' AND c.subject = t.id
          WHERE t.id = $1",
    )
    .bind(id.uuid())
    .fetch_optional(db)
    .await?;
    row.map(Track::try_from).transpose()
}

impl TryFrom<Row> for Track {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let own = rights(row.track_territories, row.track_release_at_ms)?;
        let of_release = rights(row.release_territories, row.release_release_at_ms)?;
        Ok(Self {
            id: TrackId(row.id),
            title: row.title,
            artist: ArtistRef { id: ArtistId(row.artist_id), name: row.artist_name },
            album: row.album,
            isrc: row.isrc,
            genre: row.genre,
            explicit: row.explicit,
            duration_ms: row.duration_ms,
            owner: AccountId(row.owner_account),
            acts_for: row.acts_for.map(ArtistId),
            version: version(&row.version)?,
            state: if row.state == "published" { TrackState::Published } else { TrackState::TakenDown },
            rights: own.and(of_release),
            published_at: UnixMs(row.published_at_ms),
            loudness: Loudness { integrated_clufs: row.integrated_clufs, true_peak_cdbtp: row.true_peak_cdbtp },
            rungs: row.rungs.0,
            likes: row.likes,
        })
    }
}

fn rights(territories: Option<Vec<String>>, release_at_ms: Option<i64>) -> sqlx::Result<Rights> {
    let territories = territories
        .map(|codes| codes.iter().map(|code| code.parse::<Territory>()).collect::<Result<Vec<_>, _>>())
        .transpose()
        .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Rights { territories, release_at: release_at_ms.map(UnixMs) })
}

/// 16 bytes, as the table's constraint promises.
pub(crate) fn version(bytes: &[u8]) -> sqlx::Result<MediaVersion> {
    bytes.try_into().map(MediaVersion).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
