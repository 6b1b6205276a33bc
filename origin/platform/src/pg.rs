//! Connections to PostgreSQL. A pool connects when it is first used, so that a service starts (and says that it is not ready) while
//! its database is away.

use std::{str::FromStr as _, time::Duration};

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// How long a request waits for a connection before it answers 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// A pool of at most `connections_max`. Statements are ended after 30 s and transactions that stand idle after 60 s.
///
/// # Errors
/// When the URL is not one.
pub fn pool(url: &str, connections_max: u32) -> Result<PgPool, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?
        .application_name("antiphon")
        .options([("statement_timeout", "30s"), ("idle_in_transaction_session_timeout", "60s")]);
    Ok(PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(Duration::from_secs(300))
        .connect_lazy_with(options))
}

/// `None` when the database answers, otherwise what is missing: for a service's readiness.
pub async fn missing(pool: &PgPool) -> Option<String> {
    let answer = tokio::time::timeout(Duration::from_secs(2), sqlx::query("SELECT 1").execute(pool)).await;
    match answer {
        Ok(Ok(_)) => None,
        Ok(Err(_)) | Err(_) => Some("database".to_owned()),
    }
}
