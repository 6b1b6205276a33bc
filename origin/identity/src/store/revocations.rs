//! The SQL of revocations. Whoever changes one locks the feed's row first, so that places become visible in the order they were given.

use std::collections::HashSet;

use platform::feed::{OutboxEvent, OutboxKind};
use protocol::{
    AccountId, UnixMs,
    revocation::{Kind, LIFE_MS},
};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::Store;
use crate::{
    IdentityError,
    revocation::{Revocation, Wish, lifted_at},
};

const TAKEN_DOWN: &str = "taken down";

/// What became of a wish.
pub(crate) enum Revoked {
    /// It is revoked now.
    Now(Revocation),
    /// It was already.
    Before(Revocation),
}

#[derive(FromRow)]
struct Row {
    kind: String,
    id: Uuid,
    seq: i64,
    reason: String,
    revoked_by: Option<Uuid>,
    at_ms: i64,
    lifted_at_ms: Option<i64>,
    until_ms: i64,
}

impl TryFrom<Row> for Revocation {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            seq: row.seq,
            kind: row.kind.parse().map_err(|error: String| sqlx::Error::Decode(error.into()))?,
            id: row.id,
            reason: row.reason,
            revoked_by: row.revoked_by.map(AccountId),
            revoked_at: UnixMs(row.at_ms),
            lifted_at: row.lifted_at_ms.map(UnixMs),
            until: UnixMs(row.until_ms),
        })
    }
}

impl Store {
    /// Revokes what `wish` names. An account's log-ins end in the same transaction. What stands already is answered as it stands, except that an
    /// administrator's word replaces the catalogue's, so that no publication lifts it.
    pub(crate) async fn revoke(&self, wish: &Wish, now: UnixMs) -> Result<Revoked, IdentityError> {
        let mut transaction = self.pool.begin().await?;
        lock(&mut transaction).await?;
        if wish.kind == Kind::Account {
            lock_account(&mut transaction, AccountId(wish.id)).await?;
        }
        match standing(&mut transaction, wish.kind, wish.id, now).await? {
            Some(before) if before.revoked_by.is_some() || wish.by.is_none() => return Ok(Revoked::Before(before)),
            _ => {}
        }
        let revoked = write(&mut transaction, wish, now, now).await?;
        if wish.kind == Kind::Account {
            end_families(&mut transaction, wish.id, now).await?;
        }
        transaction.commit().await?;
        Ok(Revoked::Now(revoked))
    }

    /// Lifts a revocation that stands; false when none does.
    pub(crate) async fn lift(&self, kind: Kind, id: Uuid, now: UnixMs) -> Result<bool, IdentityError> {
        let mut transaction = self.pool.begin().await?;
        lock(&mut transaction).await?;
        let Some(revoked) = standing(&mut transaction, kind, id, now).await? else { return Ok(false) };
        lift(&mut transaction, &revoked, now, now).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// All that are kept, the latest change first, from before the place `before`.
    pub(crate) async fn revocations(&self, before: Option<i64>, rows: i64) -> Result<Vec<Revocation>, IdentityError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT kind,
                    id,
                    seq,
                    reason,
                    revoked_by,
                    at_ms,
                    lifted_at_ms,
                    until_ms
               FROM identity.revocations
              WHERE $1::BIGINT IS NULL OR seq < $1
              ORDER BY seq DESC
              LIMIT $2",
        )
        .bind(before)
        .bind(rows)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(Revocation::try_from).collect::<Result<_, _>>()?)
    }

    /// Where the feed ends, and what changed after `after` and can still refuse something. The end is read first: what is committed in between
    /// is then beyond it, never before it and left out.
    pub(crate) async fn revocation_feed(&self, after: i64, rows: i64, now: UnixMs) -> Result<(i64, Vec<Revocation>), IdentityError> {
        let head = sqlx::query_scalar("SELECT seq FROM identity.revocation_feed").fetch_one(&self.pool).await?;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT kind,
                    id,
                    seq,
                    reason,
                    revoked_by,
                    at_ms,
                    lifted_at_ms,
                    until_ms
               FROM identity.revocations
              WHERE seq > $1
                AND until_ms > $2
              ORDER BY seq
              LIMIT $3",
        )
        .bind(after)
        .bind(now.0)
        .bind(rows)
        .fetch_all(&self.pool)
        .await?;
        Ok((head, rows.into_iter().map(Revocation::try_from).collect::<Result<_, _>>()?))
    }

    /// How far the catalogue's outbox has been read.
    pub(crate) async fn catalog_position(&self) -> Result<i64, IdentityError> {
        Ok(sqlx::query_scalar("SELECT catalog_position FROM identity.revocation_feed").fetch_one(&self.pool).await?)
    }

    /// Takes a piece of the outbox in and moves the position, in one transaction; what was taken before changes nothing. True when a revocation
    /// changed.
    pub(crate) async fn follow_catalog(&self, events: &[OutboxEvent], now: UnixMs) -> Result<bool, IdentityError> {
        let Some(head) = events.iter().map(|event| event.seq).max() else { return Ok(false) };
        let mut transaction = self.pool.begin().await?;
        let position = lock(&mut transaction).await?;
        let tracks: Vec<Uuid> = events.iter().map(|event| event.track.id.uuid()).collect();
        let mut down = taken_down(&mut transaction, &tracks, now).await?;
        let mut changed = false;
        for event in events.iter().filter(|event| event.seq > position) {
            let track = event.track.id.uuid();
            match event.kind {
                OutboxKind::TrackTakenDown if event.at_ms.plus_ms(LIFE_MS) > now => {
                    if standing(&mut transaction, Kind::Track, track, now).await?.is_none() {
                        let wish = Wish { kind: Kind::Track, id: track, reason: TAKEN_DOWN.to_owned(), by: None };
                        write(&mut transaction, &wish, event.at_ms, now).await?;
                        down.insert(track);
                        changed = true;
                    }
                }
                OutboxKind::TrackPublished if down.remove(&track) => {
                    if let Some(revoked) = standing(&mut transaction, Kind::Track, track, now).await? {
                        lift(&mut transaction, &revoked, event.at_ms, now).await?;
                        changed = true;
                    }
                }
                // Nothing is alive that it could refuse, or nothing is revoked.
                OutboxKind::TrackTakenDown | OutboxKind::TrackPublished => {}
            }
        }
        sqlx::query("UPDATE identity.revocation_feed SET catalog_position = greatest(catalog_position, $1)")
            .bind(head)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(changed)
    }

    /// Forgets what can refuse nothing any more; returns how many. Accounts are suspended until they are lifted.
    pub(crate) async fn sweep_revocations(&self, now: UnixMs) -> Result<u64, IdentityError> {
        let swept = sqlx::query(
            "DELETE FROM identity.revocations
              WHERE until_ms <= $1
                AND (kind <> 'account' OR lifted_at_ms IS NOT NULL)",
        )
        .bind(now.0)
        .execute(&self.pool)
        .await?;
        Ok(swept.rows_affected())
    }
}

/// Whether an account may not log in. Within the transaction that would let it in, after a lock that a revocation waits for.
pub(super) async fn suspended(connection: &mut PgConnection, account: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (
                SELECT FROM identity.revocations
                 WHERE kind = 'account'
                   AND id = $1
                   AND lifted_at_ms IS NULL)",
    )
    .bind(account)
    .fetch_one(connection)
    .await
}

/// Waits for everyone else who changes revocations; answers how far the catalogue's outbox has been read.
async fn lock(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT catalog_position FROM identity.revocation_feed FOR UPDATE").fetch_one(connection).await
}

/// Log-ins hold the account's row in share mode until they are done: those under way are ended with the others, later ones are refused.
async fn lock_account(connection: &mut PgConnection, account: AccountId) -> Result<(), IdentityError> {
    let found: Option<Uuid> = sqlx::query_scalar("SELECT id FROM identity.accounts WHERE id = $1 FOR UPDATE")
        .bind(account.uuid())
        .fetch_optional(connection)
        .await?;
    found.map(drop).ok_or(IdentityError::NoSuchAccount)
}

/// The next place in the feed. It grows with the clock, so that a database restored from a backup gives no place out again.
async fn next_seq(connection: &mut PgConnection, now: UnixMs) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("UPDATE identity.revocation_feed SET seq = greatest(seq + 1, $1 * 1000) RETURNING seq")
        .bind(now.0)
        .fetch_one(connection)
        .await
}

async fn standing(connection: &mut PgConnection, kind: Kind, id: Uuid, now: UnixMs) -> Result<Option<Revocation>, sqlx::Error> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT kind,
                id,
                seq,
                reason,
                revoked_by,
                at_ms,
                lifted_at_ms,
                until_ms
           FROM identity.revocations
          WHERE kind = $1
            AND id = $2
            AND lifted_at_ms IS NULL
            AND (kind = 'account' OR until_ms > $3)",
    )
    .bind(kind.name())
    .bind(id)
    .bind(now.0)
    .fetch_optional(connection)
    .await?;
    row.map(Revocation::try_from).transpose()
}

/// Those of `tracks` whose revocation is the catalogue's.
async fn taken_down(connection: &mut PgConnection, tracks: &[Uuid], now: UnixMs) -> Result<HashSet<Uuid>, sqlx::Error> {
    let down: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id
           FROM identity.revocations
          WHERE kind = 'track'
            AND id = ANY($1)
            AND revoked_by IS NULL
            AND lifted_at_ms IS NULL
            AND until_ms > $2",
    )
    .bind(tracks)
    .bind(now.0)
    .fetch_all(connection)
    .await?;
    Ok(down.into_iter().collect())
}

async fn write(connection: &mut PgConnection, wish: &Wish, at: UnixMs, now: UnixMs) -> Result<Revocation, sqlx::Error> {
    let seq = next_seq(connection, now).await?;
    let row: Row = sqlx::query_as(
        "INSERT INTO identity.revocations (kind, id, seq, reason, revoked_by, at_ms, until_ms)
              VALUES ($1, $2, $3, $4, $5, $6, $7)
                  ON CONFLICT (kind, id) DO UPDATE
                 SET seq          = EXCLUDED.seq,
                     reason       = EXCLUDED.reason,
                     revoked_by   = EXCLUDED.revoked_by,
                     at_ms        = EXCLUDED.at_ms,
                     lifted_at_ms = NULL,
                     until_ms     = EXCLUDED.until_ms
           RETURNING kind, id, seq, reason, revoked_by, at_ms, lifted_at_ms, until_ms",
    )
    .bind(wish.kind.name())
    .bind(wish.id)
    .bind(seq)
    .bind(&wish.reason)
    .bind(wish.by.map(AccountId::uuid))
    .bind(at.0)
    .bind(at.plus_ms(LIFE_MS).0)
    .fetch_one(connection)
    .await?;
    row.try_into()
}

async fn lift(connection: &mut PgConnection, revoked: &Revocation, at: UnixMs, now: UnixMs) -> Result<(), sqlx::Error> {
    let seq = next_seq(connection, now).await?;
    sqlx::query("UPDATE identity.revocations SET seq = $3, lifted_at_ms = $4 WHERE kind = $1 AND id = $2")
        .bind(revoked.kind.name())
        .bind(revoked.id)
        .bind(seq)
        .bind(lifted_at(revoked.revoked_at, at).0)
        .execute(connection)
        .await?;
    Ok(())
}

async fn end_families(connection: &mut PgConnection, account: Uuid, now: UnixMs) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE identity.families
            SET revoked_at_ms = $2,
                revoked_for   = 'suspended'
          WHERE account_id = $1
            AND revoked_at_ms IS NULL",
    )
    .bind(account)
    .bind(now.0)
    .execute(connection)
    .await?;
    Ok(())
}
