//! Identity's SQL, each statement next to the step it is.

pub(crate) mod members;
pub(crate) mod revocations;

use platform::random_bytes;
use protocol::{AccountId, ArtistId, Role, UnixMs};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    IdentityError,
    account::{Account, NewAccount},
};

/// The `identity` schema.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: PgPool,
}

/// An account with what it logs in with.
pub(crate) struct Found {
    pub(crate) account: Account,
    pub(crate) password_phc: String,
}

/// What became of a refresh token that was presented.
pub(crate) enum Spent {
    /// It was good, and is spent now.
    Now { account: Account, family: Uuid },
    /// It had been spent before; the family is revoked.
    Before { family: Uuid },
    /// Its family has reached its longest age.
    Ended,
    /// Its account is suspended.
    Suspended,
    /// There is no such token, or its family was logged out.
    Unknown,
}

#[derive(FromRow)]
struct AccountRow {
    id: Uuid,
    name: String,
    role: String,
    plan: String,
    country: String,
}

#[derive(FromRow)]
struct FoundRow {
    #[sqlx(flatten)]
    account: AccountRow,
    password_phc: String,
}

#[derive(FromRow)]
struct TokenRow {
    family: Uuid,
    ends_at_ms: i64,
    revoked_for: Option<String>,
    spent_at_ms: Option<i64>,
    #[sqlx(flatten)]
    account: AccountRow,
}

impl TryFrom<AccountRow> for Account {
    type Error = sqlx::Error;

    fn try_from(row: AccountRow) -> Result<Self, sqlx::Error> {
        let unreadable = |error: String| sqlx::Error::Decode(error.into());
        Ok(Self {
            id: AccountId(row.id),
            name: row.name,
            role: row.role.parse().map_err(unreadable)?,
            plan: row.plan.parse().map_err(unreadable)?,
            country: row.country.parse().map_err(|error: protocol::territory::NotATerritory| unreadable(error.to_string()))?,
        })
    }
}

impl Store {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Makes an account with its credentials, and for an artist the artist it owns.
    pub(crate) async fn create(&self, new: &NewAccount, password_phc: &str, now: UnixMs) -> Result<Account, IdentityError> {
        let id = AccountId::v7(now, random_bytes());
        let mut transaction = self.pool.begin().await?;
        let made = sqlx::query(
            "INSERT INTO identity.accounts (id, email, email_key, name, role, plan, country, created_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                 ON CONFLICT (email_key) DO NOTHING",
        )
        .bind(id.uuid())
        .bind(&new.email)
        .bind(&new.email_key)
        .bind(&new.name)
        .bind(new.role.name())
        .bind(new.plan.name())
        .bind(new.country.to_string())
        .bind(now.0)
        .execute(&mut *transaction)
        .await?;
        if made.rows_affected() == 0 {
            return Err(IdentityError::EmailTaken);
        }
        sqlx::query("INSERT INTO identity.credentials (account_id, password_phc, changed_at_ms) VALUES ($1, $2, $3)")
            .bind(id.uuid())
            .bind(password_phc)
            .bind(now.0)
            .execute(&mut *transaction)
            .await?;
        if new.role == Role::Artist {
            found_artist(&mut transaction, id, &new.name, now).await?;
        }
        transaction.commit().await?;
        Ok(Account { id, name: new.name.clone(), role: new.role, plan: new.plan, country: new.country })
    }

    pub(crate) async fn find_by_email(&self, email_key: &str) -> Result<Option<Found>, IdentityError> {
        let row: Option<FoundRow> = sqlx::query_as(
            "SELECT account.id,
                    account.name,
                    account.role,
                    account.plan,
                    account.country,
                    credential.password_phc
               FROM identity.accounts account
               JOIN identity.credentials credential ON credential.account_id = account.id
              WHERE account.email_key = $1",
        )
        .bind(email_key)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| Ok(Found { account: row.account.try_into()?, password_phc: row.password_phc })).transpose()
    }

    pub(crate) async fn set_password(&self, account: AccountId, password_phc: &str, now: UnixMs) -> Result<(), IdentityError> {
        sqlx::query("UPDATE identity.credentials SET password_phc = $2, changed_at_ms = $3 WHERE account_id = $1")
            .bind(account.uuid())
            .bind(password_phc)
            .bind(now.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Sets what the operator decides about an account. One that becomes an artist's owns an artist, as if it had signed up as one.
    pub(crate) async fn set_standing(&self, account: AccountId, standing: &NewAccount, now: UnixMs) -> Result<(), IdentityError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("UPDATE identity.accounts SET name = $2, role = $3, plan = $4, country = $5 WHERE id = $1")
            .bind(account.uuid())
            .bind(&standing.name)
            .bind(standing.role.name())
            .bind(standing.plan.name())
            .bind(standing.country.to_string())
            .execute(&mut *transaction)
            .await?;
        let owns: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM identity.memberships WHERE account_id = $1 AND role = 'owner')")
            .bind(account.uuid())
            .fetch_one(&mut *transaction)
            .await?;
        if standing.role == Role::Artist && !owns {
            found_artist(&mut transaction, account, &standing.name, now).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Begins a log-in of an account that is not suspended. Its row is held meanwhile, for which a revocation waits: it either ends this log-in
    /// with the others, or is seen here.
    pub(crate) async fn begin_family(
        &self,
        family: Uuid,
        account: AccountId,
        sha256: &[u8; 32],
        now: UnixMs,
        ends_at: UnixMs,
    ) -> Result<(), IdentityError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("SELECT FROM identity.accounts WHERE id = $1 FOR SHARE").bind(account.uuid()).execute(&mut *transaction).await?;
        if revocations::suspended(&mut transaction, account.uuid()).await? {
            return Err(IdentityError::Suspended);
        }
        sqlx::query("INSERT INTO identity.families (id, account_id, started_at_ms, ends_at_ms) VALUES ($1, $2, $3, $4)")
            .bind(family)
            .bind(account.uuid())
            .bind(now.0)
            .bind(ends_at.0)
            .execute(&mut *transaction)
            .await?;
        issue(&mut transaction, family, sha256, now).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Spends one token and issues the next in one transaction. The family's row is locked first, so that of two uses of one token the second
    /// finds it spent.
    pub(crate) async fn spend(&self, sha256: &[u8; 32], next_sha256: &[u8; 32], now: UnixMs) -> Result<Spent, IdentityError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query(
            "SELECT FROM identity.families
              WHERE id = (SELECT family_id FROM identity.refresh_tokens WHERE sha256 = $1)
                FOR UPDATE",
        )
        .bind(sha256.as_slice())
        .execute(&mut *transaction)
        .await?;
        let row: Option<TokenRow> = sqlx::query_as(
            "SELECT family.id AS family,
                    family.ends_at_ms,
                    family.revoked_for,
                    token.spent_at_ms,
                    account.id,
                    account.name,
                    account.role,
                    account.plan,
                    account.country
               FROM identity.refresh_tokens token
               JOIN identity.families family ON family.id = token.family_id
               JOIN identity.accounts account ON account.id = family.account_id
              WHERE token.sha256 = $1",
        )
        .bind(sha256.as_slice())
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else { return Ok(Spent::Unknown) };
        let family = row.family;
        match (row.revoked_for.as_deref(), row.spent_at_ms) {
            (Some("reused"), _) => return Ok(Spent::Before { family }),
            (Some("suspended"), _) if revocations::suspended(&mut transaction, row.account.id).await? => return Ok(Spent::Suspended),
            (Some(_), _) => return Ok(Spent::Unknown),
            (None, Some(_)) => {
                revoke(&mut transaction, family, "reused", now).await?;
                transaction.commit().await?;
                return Ok(Spent::Before { family });
            }
            (None, None) if row.ends_at_ms <= now.0 => return Ok(Spent::Ended),
            (None, None) => {}
        }
        sqlx::query("UPDATE identity.refresh_tokens SET spent_at_ms = $2 WHERE sha256 = $1")
            .bind(sha256.as_slice())
            .bind(now.0)
            .execute(&mut *transaction)
            .await?;
        issue(&mut transaction, family, next_sha256, now).await?;
        transaction.commit().await?;
        Ok(Spent::Now { account: row.account.try_into()?, family })
    }

    /// Ends one log-in of an account; ending it again changes nothing.
    pub(crate) async fn log_out(&self, account: AccountId, family: Uuid, now: UnixMs) -> Result<(), IdentityError> {
        sqlx::query(
            "UPDATE identity.families
                SET revoked_at_ms = $3,
                    revoked_for   = 'logged_out'
              WHERE id = $1
                AND account_id = $2
                AND revoked_at_ms IS NULL",
        )
        .bind(family)
        .bind(account.uuid())
        .bind(now.0)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Removes families whose last token has expired; returns how many.
    pub(crate) async fn sweep(&self, ended_before: UnixMs) -> Result<u64, IdentityError> {
        let swept = sqlx::query("DELETE FROM identity.families WHERE ends_at_ms < $1").bind(ended_before.0).execute(&self.pool).await?;
        Ok(swept.rows_affected())
    }
}

async fn found_artist(connection: &mut PgConnection, owner: AccountId, name: &str, now: UnixMs) -> Result<(), sqlx::Error> {
    let artist = ArtistId::v7(now, random_bytes());
    sqlx::query("INSERT INTO identity.artists (id, name, created_at_ms) VALUES ($1, $2, $3)")
        .bind(artist.uuid())
        .bind(name)
        .bind(now.0)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO identity.memberships (account_id, artist_id, role, created_at_ms, accepted_at_ms)
         VALUES ($1, $2, 'owner', $3, $3)",
    )
    .bind(owner.uuid())
    .bind(artist.uuid())
    .bind(now.0)
    .execute(&mut *connection)
    .await?;
    Ok(())
}

async fn issue(connection: &mut PgConnection, family: Uuid, sha256: &[u8; 32], now: UnixMs) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO identity.refresh_tokens (sha256, family_id, issued_at_ms) VALUES ($1, $2, $3)")
        .bind(sha256.as_slice())
        .bind(family)
        .bind(now.0)
        .execute(connection)
        .await?;
    Ok(())
}

async fn revoke(connection: &mut PgConnection, family: Uuid, reason: &str, now: UnixMs) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE identity.families SET revoked_at_ms = $2, revoked_for = $3 WHERE id = $1 AND revoked_at_ms IS NULL")
        .bind(family)
        .bind(now.0)
        .bind(reason)
        .execute(connection)
        .await?;
    Ok(())
}
