//! What the database itself refuses, whoever asks.

use sqlx::{AssertSqlSafe, PgPool};

use crate::scene::scene;

const MONEY: [&str; 9] =
    ["accounts", "entries", "transfers", "revenue", "splits", "settlements", "settlement_inputs", "statements", "statement_lines"];

async fn refusal(pool: &PgPool, sql: &str) -> String {
    match sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await {
        Ok(_) => panic!("the database did as it was told: {sql}"),
        Err(error) => error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned(),
    }
}

const RESTRICT_VIOLATION: &str = "23001";
const INSUFFICIENT_PRIVILEGE: &str = "42501";
const CHECK_VIOLATION: &str = "23514";
const FOREIGN_KEY_VIOLATION: &str = "23503";

#[tokio::test]
async fn money_is_only_ever_added_even_for_the_owner() {
    let scene = scene().await;
    let owner = scene.db.owner();
    for table in MONEY {
        let column: String = sqlx::query_scalar(
            "SELECT column_name FROM information_schema.columns
             WHERE table_schema = 'royalty' AND table_name = $1 AND is_identity = 'NO' ORDER BY ordinal_position LIMIT 1",
        )
        .bind(table)
        .fetch_one(&owner)
        .await
        .unwrap();
        for statement in [
            format!("UPDATE royalty.{table} SET {column} = {column}"),
            format!("DELETE FROM royalty.{table}"),
            format!("TRUNCATE royalty.{table} CASCADE"),
        ] {
            assert_eq!(refusal(&owner, &statement).await, RESTRICT_VIOLATION, "{statement}");
            assert_eq!(refusal(&scene.pool, &statement).await, INSUFFICIENT_PRIVILEGE, "{statement}");
        }
    }
}

#[tokio::test]
async fn an_unbalanced_entry_cannot_be_written() {
    let scene = scene().await;
    sqlx::raw_sql(
        "INSERT INTO royalty.accounts (kind, owner, currency) VALUES ('pool', 'a', 'EUR'), ('payee', 'b', 'EUR'), ('payee', 'b', 'SEK');
         INSERT INTO royalty.entries (source, source_id, sha256, at_ms) VALUES ('test', '1', decode(repeat('00', 32), 'hex'), 0)",
    )
    .execute(&scene.pool)
    .await
    .unwrap();
    let entry = "WITH entry AS (INSERT INTO royalty.entries (source, source_id, sha256, at_ms)
                                VALUES ('test', '2', decode(repeat('00', 32), 'hex'), 0) RETURNING id)
                 INSERT INTO royalty.transfers (entry, line, debit, credit, currency, amount_micros) SELECT id, 0,";
    let one_sided = format!("{entry} 1, NULL, 'EUR', 5 FROM entry");
    assert_eq!(refusal(&scene.pool, &one_sided).await, "23502");
    for (debit, credit, currency, micros, code) in [
        (1, 2, "EUR", 0, CHECK_VIOLATION),
        (1, 2, "EUR", -5, CHECK_VIOLATION),
        (1, 1, "EUR", 5, CHECK_VIOLATION),
        (1, 3, "EUR", 5, FOREIGN_KEY_VIOLATION),
        (1, 9, "EUR", 5, FOREIGN_KEY_VIOLATION),
        (1, 2, "SEK", 5, FOREIGN_KEY_VIOLATION),
    ] {
        assert_eq!(refusal(&scene.pool, &format!("{entry} {debit}, {credit}, '{currency}', {micros} FROM entry")).await, code);
    }
    let afterwards = "INSERT INTO royalty.transfers (entry, line, debit, credit, currency, amount_micros) VALUES (1, 0, 1, 2, 'EUR', 5)";
    assert_eq!(refusal(&scene.pool, afterwards).await, RESTRICT_VIOLATION, "an entry grows after it was posted");
    sqlx::raw_sql(AssertSqlSafe(format!("{entry} 1, 2, 'EUR', 5 FROM entry"))).execute(&scene.pool).await.unwrap();
}

#[tokio::test]
async fn a_record_that_went_nowhere_cannot_be_written() {
    let scene = scene().await;
    let lossy = "INSERT INTO royalty.batches VALUES ('b', 'e', 1, decode(repeat('00', 32), 'hex'), 0, 0);
                 INSERT INTO royalty.batch_counts VALUES ('b', 'e', 1, '2026-11', 10, 8, 1, 0)";
    assert_eq!(refusal(&scene.pool, lossy).await, CHECK_VIOLATION);
    let short = "INSERT INTO royalty.splits (track, effective_from_ms, payees, basis_points, set_by, set_at_ms)
                 VALUES (gen_random_uuid(), 0, ARRAY[gen_random_uuid()], ARRAY[9999], gen_random_uuid(), 0)";
    assert_eq!(refusal(&scene.pool, short).await, CHECK_VIOLATION);
    let leaking = "INSERT INTO royalty.settlements VALUES (gen_random_uuid(), '2026-11', 'EUR', 'pro_rata', 1, 0, 0, 10, 8, 1,
                   decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex'), 0)";
    assert_eq!(refusal(&scene.pool, leaking).await, CHECK_VIOLATION);
}

#[tokio::test]
async fn the_role_of_royalty_can_touch_no_other_schema() {
    let scene = scene().await;
    let schemas: Vec<String> = sqlx::query_scalar(
        "SELECT nspname FROM pg_namespace
         WHERE nspname IN ('identity', 'catalog', 'ingest', 'search', 'recommend') AND has_schema_privilege('antiphon_royalty', oid, 'USAGE')",
    )
    .fetch_all(&scene.db.owner())
    .await
    .unwrap();
    assert_eq!(schemas, Vec::<String>::new());
}
