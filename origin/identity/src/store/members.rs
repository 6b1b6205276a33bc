//! The SQL of memberships. Whoever changes the members of an artist locks its row first, so that of two owners who leave at the same moment
//! the second finds that it is the last.

use platform::memberships::{MemberRole, Membership};
use protocol::{AccountId, ArtistId, UnixMs};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::Store;
use crate::{
    IdentityError,
    member::{ARTISTS_MAX, INVITATIONS_SHOWN_MAX, MEMBERS_MAX, Member, OwnArtist, Standing},
};

#[derive(FromRow)]
struct MembershipRow {
    artist_id: Uuid,
    artist_name: String,
    role: String,
    payee: Uuid,
}

#[derive(FromRow)]
struct MemberRow {
    account_id: Uuid,
    name: Option<String>,
    invited_as: Option<String>,
    role: String,
    accepted: bool,
    since_ms: i64,
}

#[derive(FromRow)]
struct OwnArtistRow {
    id: Uuid,
    name: String,
    role: String,
    accepted: bool,
}

fn role(name: &str) -> Result<MemberRole, sqlx::Error> {
    MemberRole::from_name(name).ok_or_else(|| sqlx::Error::Decode(format!("{name:?} is no role of a member").into()))
}

const fn standing(accepted: bool) -> Standing {
    if accepted { Standing::Active } else { Standing::Invited }
}

impl TryFrom<MemberRow> for Member {
    type Error = sqlx::Error;

    fn try_from(row: MemberRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            account_id: AccountId(row.account_id),
            name: row.name,
            email: row.invited_as,
            role: role(&row.role)?,
            state: standing(row.accepted),
            since: UnixMs(row.since_ms),
        })
    }
}

impl TryFrom<OwnArtistRow> for OwnArtist {
    type Error = sqlx::Error;

    fn try_from(row: OwnArtistRow) -> Result<Self, sqlx::Error> {
        Ok(Self { id: ArtistId(row.id), name: row.name, role: role(&row.role)?, state: standing(row.accepted) })
    }
}

impl Store {
    /// What an account acts for, with who is paid for each: for services.
    pub(crate) async fn memberships(&self, account: AccountId) -> Result<Vec<Membership>, IdentityError> {
        let rows: Vec<MembershipRow> = sqlx::query_as(
            "SELECT artist.id AS artist_id,
                    artist.name AS artist_name,
                    membership.role,
                    (SELECT owner.account_id
                       FROM identity.memberships owner
                      WHERE owner.artist_id = artist.id
                        AND owner.role = 'owner'
                        AND owner.accepted_at_ms IS NOT NULL
                      ORDER BY owner.accepted_at_ms, owner.account_id
                      LIMIT 1) AS payee
               FROM identity.memberships membership
               JOIN identity.artists artist ON artist.id = membership.artist_id
              WHERE membership.account_id = $1
                AND membership.accepted_at_ms IS NOT NULL
              ORDER BY artist.id",
        )
        .bind(account.uuid())
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Membership {
                    artist_id: ArtistId(row.artist_id),
                    artist_name: row.artist_name,
                    role: role(&row.role)?,
                    payee: AccountId(row.payee),
                })
            })
            .collect()
    }

    /// What an account may do for an artist.
    pub(crate) async fn role_for(&self, account: AccountId, artist: ArtistId) -> Result<Option<MemberRole>, IdentityError> {
        let mut connection = self.pool.acquire().await?;
        role_of(&mut connection, account, artist).await
    }

    /// The members of an artist, the oldest first.
    pub(crate) async fn members(&self, artist: ArtistId) -> Result<Vec<Member>, IdentityError> {
        let rows: Vec<MemberRow> = sqlx::query_as(
            "SELECT membership.account_id,
                    CASE WHEN membership.accepted_at_ms IS NOT NULL THEN account.name END AS name,
                    membership.invited_as,
                    membership.role,
                    membership.accepted_at_ms IS NOT NULL AS accepted,
                    coalesce(membership.accepted_at_ms, membership.created_at_ms) AS since_ms
               FROM identity.memberships membership
               JOIN identity.accounts account ON account.id = membership.account_id
              WHERE membership.artist_id = $1
              ORDER BY since_ms, membership.account_id
              LIMIT $2",
        )
        .bind(artist.uuid())
        .bind(MEMBERS_MAX)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(Member::try_from).collect::<Result<_, _>>()?)
    }

    /// What an account acts for and is invited to act for.
    pub(crate) async fn own_artists(&self, account: AccountId) -> Result<Vec<OwnArtist>, IdentityError> {
        let rows: Vec<OwnArtistRow> = sqlx::query_as(
            "(SELECT artist.id, artist.name, membership.role, true AS accepted
                FROM identity.memberships membership
                JOIN identity.artists artist ON artist.id = membership.artist_id
               WHERE membership.account_id = $1
                 AND membership.accepted_at_ms IS NOT NULL
               ORDER BY artist.id)
             UNION ALL
             (SELECT artist.id, artist.name, membership.role, false
                FROM identity.memberships membership
                JOIN identity.artists artist ON artist.id = membership.artist_id
               WHERE membership.account_id = $1
                 AND membership.accepted_at_ms IS NULL
               ORDER BY membership.created_at_ms DESC
               LIMIT $2)",
        )
        .bind(account.uuid())
        .bind(INVITATIONS_SHOWN_MAX)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(OwnArtist::try_from).collect::<Result<_, _>>()?)
    }

    /// The account that logs in with an address.
    pub(crate) async fn account_of(&self, email_key: &str) -> Result<Option<AccountId>, IdentityError> {
        let id: Option<Uuid> =
            sqlx::query_scalar("SELECT id FROM identity.accounts WHERE email_key = $1").bind(email_key).fetch_optional(&self.pool).await?;
        Ok(id.map(AccountId))
    }

    /// Gives a member its role, or invites an account to it; both again change nothing. `by` must be an owner.
    pub(crate) async fn put_member(
        &self,
        by: AccountId,
        artist: ArtistId,
        account: AccountId,
        wanted: MemberRole,
        invited_as: Option<&str>,
        now: UnixMs,
    ) -> Result<Member, IdentityError> {
        let mut transaction = self.pool.begin().await?;
        lock(&mut transaction, by, artist).await?;
        if wanted != MemberRole::Owner {
            keep_an_owner(&mut transaction, artist, account).await?;
        }
        let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM identity.accounts WHERE id = $1)")
            .bind(account.uuid())
            .fetch_one(&mut *transaction)
            .await?;
        if !known {
            return Err(IdentityError::NoSuchMember);
        }
        let others: i64 = sqlx::query_scalar("SELECT count(*) FROM identity.memberships WHERE artist_id = $1 AND account_id <> $2")
            .bind(artist.uuid())
            .bind(account.uuid())
            .fetch_one(&mut *transaction)
            .await?;
        if others >= MEMBERS_MAX {
            return Err(IdentityError::TooManyMembers);
        }
        let row: MemberRow = sqlx::query_as(
            "INSERT INTO identity.memberships AS membership (account_id, artist_id, role, created_at_ms, invited_as)
             VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (account_id, artist_id) DO UPDATE SET role = EXCLUDED.role
             RETURNING account_id,
                       CASE WHEN accepted_at_ms IS NOT NULL THEN (SELECT name FROM identity.accounts WHERE id = $1) END AS name,
                       invited_as,
                       role,
                       accepted_at_ms IS NOT NULL AS accepted,
                       coalesce(accepted_at_ms, created_at_ms) AS since_ms",
        )
        .bind(account.uuid())
        .bind(artist.uuid())
        .bind(wanted.name())
        .bind(now.0)
        .bind(invited_as)
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(row.try_into()?)
    }

    /// Ends a membership or an invitation; one that is not there is ended already. `by` is an owner, or the member.
    pub(crate) async fn remove_member(&self, by: AccountId, artist: ArtistId, account: AccountId) -> Result<(), IdentityError> {
        let mut transaction = self.pool.begin().await?;
        if by == account {
            lock_artist(&mut transaction, artist).await?;
        } else {
            lock(&mut transaction, by, artist).await?;
        }
        keep_an_owner(&mut transaction, artist, account).await?;
        sqlx::query("DELETE FROM identity.memberships WHERE artist_id = $1 AND account_id = $2")
            .bind(artist.uuid())
            .bind(account.uuid())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Accepts an invitation; again changes nothing. The account's row is locked, so that many at once stay within the bound.
    pub(crate) async fn accept(&self, account: AccountId, artist: ArtistId, now: UnixMs) -> Result<OwnArtist, IdentityError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("SELECT FROM identity.accounts WHERE id = $1 FOR NO KEY UPDATE")
            .bind(account.uuid())
            .execute(&mut *transaction)
            .await?;
        let others: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM identity.memberships WHERE account_id = $1 AND artist_id <> $2 AND accepted_at_ms IS NOT NULL",
        )
        .bind(account.uuid())
        .bind(artist.uuid())
        .fetch_one(&mut *transaction)
        .await?;
        let row: Option<OwnArtistRow> = sqlx::query_as(
            "UPDATE identity.memberships membership
                SET accepted_at_ms = coalesce(membership.accepted_at_ms, $3),
                    invited_as     = NULL
               FROM identity.artists artist
              WHERE membership.account_id = $1
                AND membership.artist_id = $2
                AND artist.id = membership.artist_id
             RETURNING artist.id, artist.name, membership.role, true AS accepted",
        )
        .bind(account.uuid())
        .bind(artist.uuid())
        .bind(now.0)
        .fetch_optional(&mut *transaction)
        .await?;
        let row = row.ok_or(IdentityError::NoSuchInvitation)?;
        if others >= ARTISTS_MAX {
            return Err(IdentityError::TooManyArtists);
        }
        transaction.commit().await?;
        Ok(row.try_into()?)
    }
}

/// Locks the artist for a change of its members by `by`, who must be an owner at that moment.
async fn lock(connection: &mut PgConnection, by: AccountId, artist: ArtistId) -> Result<(), IdentityError> {
    lock_artist(connection, artist).await?;
    platform::memberships::require(role_of(connection, by, artist).await?, MemberRole::Owner)?;
    Ok(())
}

async fn lock_artist(connection: &mut PgConnection, artist: ArtistId) -> Result<(), IdentityError> {
    sqlx::query("SELECT FROM identity.artists WHERE id = $1 FOR UPDATE").bind(artist.uuid()).execute(connection).await?;
    Ok(())
}

async fn role_of(connection: &mut PgConnection, account: AccountId, artist: ArtistId) -> Result<Option<MemberRole>, IdentityError> {
    let name: Option<String> = sqlx::query_scalar(
        "SELECT role
           FROM identity.memberships
          WHERE account_id = $1
            AND artist_id = $2
            AND accepted_at_ms IS NOT NULL",
    )
    .bind(account.uuid())
    .bind(artist.uuid())
    .fetch_optional(connection)
    .await?;
    Ok(name.as_deref().map(role).transpose()?)
}

/// Refuses when `account` is the only owner that the artist has. An owner that has not accepted yet is none.
async fn keep_an_owner(connection: &mut PgConnection, artist: ArtistId, account: AccountId) -> Result<(), IdentityError> {
    let is_last: bool = sqlx::query_scalar(
        "SELECT coalesce(bool_and(account_id = $2), false)
           FROM identity.memberships
          WHERE artist_id = $1
            AND role = 'owner'
            AND accepted_at_ms IS NOT NULL",
    )
    .bind(artist.uuid())
    .bind(account.uuid())
    .fetch_one(connection)
    .await?;
    if is_last { Err(IdentityError::LastOwner) } else { Ok(()) }
}
