//! Royalty's own copy of the catalogue: titles for people, owners for money. Comes from the catalogue's outbox, whose position is
//! moved in the same transaction.

use std::collections::BTreeMap;

use platform::feed::OutboxEvent;
use protocol::ArtistId;
use sqlx::PgPool;

const SOURCE: &str = "catalog";

/// How far the outbox has been read.
///
/// # Errors
/// Those of the database.
pub async fn position(pool: &PgPool) -> Result<i64, sqlx::Error> {
    let position: Option<i64> =
        sqlx::query_scalar("SELECT position FROM royalty.cursors WHERE source = $1").bind(SOURCE).fetch_optional(pool).await?;
    Ok(position.unwrap_or(0))
}

/// Takes a piece of the outbox in. Of several changes of a track the last one stands; a piece that was taken before changes nothing.
///
/// # Errors
/// Those of the database.
pub async fn take(pool: &PgPool, events: &[OutboxEvent]) -> Result<(), sqlx::Error> {
    let Some(head) = events.iter().map(|event| event.seq).max() else { return Ok(()) };
    let last: BTreeMap<_, _> = events.iter().map(|event| (event.track.id, event)).collect();
    let tracks = || last.values().map(|event| (&event.track, event.seq));
    let mut tx = pool.begin().await?;
    sqlx::query(
        "INSERT INTO royalty.tracks AS known (id, owner, title, artist_id, artist_name, album, isrc, state, seq, acts_for)
         SELECT id, owner, title, artist_id, artist_name, album, isrc, state, seq, acts_for
         FROM unnest($1::UUID[], $2::UUID[], $3::TEXT[], $4::UUID[], $5::TEXT[], $6::TEXT[], $7::TEXT[], $8::TEXT[], $9::BIGINT[],
                     $10::UUID[])
              AS track (id, owner, title, artist_id, artist_name, album, isrc, state, seq, acts_for)
         ORDER BY id
         ON CONFLICT (id) DO UPDATE
         SET owner = excluded.owner,
             title = excluded.title,
             artist_id = excluded.artist_id,
             artist_name = excluded.artist_name,
             album = excluded.album,
             isrc = excluded.isrc,
             state = excluded.state,
             seq = excluded.seq,
             acts_for = excluded.acts_for
         WHERE known.seq < excluded.seq",
    )
    .bind(tracks().map(|(track, _)| track.id.uuid()).collect::<Vec<_>>())
    .bind(tracks().map(|(track, _)| track.owner.uuid()).collect::<Vec<_>>())
    .bind(tracks().map(|(track, _)| track.title.clone()).collect::<Vec<_>>())
    .bind(tracks().map(|(track, _)| track.artist.id.uuid()).collect::<Vec<_>>())
    .bind(tracks().map(|(track, _)| track.artist.name.clone()).collect::<Vec<_>>())
    .bind(tracks().map(|(track, _)| track.album.clone()).collect::<Vec<_>>())
    .bind(tracks().map(|(track, _)| track.isrc.clone()).collect::<Vec<_>>())
    .bind(tracks().map(|(track, _)| track.state.name().to_owned()).collect::<Vec<_>>())
    .bind(tracks().map(|(_, seq)| seq).collect::<Vec<_>>())
    .bind(tracks().map(|(track, _)| track.acts_for.map(ArtistId::uuid)).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO royalty.cursors AS known (source, position) VALUES ($1, $2)
         ON CONFLICT (source) DO UPDATE SET position = greatest(known.position, excluded.position)",
    )
    .bind(SOURCE)
    .bind(head)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
