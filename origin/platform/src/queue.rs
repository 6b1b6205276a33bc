//! The queue in PostgreSQL: producers send, consumers receive under a lease, finish, put back or bury. At-least-once and unordered,
//! like the queues it stands in for, so the effects of a message are idempotent by its key.
//!
//! Every receipt carries a fencing number higher than all before it. A consumer whose lease ran out finds, when it finishes, that it
//! has been fenced out; what it publishes elsewhere is compared by the same number.

use protocol::UnixMs;
use serde_json::Value;
use sqlx::{PgExecutor, PgPool};

use crate::Clock;

/// Receipts after which a message is given up.
pub const RECEIVES_MAX: i32 = 5;

/// Access to all queues.
#[derive(Debug, Clone)]
pub struct Queue {
    pool: PgPool,
    clock: Clock,
}

/// A message under lease.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Message {
    /// Its number in the database.
    pub id: i64,
    /// Names the work.
    pub key: String,
    /// What the producer said.
    pub body: Value,
    /// How often it was received, this time included.
    pub receive_count: i32,
    /// Higher than that of every receipt before.
    pub fence: i64,
}

impl Queue {
    /// On the machine's clock.
    #[must_use]
    pub const fn new(pool: PgPool) -> Self {
        Self::with_clock(pool, Clock::system())
    }

    /// On a clock of the caller's.
    #[must_use]
    pub const fn with_clock(pool: PgPool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    /// Sends a message; `false` when one with this key is already waiting or being worked on.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn send(&self, queue: &str, key: &str, body: &Value) -> Result<bool, sqlx::Error> {
        send(&self.pool, queue, key, body).await
    }

    /// Takes the next message for `lease_ms`. One that was received too often becomes a dead letter instead.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn receive(&self, queue: &str, lease_ms: i64, now: UnixMs) -> Result<Option<Message>, sqlx::Error> {
        self.bury_exhausted(queue, now).await?;
        sqlx::query_as(
            "UPDATE queue.messages
                SET receive_count = receive_count + 1,
                    visible_at_ms = $3,
                    fence         = nextval('queue.fences')
              WHERE id = (SELECT id
                            FROM queue.messages
                           WHERE queue = $1
                             AND visible_at_ms <= $2
                             AND receive_count < $4
                           ORDER BY visible_at_ms, id
                           LIMIT 1
                             FOR UPDATE SKIP LOCKED)
          RETURNING id, key, body, receive_count, fence",
        )
        .bind(queue)
        .bind(now.0)
        .bind(now.plus_ms(lease_ms).0)
        .bind(RECEIVES_MAX)
        .fetch_optional(&self.pool)
        .await
    }

    /// Holds the message for another `lease_ms` from now; `false` when another consumer has it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn extend(&self, message: &Message, lease_ms: i64) -> Result<bool, sqlx::Error> {
        self.show_again(message, lease_ms).await
    }

    /// Puts the message back for `delay_ms`; `false` when another consumer has it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn retry_later(&self, message: &Message, delay_ms: i64) -> Result<bool, sqlx::Error> {
        self.show_again(message, delay_ms).await
    }

    /// The work is done; `false` when another consumer has the message, whose work counts then.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn complete(&self, message: &Message) -> Result<bool, sqlx::Error> {
        complete(&self.pool, message).await
    }

    /// The work can never succeed: keeps the message as a dead letter. `false` when another consumer has it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn bury(&self, message: &Message, reason: &str) -> Result<bool, sqlx::Error> {
        let buried = sqlx::query(
            "WITH dead AS (DELETE FROM queue.messages WHERE id = $1 AND fence = $2 RETURNING id, queue, key, body, receive_count)
             INSERT INTO queue.dead_letters (id, queue, key, body, receive_count, reason, died_at_ms)
             SELECT id, queue, key, body, receive_count, $3, $4 FROM dead",
        )
        .bind(message.id)
        .bind(message.fence)
        .bind(reason)
        .bind(self.clock.now().0)
        .execute(&self.pool)
        .await?;
        Ok(buried.rows_affected() == 1)
    }

    /// How many messages wait or are being worked on.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn depth(&self, queue: &str) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT count(*) FROM queue.messages WHERE queue = $1").bind(queue).fetch_one(&self.pool).await
    }

    async fn show_again(&self, message: &Message, after_ms: i64) -> Result<bool, sqlx::Error> {
        let moved = sqlx::query("UPDATE queue.messages SET visible_at_ms = $3 WHERE id = $1 AND fence = $2")
            .bind(message.id)
            .bind(message.fence)
            .bind(self.clock.now().plus_ms(after_ms).0)
            .execute(&self.pool)
            .await?;
        Ok(moved.rows_affected() == 1)
    }

    /// A consumer that dies each time never says why, so the count alone ends it.
    async fn bury_exhausted(&self, queue: &str, now: UnixMs) -> Result<(), sqlx::Error> {
        sqlx::query(
            "WITH dead AS (
                 DELETE FROM queue.messages
                  WHERE queue = $1 AND visible_at_ms <= $2 AND receive_count >= $3
              RETURNING id, queue, key, body, receive_count)
             INSERT INTO queue.dead_letters (id, queue, key, body, receive_count, reason, died_at_ms)
             SELECT id, queue, key, body, receive_count, 'received too often', $2 FROM dead",
        )
        .bind(queue)
        .bind(now.0)
        .bind(RECEIVES_MAX)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// [`Queue::send`] within the caller's transaction, so that a message exists exactly when what it is about does.
///
/// # Errors
/// When the database does not take it.
pub async fn send<'e>(executor: impl PgExecutor<'e>, queue: &str, key: &str, body: &Value) -> Result<bool, sqlx::Error> {
    let sent = sqlx::query("INSERT INTO queue.messages (queue, key, body) VALUES ($1, $2, $3) ON CONFLICT (queue, key) DO NOTHING")
        .bind(queue)
        .bind(key)
        .bind(body)
        .execute(executor)
        .await?;
    Ok(sent.rows_affected() == 1)
}

/// [`Queue::complete`] within the caller's transaction, so that an effect in the same database is exactly-once.
///
/// # Errors
/// When the database does not answer.
pub async fn complete<'e>(executor: impl PgExecutor<'e>, message: &Message) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("DELETE FROM queue.messages WHERE id = $1 AND fence = $2")
        .bind(message.id)
        .bind(message.fence)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() == 1)
}
