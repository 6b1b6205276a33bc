//! Exactly once: whatever dies wherever, every row is in the lake once, and what is in the store is what the manifest names.

use lake::{
    LakeError,
    compact::{FAN_IN, QUIET_MS},
    rows::Kind,
    step::{Step, unwatched},
    sweep::GRACE_MS,
};
use serde_json::{Value, json};

use crate::scene::{DAY_MS, Scene, account, died, dies_at, play, scene, track};

/// Rows and plays among all versions, and rows as they were counted on their way.
async fn versions(scene: &Scene) -> (Value, i64) {
    let asked = scene.ask("SELECT count(*) AS n, count(DISTINCT play) AS plays FROM play_revisions").await;
    (asked[0].clone(), scene.number("SELECT coalesce(sum(rows_out), 0)::BIGINT FROM lake.hours WHERE kind = 'play'").await)
}

#[tokio::test]
async fn a_writer_killed_at_any_step_loses_and_repeats_nothing() {
    let scene = scene().await;
    let deaths = [
        (Step::Pulled, 1),
        (Step::Keyed, 1),
        (Step::Announced, 1),
        (Step::Stored, 1),
        (Step::Stored, 2),
        (Step::Written, 1),
        (Step::Committed, 1),
    ];
    for (n, (step, nth)) in (1..).zip(deaths) {
        // Two days, so that one file is stored and the other is not when it dies between them.
        scene.plays(account(n), play(n, 0), 1_000, "open").await;
        scene.plays(account(n), play(n, DAY_MS), 31_000, "provisional").await;
        scene.told().await;
        let before = scene.number("SELECT number FROM lake.snapshot").await;
        assert!(died(scene.lake.write(Kind::Play, &dies_at(step, nth))).await, "{step:?} was not reached {nth} times");
        let after = scene.number("SELECT number FROM lake.snapshot").await;
        assert_eq!(after - before, i64::from(step == Step::Committed), "what is there after {step:?}");
        scene.written().await;
        let rows = 2 * i64::from(n);
        assert_eq!(versions(&scene).await, (json!({"n": rows, "plays": rows}), rows), "after {step:?} ({nth})");
    }
    let named = scene.number("SELECT count(*) FROM lake.files").await;
    let stored = i64::try_from(scene.stored().len()).unwrap();
    assert_eq!(stored - named, 1 + 2 + 2, "one object of the death between two, two of each later one before the commit");
    scene.clock.advance(GRACE_MS - 1);
    assert_eq!(scene.lake.sweep(&unwatched).await.unwrap(), 0, "a writer may still be at it");
    scene.clock.advance(1);
    assert!(died(scene.lake.sweep(&dies_at(Step::Condemned, 1))).await);
    assert!(died(scene.lake.sweep(&dies_at(Step::Deleted, 1))).await);
    scene.lake.sweep(&unwatched).await.unwrap();
    assert_eq!(i64::try_from(scene.stored().len()).unwrap(), named);
    assert_eq!(scene.number("SELECT count(*) FROM lake.pending").await, 0);
    assert_eq!(versions(&scene).await.1, 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_slow_cannot_commit_what_is_being_removed() {
    let scene = scene().await;
    scene.plays(account(1), play(1, 0), 1_000, "open").await;
    scene.told().await;
    // The sweep runs while the writer stands between its objects and its commit, an hour late.
    let (pool, clock) = (scene.pool.clone(), scene.clock.clone());
    let condemned = |step| {
        if step == Step::Stored {
            clock.advance(GRACE_MS);
            let pool = pool.clone();
            let condemn = async move { sqlx::query("UPDATE lake.pending SET condemned = TRUE").execute(&pool).await.unwrap() };
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(condemn));
        }
    };
    let wrote = scene.lake.write(Kind::Play, &condemned).await;
    assert!(matches!(wrote, Err(LakeError::Overtaken)), "{wrote:?}");
    scene.written().await;
    assert_eq!(versions(&scene).await, (json!({"n": 1, "plays": 1}), 1));
}

#[tokio::test]
async fn two_writers_at_once_write_every_row_once() {
    let scene = scene().await;
    for n in 1..=20 {
        scene.plays(account(n), play(n, i64::from(n)), 1_000, "open").await;
        scene.likes(account(n), track(1), true, i64::from(n)).await;
    }
    scene.told().await;
    let write = |kind| scene.lake.write(kind, &unwatched);
    let (one, other, likes) = futures::join!(write(Kind::Play), write(Kind::Play), write(Kind::Like));
    for outcome in [one, other, likes] {
        assert!(matches!(outcome, Ok(_) | Err(LakeError::Overtaken)), "{outcome:?}");
    }
    scene.written().await;
    assert_eq!(versions(&scene).await, (json!({"n": 20, "plays": 20}), 20));
    assert_eq!(scene.ask("SELECT count(*) AS n FROM likes").await, json!([{"n": 20}]));
}

#[tokio::test]
async fn many_small_files_become_one_and_a_merge_killed_at_any_step_changes_nothing() {
    const ALL: &str = "SELECT day, play, played_ms, state FROM plays ORDER BY day, play";
    let scene = scene().await;
    for (n, at) in (1..).zip(0..i64::try_from(FAN_IN).unwrap()) {
        // One play that changes all the time, and a new one.
        scene.plays(account(99), play(99, 0), 1_000 * (at + 1), "open").await;
        scene.plays(account(n), play(n, at), 31_000, "provisional").await;
        scene.written().await;
    }
    let (before, files) = (scene.ask(ALL).await, scene.stored().len());
    assert_eq!(files, FAN_IN);
    assert_eq!(before.as_array().unwrap().len(), FAN_IN + 1);
    for step in [Step::Pulled, Step::Announced, Step::Stored, Step::Written] {
        assert!(died(scene.lake.compact(&dies_at(step, 1))).await, "{step:?} was not reached");
        assert_eq!(
            scene.number("SELECT count(*) FROM lake.files WHERE removed_in IS NULL").await,
            i64::try_from(FAN_IN).unwrap(),
            "{step:?}"
        );
    }
    assert!(died(scene.lake.compact(&dies_at(Step::Committed, 1))).await);
    let live = "SELECT count(*) FROM lake.files WHERE removed_in IS NULL";
    assert_eq!((scene.number(live).await, scene.ask(ALL).await), (1, before.clone()));
    assert_eq!(scene.lake.compact(&unwatched).await.unwrap(), None, "one file is not merged");
    assert_eq!(versions(&scene).await.0, json!({"n": FAN_IN + 1, "plays": FAN_IN + 1}));
    let superseded = scene.number("SELECT superseded FROM lake.files WHERE removed_in IS NULL").await;
    assert_eq!(superseded, i64::try_from(FAN_IN).unwrap() - 1, "the older versions of the play that changed");

    // The replaced files stay for whoever reads them, and then go.
    scene.lake.sweep(&unwatched).await.unwrap();
    assert!(scene.stored().len() > FAN_IN);
    scene.clock.advance(GRACE_MS);
    while scene.lake.sweep(&unwatched).await.unwrap() > 0 {}
    assert_eq!((scene.stored().len(), scene.ask(ALL).await), (1, before));
}

#[tokio::test]
async fn a_quiet_day_becomes_one_file_and_likes_keep_their_order() {
    let scene = scene().await;
    for (liked, at) in [(true, 1), (false, 2), (true, 3)] {
        scene.likes(account(1), track(1), liked, at).await;
        scene.written().await;
    }
    assert_eq!(scene.lake.compact(&unwatched).await.unwrap(), None);
    scene.clock.advance(QUIET_MS);
    let merged = scene.lake.compact(&unwatched).await.unwrap().unwrap();
    assert_eq!((merged.kind, merged.files, merged.rows, merged.superseded), (Kind::Like, 3, 3, 0));
    let said = scene.ask("SELECT liked FROM likes ORDER BY revision, position").await;
    assert_eq!(said, json!([{"liked": true}, {"liked": false}, {"liked": true}]));
}

#[tokio::test]
async fn what_waits_for_an_open_transaction_is_said_to_wait_and_comes_when_it_ends() {
    let scene = scene().await;
    let mut open = scene.pool.begin().await.unwrap();
    let number: i64 = sqlx::query_scalar("SELECT pg_current_xact_id()::TEXT::BIGINT").fetch_one(&mut *open).await.unwrap();
    scene.plays(account(1), play(1, 0), 1_000, "open").await;
    let wrote = scene.lake.write(Kind::Play, &unwatched).await.unwrap();
    // Another test's transaction may be older still.
    assert!(wrote.rows == 0 && wrote.held_by.is_some_and(|held_by| held_by <= number), "{wrote:?}");
    assert_eq!(scene.lake.write(Kind::Like, &unwatched).await.unwrap().held_by, None, "nothing of this feed waits");
    open.rollback().await.unwrap();
    scene.told().await;
    let wrote = scene.lake.write(Kind::Play, &unwatched).await.unwrap();
    assert_eq!((wrote.rows, wrote.held_by), (1, None));
}
