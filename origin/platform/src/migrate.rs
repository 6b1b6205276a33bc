//! Bringing a database up to date: first the roles that services log in as, then the files of `migrations/`, in order, once each.
//! The owner runs this; services never do.

use protocol::keys::derive_hex;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, migrate::Migrator};

/// Roles with a login of their own.
pub const ROLES: [&str; 8] = ["identity", "catalog", "ingest", "store", "search", "recommend", "royalty", "lake"];

/// Serialises role making between migrators; the migrations themselves have sqlx's own lock.
const ROLES_LOCK: i64 = 0x616e_7469_7068_6f6e;

/// Why a database was not brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A statement failed.
    #[error("the database refused: {0}")]
    Database(#[from] sqlx::Error),
    /// A migration failed or was changed after it had been applied.
    #[error("a migration failed: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

/// The login of a role.
#[must_use]
pub fn login(role: &str) -> String {
    format!("antiphon_{role}")
}

/// The password of a role, from the deployment's database seed.
#[must_use]
pub fn password(seed: &[u8], role: &str) -> String {
    derive_hex(seed, &format!("antiphon database role {role}"))
}

/// Makes the roles, sets their passwords, applies what is new. Safe to run again and from several places at once.
///
/// # Errors
/// [`MigrateError`].
pub async fn apply(owner_url: &str, seed: &[u8], migrations: &Migrator) -> Result<(), MigrateError> {
    let mut connection = PgConnection::connect(owner_url).await?;
    sqlx::query("SELECT pg_advisory_lock($1)").bind(ROLES_LOCK).execute(&mut connection).await?;
    for role in ROLES {
        let (login, password) = (login(role), password(seed, role));
        let exists: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)").bind(&login).fetch_one(&mut connection).await?;
        let verb = if exists { "ALTER" } else { "CREATE" };
        // Neither statement takes parameters. Both texts are ours: a fixed name, and a password of hex digits.
        let statement = format!("{verb} ROLE {login} LOGIN PASSWORD '{password}'");
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    }
    migrations.run(&mut connection).await?;
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(ROLES_LOCK).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}
