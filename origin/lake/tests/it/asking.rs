//! Questions, and copies for other engines.

use std::time::Duration;

use lake::{
    LakeError,
    export::ExportError,
    query::{Limits, QueryError},
};
use platform::{activity::Place, testing};
use serde_json::{Value, json};

use crate::scene::{DAY_MS, NOW, Scene, account, play, scene, track};

async fn refused(scene: &Scene, sql: &str, limits: Limits) -> QueryError {
    match scene.lake.query(sql, limits).await {
        Ok(answer) => panic!("`{sql}` was answered: {:?}", answer.rows()),
        Err(error) => error,
    }
}

async fn some_days() -> Scene {
    let scene = scene().await;
    for (n, days) in [(1, 0), (2, 1), (3, 2)] {
        scene.plays(account(n), play(n, days * DAY_MS), 31_000, "provisional").await;
    }
    scene.plays(account(1), play(4, 5), 2_000, "void").await;
    scene.likes(account(1), track(1), true, 7).await;
    scene.written().await;
    scene
}

#[tokio::test]
async fn plays_skips_and_likes_are_what_happened() {
    let scene = some_days().await;
    scene.plays(account(1), play(1, 0), 40_000, "provisional").await;
    scene.written().await;
    let days =
        scene.ask("SELECT CAST(day AS VARCHAR) AS day, count(*) AS plays, sum(played_ms) AS ms FROM plays GROUP BY day ORDER BY day").await;
    let expected = json!([
        {"day": "2026-11-24", "plays": 2, "ms": 42_000},
        {"day": "2026-11-25", "plays": 1, "ms": 31_000},
        {"day": "2026-11-26", "plays": 1, "ms": 31_000},
    ]);
    assert_eq!(days, expected);
    let skips = scene.ask("SELECT track, played_ms, territory, plan FROM skips").await;
    assert_eq!(skips, json!([{"track": track(1).to_string(), "played_ms": 2_000, "territory": "DE", "plan": "premium"}]));
    let likes = scene.ask("SELECT likes.track, liked, happened_at FROM likes JOIN plays USING (listener) WHERE plays.skipped").await;
    assert_eq!(likes, json!([{"track": track(1).to_string(), "liked": true, "happened_at": "2026-11-24T21:38:00.007Z"}]));
    assert_eq!(scene.ask("SELECT count(*) AS n FROM play_revisions").await, json!([{"n": 5}]));
    assert_eq!(scene.ask("SELECT play FROM plays WHERE FALSE").await, json!([]));
}

#[tokio::test]
async fn days_that_are_not_asked_for_are_not_read() {
    let scene = some_days().await;
    let of_another_day = scene.stored().into_iter().filter(|path| path.contains("kind=play/day=2026-11-26"));
    of_another_day.for_each(|path| std::fs::remove_file(path).unwrap());
    assert_eq!(scene.ask("SELECT count(played_ms) AS n FROM plays WHERE day < '2026-11-26'").await, json!([{"n": 3}]));
    let error = refused(&scene, "SELECT sum(played_ms) FROM plays", Limits::default()).await;
    assert!(matches!(error, QueryError::Rewritten), "{error}");
}

#[tokio::test]
async fn an_empty_lake_has_its_tables_and_no_rows() {
    let scene = scene().await;
    assert_eq!(scene.ask("SELECT count(*) AS n FROM plays").await, json!([{"n": 0}]));
    assert_eq!(scene.ask("SELECT * FROM likes").await, json!([]));
    let tables = scene.ask("SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1").await;
    assert_eq!(tables, json!(["likes", "play_revisions", "plays", "skips"].map(|name| json!({"table_name": name}))));
}

#[tokio::test]
async fn the_lake_is_only_read_and_says_what_is_wrong() {
    let scene = some_days().await;
    let outside = scene.config.state.dir.join("outside");
    for (sql, says) in [
        ("SELEC 1", "SQL"),
        ("SELECT nothing FROM plays", "nothing"),
        ("SELECT * FROM listens", "listens"),
        ("DROP TABLE plays", "only be read"),
        ("INSERT INTO likes SELECT * FROM likes", "only be read"),
        ("CREATE TABLE mine AS SELECT 1", "only be read"),
        ("CREATE EXTERNAL TABLE passwd STORED AS PARQUET LOCATION '/etc/passwd'", ""),
        (&format!("COPY plays TO '{}' STORED AS PARQUET", outside.display()), ""),
        ("SET datafusion.execution.batch_size = 1", "only be read"),
        ("SELECT 1; SELECT 2", ""),
    ] {
        let error = refused(&scene, sql, Limits::default()).await;
        assert!(matches!(error, QueryError::Sql(_)) && error.to_string().contains(says), "`{sql}`: {error:?}");
    }
    assert!(!outside.exists());
}

#[tokio::test]
async fn a_reader_may_look_at_plans_and_columns() {
    let scene = some_days().await;
    let plan = scene.ask("EXPLAIN SELECT count(*) FROM plays WHERE day = '2026-11-24'").await.to_string();
    assert!(plan.contains("day="), "{plan}");
    let columns = scene.ask("DESCRIBE likes").await;
    assert!(columns.as_array().unwrap().iter().any(|column| column["column_name"] == "happened_at"), "{columns}");
    let tables = scene.ask("SHOW TABLES").await.to_string();
    assert!(tables.contains("play_revisions"), "{tables}");
}

#[tokio::test]
async fn a_query_keeps_within_its_limits() {
    let scene = some_days().await;
    let cut = scene.lake.query("SELECT play FROM plays", Limits { rows: 2, ..Limits::default() }).await.unwrap();
    assert_eq!((cut.rows().unwrap().len(), cut.cut), (2, true));
    let whole = scene.lake.query("SELECT play FROM plays", Limits { rows: 4, ..Limits::default() }).await.unwrap();
    assert_eq!((whole.rows().unwrap().len(), whole.cut), (4, false));
    let many = "SELECT count(DISTINCT a.play || b.play || c.play || d.play || e.play || f.play)
                FROM plays a CROSS JOIN plays b CROSS JOIN plays c CROSS JOIN plays d CROSS JOIN plays e CROSS JOIN plays f";
    let error = refused(&scene, many, Limits { memory_bytes: 200_000, ..Limits::default() }).await;
    assert!(matches!(error, QueryError::TooLarge(_)), "{error:?}");
    let error = refused(&scene, many, Limits { time: Duration::from_millis(1), ..Limits::default() }).await;
    assert!(matches!(error, QueryError::TooLong(_)), "{error:?}");
}

#[tokio::test]
async fn a_copy_is_one_whole_snapshot_and_never_of_other_bytes() {
    let scene = some_days().await;
    let folder = scene.config.state.dir.join("copy");
    let copied = scene.lake.export(&folder).await.unwrap();
    assert_eq!(copied.files.iter().map(|file| file.rows).sum::<i64>(), 5);
    for file in &copied.files {
        let bytes = std::fs::read(folder.join(&file.object)).unwrap();
        assert_eq!(i64::try_from(bytes.len()).unwrap(), file.bytes);
    }
    assert!(matches!(scene.lake.export(&folder).await, Err(ExportError::NotEmpty(_))));
    std::fs::write(scene.stored().first().unwrap(), "other bytes").unwrap();
    let error = scene.lake.export(&scene.config.state.dir.join("another")).await.unwrap_err();
    assert!(matches!(error, ExportError::Lake(LakeError::Contradiction(_) | LakeError::Objects(_))), "{error}");
    std::fs::remove_file(scene.stored().first().unwrap()).unwrap();
    let another = scene.config.state.dir.join("another");
    assert!(matches!(scene.lake.export(&another).await, Err(ExportError::Rewritten)));
    assert_eq!(std::fs::read_dir(&another).unwrap().count(), 0, "half a copy is none");
}

#[tokio::test]
async fn the_routes_tell_hours_and_forget() {
    let scene = some_days().await;
    let base = testing::serve_here("lake", lake::router(scene.lake.clone())).await;
    let hour = NOW.0 / 3_600_000 * 3_600_000;
    let told = |from: i64, until: i64| reqwest::get(format!("{base}/internal/lake/hours?from_ms={from}&until_ms={until}"));
    let mut hours: Value = told(hour, hour + 3_600_000).await.unwrap().json().await.unwrap();
    let written_to: Place = hours.as_object_mut().unwrap().remove("written_to").unwrap().as_str().unwrap().parse().unwrap();
    assert!(written_to.revision > 0);
    let expected = json!({
        "hours": [
            {"kind": "like", "hour_ms": hour, "rows_in": 1, "rows_out": 1, "forgotten": 0},
            {"kind": "play", "hour_ms": hour, "rows_in": 2, "rows_out": 2, "forgotten": 0},
        ],
        "held": [{"hour_ms": hour, "plays": 2, "valid": 1, "played_ms": 33_000}],
    });
    assert_eq!(hours, expected);
    for (from, until) in [(1, 0), (0, 33 * DAY_MS)] {
        assert_eq!(told(from, until).await.unwrap().status(), 400);
    }
    let delete = || reqwest::Client::new().delete(format!("{base}/internal/lake/accounts/{}", account(1))).send();
    assert_eq!((delete().await.unwrap().status(), delete().await.unwrap().status()), (204.try_into().unwrap(), 204.try_into().unwrap()));
    assert_eq!(scene.lake.listener(account(1)).await.unwrap(), None);
}
