//! Likes and follows. A change and its counter's change are one statement, so that they cannot come apart; a repeated wish
//! changes no row and so counts nothing.

use protocol::{AccountId, ArtistId, TrackId, UnixMs};
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

/// Whether the thing to be liked or followed exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Held,
    NoSuchThing,
}

/// A like of a track that can be heard.
pub(crate) async fn like(db: &PgPool, account: AccountId, track: TrackId, now: UnixMs) -> sqlx::Result<Wish> {
    let exists: bool = sqlx::query_scalar(
        "WITH target AS (
             SELECT id
               FROM catalog.tracks
              WHERE id = $2
                AND state = 'published'
         ), liked AS (
             INSERT INTO catalog.likes (account_id, track_id, liked_at_ms)
             SELECT $1, id, $3
               FROM target
                 ON CONFLICT DO NOTHING
             RETURNING track_id
         ), counted AS (
             INSERT INTO catalog.counter_changes (kind, subject, delta)
             SELECT 'track_likes', track_id, 1
               FROM liked
         ), told AS (
             INSERT INTO catalog.like_changes (account_id, track_id, liked, happened_at_ms)
             SELECT $1, track_id, TRUE, $3
               FROM liked
         )
         SELECT EXISTS (SELECT FROM target)",
    )
    .bind(account.uuid())
    .bind(track.uuid())
    .bind(now.0)
    .fetch_one(db)
    .await?;
    Ok(if exists { Wish::Held } else { Wish::NoSuchThing })
}

/// Takes a like back; also of a track that has been taken down.
pub(crate) async fn unlike(db: &PgPool, account: AccountId, track: TrackId, now: UnixMs) -> sqlx::Result<()> {
    sqlx::query(
        "WITH unliked AS (
             DELETE FROM catalog.likes
              WHERE account_id = $1
                AND track_id = $2
             RETURNING track_id
         ), told AS (
             INSERT INTO catalog.like_changes (account_id, track_id, liked, happened_at_ms)
             SELECT $1, track_id, FALSE, $3
               FROM unliked
         )
         INSERT INTO catalog.counter_changes (kind, subject, delta)
         SELECT 'track_likes', track_id, -1
           FROM unliked",
    )
    .bind(account.uuid())
    .bind(track.uuid())
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(())
}

/// A follow.
pub(crate) async fn follow(db: &PgPool, account: AccountId, artist: ArtistId, now: UnixMs) -> sqlx::Result<Wish> {
    let exists: bool = sqlx::query_scalar(
        "WITH target AS (
             SELECT id
               FROM catalog.artists
              WHERE id = $2
         ), followed AS (
             INSERT INTO catalog.follows (account_id, artist_id, followed_at_ms)
             SELECT $1, id, $3
               FROM target
                 ON CONFLICT DO NOTHING
             RETURNING artist_id
         ), counted AS (
             INSERT INTO catalog.counter_changes (kind, subject, delta)
             SELECT 'artist_follows', artist_id, 1
               FROM followed
         )
         SELECT EXISTS (SELECT FROM target)",
    )
    .bind(account.uuid())
    .bind(artist.uuid())
    .bind(now.0)
    .fetch_one(db)
    .await?;
    Ok(if exists { Wish::Held } else { Wish::NoSuchThing })
}

/// Takes a follow back.
pub(crate) async fn unfollow(db: &PgPool, account: AccountId, artist: ArtistId) -> sqlx::Result<()> {
    sqlx::query(
        "WITH unfollowed AS (
             DELETE FROM catalog.follows
              WHERE account_id = $1
                AND artist_id = $2
             RETURNING artist_id
         )
         INSERT INTO catalog.counter_changes (kind, subject, delta)
         SELECT 'artist_follows', artist_id, -1
           FROM unfollowed",
    )
    .bind(account.uuid())
    .bind(artist.uuid())
    .execute(db)
    .await?;
    Ok(())
}

/// A like with the track it is of.
#[derive(Debug, FromRow)]
pub(crate) struct LikedTrack {
    pub(crate) track_id: Uuid,
    pub(crate) title: String,
    pub(crate) artist_id: Uuid,
    pub(crate) artist_name: String,
    pub(crate) album: Option<String>,
    pub(crate) duration_ms: i64,
    pub(crate) liked_at_ms: i64,
}

/// Where a page of likes begins: after the like at this instant of this track.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct After {
    pub(crate) liked_at_ms: i64,
    pub(crate) track: TrackId,
}

/// An account's likes of tracks that can be heard, newest first.
pub(crate) async fn likes(db: &PgPool, account: AccountId, after: Option<After>, limit: i64) -> sqlx::Result<Vec<LikedTrack>> {
    sqlx::query_as(
        "SELECT l.track_id,
                t.title,
                a.id AS artist_id,
                a.name AS artist_name,
                r.title AS album,
                v.duration_ms,
                l.liked_at_ms
           FROM catalog.likes l
           JOIN catalog.tracks t ON t.id = l.track_id
           JOIN catalog.artists a ON a.id = t.artist_id
           JOIN catalog.recordings rec ON rec.id = t.recording_id
           JOIN catalog.media_versions v ON v.recording_id = rec.id AND v.version = rec.current_version
           LEFT JOIN catalog.releases r ON r.id = t.release_id
          WHERE l.account_id = $1
            AND t.state = 'published'
            AND ($2::bigint IS NULL OR (l.liked_at_ms, l.track_id) < ($2, $3))
          ORDER BY l.liked_at_ms DESC, l.track_id DESC
          LIMIT $4",
    )
    .bind(account.uuid())
    .bind(after.map(|after| after.liked_at_ms))
    .bind(after.map(|after| after.track.uuid()))
    .bind(limit)
    .fetch_all(db)
    .await
}
