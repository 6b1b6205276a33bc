//! A play's rows lie in the partition of the day it was minted, which nobody has to prepare.

use platform::Shutdown;

use crate::{
    intake::until,
    scene::{NOW, Scene, a_listen, scene, track},
};

const DAY_MS: i64 = 86_400_000;
/// 2026-11-24T23:59:59.900Z.
const BEFORE_MIDNIGHT_MS: i64 = 2 * 3_600_000 + 22 * 60_000 - 100;

async fn days(scene: &Scene, table: &str) -> Vec<String> {
    sqlx::query_scalar("SELECT right(inhrelid::regclass::TEXT, 8) FROM pg_inherits WHERE inhparent = $1::regclass ORDER BY 1")
        .bind(format!("royalty.{table}"))
        .fetch_all(&scene.db.owner())
        .await
        .unwrap()
}

/// `(day, plays)` of every partition that holds something.
async fn filled(scene: &Scene) -> Vec<(String, i64)> {
    sqlx::query_as("SELECT right(tableoid::regclass::TEXT, 8), count(*) FROM royalty.plays GROUP BY 1 ORDER BY 1")
        .fetch_all(&scene.db.owner())
        .await
        .unwrap()
}

#[tokio::test]
async fn coming_days_are_ready_before_they_begin_and_old_ones_stay() {
    let scene = scene().await;
    let royalty = scene.royalty(scene.pool.clone());
    let made_at = async || {
        let stop = Shutdown::new();
        // The maintenance makes what is needed before it first looks at the stop.
        let (kept, stopped) = (royalty.clone(), stop.clone());
        let job = tokio::spawn(async move { kept.keep_partitions(stopped).await });
        let ahead = day_name(scene.clock.now().plus_ms(3 * DAY_MS));
        until("the third day ahead is made", async || days(&scene, "plays").await.contains(&ahead)).await;
        stop.request();
        job.await.unwrap();
        assert_eq!(days(&scene, "plays").await, days(&scene, "events").await);
        days(&scene, "plays").await
    };
    let first = made_at().await;
    assert_eq!((first.first().unwrap().as_str(), first.last().unwrap().as_str()), ("20261116", "20261127"));
    assert_eq!(first.len(), 12);
    scene.clock.advance(30 * DAY_MS);
    let later = made_at().await;
    assert!(first.iter().all(|day| later.contains(day)), "old days are kept: {later:?}");
    assert_eq!(later.last().unwrap(), "20261227");
}

fn day_name(at: protocol::UnixMs) -> String {
    let date = jiff::Timestamp::from_millisecond(at.0).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    date.strftime("%Y%m%d").to_string()
}

#[tokio::test]
async fn at_midnight_each_play_goes_to_the_day_of_its_mint_however_late_it_is_reported() {
    let scene = scene().await;
    // Nothing is prepared: no maintenance has run on this database.
    assert_eq!(days(&scene, "plays").await, [""; 0]);
    let eve = NOW.plus_ms(BEFORE_MIDNIGHT_MS);
    let (last, first) = (scene.play(1, track(1), eve, 1), scene.play(2, track(2), eve.plus_ms(100), 2));
    scene.clock.advance(BEFORE_MIDNIGHT_MS + 60_000);
    // Both days in one batch, and the events of the old day's play are received in the new day.
    scene.merge([Scene::posts(&last, &a_listen()), Scene::posts(&first, &a_listen())].concat()).await;
    assert_eq!(filled(&scene).await, [("20261124".to_owned(), 1), ("20261125".to_owned(), 1)]);
    // A day and a half later the rest of the first play comes, from a player that was offline: to its own day.
    scene.clock.advance(DAY_MS + DAY_MS / 2);
    let rest = (4, protocol::heartbeat::EventKind::Stop, 32_000, 40_000, DAY_MS + DAY_MS / 2);
    let answer = scene.merge(Scene::posts(&last, &[rest])).await;
    assert_eq!(answer["counted"], 1, "{answer}");
    assert_eq!(filled(&scene).await, [("20261124".to_owned(), 1), ("20261125".to_owned(), 1)]);
    scene.fold().await;
    let counts = scene.counts("2026-11").await;
    assert_eq!((counts["counted"].as_i64(), counts["pending"].as_i64()), (Some(9), Some(0)));
}

#[tokio::test]
async fn many_merges_that_need_a_day_nobody_made_make_it_once() {
    let scene = scene().await;
    let merge = async |n: u8| {
        let play = scene.play(n, track(n), NOW.plus_ms(-7 * DAY_MS + i64::from(n)), n);
        scene.merge(Scene::posts(&play, &a_listen())).await
    };
    let answers = tokio::join!(merge(1), merge(2), merge(3), merge(4), merge(5), merge(6));
    for answer in [answers.0, answers.1, answers.2, answers.3, answers.4, answers.5] {
        assert_eq!(answer["counted"], 4, "{answer}");
    }
    assert_eq!(filled(&scene).await, [("20261117".to_owned(), 6)]);
}
