//! The publishing transaction: ask the fence, find or make artist and release, insert the version, move the recording's pointer,
//! write the outbox row. All or nothing; the artefacts were written before, so a failure here leaves no half track.

use platform::{feed::OutboxKind, random_bytes};
use protocol::{ArtistId, MediaVersion, ReleaseId, TrackId, UnixMs};
use sqlx::{FromRow, PgConnection, PgPool, types::Json};
use uuid::Uuid;

use super::{outbox, tracks::version};
use crate::publication::{Before, Outcome, Publication, Published, Refused, decide, fold};

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

/// Publishes, once for each (track, version).
pub(crate) async fn publish(db: &PgPool, publication: &Publication, now: UnixMs) -> Result<Published, PublishError> {
    let mut tx = db.begin().await?;
    lock(&mut tx, publication.track).await?;
    let there = standing(&mut tx, publication.track).await?;
    let before = there.as_ref().map(Standing::before).transpose()?;
    let decision = decide(before, publication.owner, publication.fence, publication.sheet.version)?;
    let published = |outcome, version: MediaVersion, published_at_ms| Published {
        outcome,
        track: publication.track,
        version,
        published_at_ms: UnixMs(published_at_ms),
    };
    if let (Some(outcome), Some(there), Some(before)) = (decision, &there, before) {
        return Ok(published(outcome, before.version, there.published_at_ms));
    }

    let artist = artist(&mut tx, publication, now).await?;
    let release = release(&mut tx, publication, artist, now).await?;
    let recording = recording(&mut tx, publication, artist, there.as_ref().map(|there| there.recording_id), now).await?;
    insert_version(&mut tx, publication, recording, now).await?;
    put_track(&mut tx, publication, recording, artist, release, now).await?;
    put_deal(&mut tx, publication, now).await?;
    put_main_credit(&mut tx, recording, artist).await?;
    outbox::append(&mut tx, OutboxKind::TrackPublished, publication.track, now).await?;
    tx.commit().await?;
    let first_published_at_ms = there.map_or(now.0, |there| there.published_at_ms);
    Ok(published(Outcome::Published, publication.sheet.version, first_published_at_ms))
}

/// One publication or take-down of a track at a time, also of one that has no row yet.
pub(super) async fn lock(tx: &mut PgConnection, track: TrackId) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('catalog.track/' || $1::text, 0))").bind(track.uuid()).execute(tx).await?;
    Ok(())
}

#[derive(FromRow)]
pub(super) struct Standing {
    owner_account: Uuid,
    pub(super) state: String,
    publish_fence: i64,
    recording_id: Uuid,
    current_version: Vec<u8>,
    published_at_ms: i64,
}

impl Standing {
    fn before(&self) -> sqlx::Result<Before> {
        Ok(Before {
            owner: self.owner_account.into(),
            taken_down: self.state == "taken_down",
            fence: self.publish_fence,
            version: version(&self.current_version)?,
        })
    }
}

pub(super) async fn standing(tx: &mut PgConnection, track: TrackId) -> sqlx::Result<Option<Standing>> {
    sqlx::query_as(
        "SELECT t.owner_account,
                t.state,
                t.publish_fence,
                t.recording_id,
                r.current_version,
                t.published_at_ms
           FROM catalog.tracks t
           JOIN catalog.recordings r ON r.id = t.recording_id
          WHERE t.id = $1",
    )
    .bind(track.uuid())
    .fetch_optional(tx)
    .await
}

async fn artist(tx: &mut PgConnection, publication: &Publication, now: UnixMs) -> sqlx::Result<Uuid> {
    let key = fold(&publication.artist);
    sqlx::query(
        "INSERT INTO catalog.artists (id, owner_account, name, name_key, created_at_ms)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (owner_account, name_key) DO NOTHING",
    )
    .bind(ArtistId::v7(now, random_bytes()).uuid())
    .bind(publication.owner.uuid())
    .bind(&publication.artist)
    .bind(&key)
    .bind(now.0)
    .execute(&mut *tx)
    .await?;
    sqlx::query_scalar(
        "SELECT id
           FROM catalog.artists
          WHERE owner_account = $1
            AND name_key = $2",
    )
    .bind(publication.owner.uuid())
    .bind(&key)
    .fetch_one(tx)
    .await
}

async fn release(tx: &mut PgConnection, publication: &Publication, artist: Uuid, now: UnixMs) -> sqlx::Result<Option<Uuid>> {
    let Some(title) = &publication.album else { return Ok(None) };
    let key = fold(title);
    sqlx::query(
        "INSERT INTO catalog.releases (id, artist_id, title, title_key, created_at_ms)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (artist_id, title_key) DO NOTHING",
    )
    .bind(ReleaseId::v7(now, random_bytes()).uuid())
    .bind(artist)
    .bind(title)
    .bind(&key)
    .bind(now.0)
    .execute(&mut *tx)
    .await?;
    sqlx::query_scalar(
        "SELECT id
           FROM catalog.releases
          WHERE artist_id = $1
            AND title_key = $2",
    )
    .bind(artist)
    .bind(&key)
    .fetch_optional(tx)
    .await
}

/// Makes the recording, or moves its pointer; the version it points at follows within the transaction.
async fn recording(tx: &mut PgConnection, publication: &Publication, artist: Uuid, known: Option<Uuid>, now: UnixMs) -> sqlx::Result<Uuid> {
    let id = known.unwrap_or_else(|| TrackId::v7(now, random_bytes()).uuid());
    sqlx::query(
        "INSERT INTO catalog.recordings (id, artist_id, isrc, genre, explicit, current_version, created_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (id) DO UPDATE
            SET artist_id = excluded.artist_id,
                isrc = excluded.isrc,
                genre = excluded.genre,
                explicit = excluded.explicit,
                current_version = excluded.current_version",
    )
    .bind(id)
    .bind(artist)
    .bind(&publication.isrc)
    .bind(&publication.genre)
    .bind(publication.explicit)
    .bind(publication.sheet.version.0.as_slice())
    .bind(now.0)
    .execute(tx)
    .await?;
    Ok(id)
}

/// A version is immutable: one that was published before (and is pointed at again) stays as it is.
async fn insert_version(tx: &mut PgConnection, publication: &Publication, recording: Uuid, now: UnixMs) -> sqlx::Result<()> {
    let sheet = &publication.sheet;
    sqlx::query(
        "INSERT INTO catalog.media_versions
                (recording_id, version, source_sha256, packager, duration_ms, integrated_clufs, true_peak_cdbtp, rungs, fence, published_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (recording_id, version) DO NOTHING",
    )
    .bind(recording)
    .bind(sheet.version.0.as_slice())
    .bind(&sheet.source_sha256)
    .bind(&sheet.packager)
    .bind(i64::from(sheet.duration_ms()))
    .bind(sheet.loudness.integrated_clufs)
    .bind(sheet.loudness.true_peak_cdbtp)
    .bind(Json(publication.rung_lines()))
    .bind(publication.fence)
    .bind(now.0)
    .execute(tx)
    .await?;
    Ok(())
}

async fn put_track(
    tx: &mut PgConnection,
    publication: &Publication,
    recording: Uuid,
    artist: Uuid,
    release: Option<Uuid>,
    now: UnixMs,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO catalog.tracks (id, recording_id, artist_id, release_id, owner_account, title, state, publish_fence, published_at_ms, acts_for)
         VALUES ($1, $2, $3, $4, $5, $6, 'published', $7, $8, $9)
         ON CONFLICT (id) DO UPDATE
            SET artist_id = excluded.artist_id,
                release_id = excluded.release_id,
                title = excluded.title,
                publish_fence = excluded.publish_fence",
    )
    .bind(publication.track.uuid())
    .bind(recording)
    .bind(artist)
    .bind(release)
    .bind(publication.owner.uuid())
    .bind(&publication.title)
    .bind(publication.fence)
    .bind(now.0)
    .bind(publication.acts_for.map(ArtistId::uuid))
    .execute(tx)
    .await?;
    Ok(())
}

async fn put_deal(tx: &mut PgConnection, publication: &Publication, now: UnixMs) -> sqlx::Result<()> {
    let territories = publication.territories.as_ref().map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
    sqlx::query(
        "INSERT INTO catalog.deals (id, track_id, territories, release_at_ms, created_at_ms)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (track_id) DO UPDATE
            SET territories = excluded.territories,
                release_at_ms = excluded.release_at_ms",
    )
    .bind(ReleaseId::v7(now, random_bytes()).uuid())
    .bind(publication.track.uuid())
    .bind(territories)
    .bind(publication.release_at_ms.map(|at| at.0))
    .bind(now.0)
    .execute(tx)
    .await?;
    Ok(())
}

async fn put_main_credit(tx: &mut PgConnection, recording: Uuid, artist: Uuid) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO catalog.credits (recording_id, artist_id, role, position)
         VALUES ($1, $2, 'main', 0)
         ON CONFLICT DO NOTHING",
    )
    .bind(recording)
    .bind(artist)
    .execute(tx)
    .await?;
    Ok(())
}
