//! Every acknowledged record is counted once, known as a duplicate, or quarantined with a reason.

use protocol::{
    Role, UnixMs,
    heartbeat::{EventKind, StoredPost},
};
use serde_json::json;

use crate::scene::{NOW, Scene, a_listen, scene, track};

/// A small generator with a seed in the failure message; what it drives is a multiset of records, in any order.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % below
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            let other = self.roll(end + 1);
            items.swap(end, other);
        }
    }
}

#[tokio::test]
async fn duplicated_and_shuffled_heartbeats_give_one_listen() {
    let scene = scene().await;
    let listener = scene.person(1, Role::Listener);
    let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
    let posts = Scene::posts(&play, &a_listen());
    let mut thrice: Vec<StoredPost> = [posts.clone(), posts.clone(), posts].concat();
    Dice(42).shuffle(&mut thrice);
    for some in thrice.chunks(5) {
        scene.merge(some.to_vec()).await;
    }
    let counts = scene.counts("2026-11").await;
    assert_eq!((counts["acked"].as_i64(), counts["duplicate"].as_i64(), counts["pending"].as_i64()), (Some(12), Some(8), Some(4)));

    scene.fold().await;
    let counts = scene.counts("2026-11").await;
    assert_eq!(counts, json!({"acked": 12, "counted": 4, "quarantined": 0, "duplicate": 8, "pending": 0}));
    let history = scene.get(&listener, "/v1/me/history").await;
    assert_eq!(history["items"].as_array().map(Vec::len), Some(1));
    let item = &history["items"][0];
    assert_eq!((item["state"].as_str(), item["played_ms"].as_i64()), (Some("provisional"), Some(32_000)));
    assert_eq!(
        (item["play_id"].as_str(), item["started_at"].as_str()),
        (Some(play.id.to_string().as_str()), Some("2026-11-24T21:37:00.000Z"))
    );
}

#[tokio::test]
async fn a_stock_players_reports_are_one_listen_in_whatever_order_they_come() {
    let scene = scene().await;
    let listener = scene.person(1, Role::Listener);
    let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
    let line =
        |seq: u32, state: &str, at_s: i64| format!("e=ps,sid=\"s\",sn={seq},sta={state},ts={},v=2\n", 1_000_000_000_000 + at_s * 1000);
    // Its clock is decades off, and it paused for half a minute.
    let lines = [line(0, "s", 0), line(1, "p", 1), line(2, "a", 11), line(3, "p", 26), line(4, "e", 51)];
    let receipts = [100, 1_100, 11_100, 26_100, 51_100];
    let mut posts: Vec<StoredPost> = Vec::new();
    for (line, after_ms) in lines.iter().zip(receipts) {
        let report = protocol::cmcd::report::parse(line.as_bytes(), Some(&play.ticket)).unwrap();
        let (post, rejected) = report.receive(200_000, play.id.minted_at().plus_ms(after_ms));
        assert!(rejected.is_empty(), "{rejected:?}");
        posts.extend([post.clone(), post]);
    }
    Dice(7).shuffle(&mut posts);
    for some in posts.chunks(3) {
        scene.merge(some.to_vec()).await;
    }
    scene.fold().await;
    assert_eq!(scene.counts("2026-11").await, json!({"acked": 10, "counted": 5, "quarantined": 0, "duplicate": 5, "pending": 0}));
    let item = &scene.get(&listener, "/v1/me/history").await["items"][0];
    assert_eq!((item["state"].as_str(), item["played_ms"].as_i64()), (Some("provisional"), Some(35_000)), "{item}");
}

/// What the rule sees, as text.
async fn evidence(scene: &Scene) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT format('%s %s %s %s', e.*, p.state, p.reason, p.played_ms)
         FROM royalty.events AS e JOIN royalty.plays AS p USING (play) ORDER BY e.play, sender, seq",
    )
    .fetch_all(&scene.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn any_order_of_the_same_records_gives_the_same_rows() {
    let reference = scene().await;
    let plays: Vec<_> = (0..4u8).map(|n| reference.play(n % 2, track(n), NOW.plus_ms(-120_000 + i64::from(n) * 20_000), n)).collect();
    let mut posts: Vec<StoredPost> = plays.iter().flat_map(|play| Scene::posts(play, &a_listen())).collect();
    // The same records once more, received later: a retry through another edge.
    let late = posts.clone().into_iter().map(|post| StoredPost { received_at_ms: post.received_at_ms.plus_ms(3_000), ..post });
    posts.extend(late.collect::<Vec<_>>());
    reference.merge(posts.clone()).await;
    reference.fold().await;
    let expected = evidence(&reference).await;
    assert_eq!(expected.len(), 16);
    for seed in 1..=8 {
        let other = scene().await;
        let mut dice = Dice(seed * 7_919);
        let mut shuffled = posts.clone();
        dice.shuffle(&mut shuffled);
        while !shuffled.is_empty() {
            let rest = shuffled.split_off(shuffled.len().min(1 + dice.roll(9)));
            other.merge(shuffled).await;
            shuffled = rest;
            if dice.roll(3) == 0 {
                other.fold().await;
            }
        }
        other.fold().await;
        assert_eq!(evidence(&other).await, expected, "seed {seed}");
        let counts = other.counts("2026-11").await;
        assert_eq!((counts["counted"].as_i64(), counts["duplicate"].as_i64()), (Some(16), Some(16)), "seed {seed}");
    }
}

#[tokio::test]
async fn the_same_batch_counts_once_however_often_and_at_once_it_is_sent() {
    let scene = scene().await;
    let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
    let batch = Scene::batch(Scene::posts(&play, &a_listen()));
    let answers = tokio::join!(
        scene.send_batch(&batch),
        scene.send_batch(&batch),
        scene.send_batch(&batch),
        scene.send_batch(&batch),
        scene.send_batch(&batch),
    );
    let mut outcomes = vec![];
    for (status, answer) in [answers.0, answers.1, answers.2, answers.3, answers.4] {
        assert_eq!((status, answer["counted"].as_i64()), (200, Some(4)), "{answer}");
        outcomes.push(answer["outcome"].as_str().unwrap().to_owned());
    }
    outcomes.sort();
    assert_eq!(outcomes, ["already_merged", "already_merged", "already_merged", "already_merged", "merged"]);
    let mut other = batch;
    other.posts.pop();
    let (status, answer) = scene.send_batch(&other).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("batch_conflict")));
    assert_eq!(scene.counts("2026-11").await["acked"], 4);
}

#[tokio::test]
async fn buffers_that_report_the_same_plays_at_once_neither_deadlock_nor_count_twice() {
    let scene = scene().await;
    let plays: Vec<_> = (0..20u8).map(|n| scene.play(n, track(n), NOW.plus_ms(-60_000), n)).collect();
    let posts: Vec<StoredPost> = plays.iter().flat_map(|play| Scene::posts(play, &a_listen())).collect();
    let mut dice = Dice(99);
    let batches: Vec<_> = (0..12)
        .map(|_| {
            let mut posts = posts.clone();
            dice.shuffle(&mut posts);
            Scene::batch(posts)
        })
        .collect();
    let (one, rest) = batches.split_at(4);
    let (two, three) = rest.split_at(4);
    let send = async |batches: &[_]| {
        for batch in batches {
            let (status, answer) = scene.send_batch(batch).await;
            assert_eq!(status, 200, "{answer}");
        }
    };
    tokio::join!(send(one), send(two), send(three), scene.fold(), scene.fold());
    scene.fold().await;
    let counts = scene.counts("2026-11").await;
    assert_eq!(counts, json!({"acked": 960, "counted": 80, "quarantined": 0, "duplicate": 880, "pending": 0}));
}

#[tokio::test]
async fn a_bad_record_is_quarantined_and_the_rest_of_its_batch_counts() {
    let scene = scene().await;
    let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
    let good = Scene::posts(&play, &a_listen());
    let forged = StoredPost { ticket: "A".repeat(130), ..good[0].clone() };
    let hostile = StoredPost { sender: "\u{0}'; DROP".to_owned(), ticket: "\u{0}".to_owned(), ..good[1].clone() };
    let absurd = StoredPost { received_at_ms: UnixMs(i64::MAX), ..good[2].clone() };
    let ancient = StoredPost { received_at_ms: UnixMs(i64::MIN), ..good[2].clone() };
    let mut contradiction = good[2].clone();
    contradiction.received_at_ms = contradiction.received_at_ms.plus_ms(1);
    contradiction.events[0].to_ms += 1;
    let answer = scene.merge([good, vec![forged, hostile, absurd, ancient, contradiction]].concat()).await;
    assert_eq!((answer["acked"].as_i64(), answer["counted"].as_i64(), answer["quarantined"].as_i64()), (Some(9), Some(4), Some(5)));
    let reasons: Vec<String> =
        sqlx::query_scalar("SELECT reason FROM royalty.quarantine ORDER BY reason").fetch_all(&scene.pool).await.unwrap();
    assert_eq!(
        reasons,
        ["other_content_under_this_name", "play_from_the_future", "received_in_the_future", "ticket_invalid", "ticket_invalid"]
    );
    scene.fold().await;
    scene.counts("2026-11").await;
}

#[tokio::test]
async fn an_event_that_was_counted_is_not_replaced_by_another_of_its_name() {
    let scene = scene().await;
    let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
    scene.hear(&play, &[(0, EventKind::Progress, 0, 10_000, 10_000)]).await;
    let answer = scene.merge(Scene::posts(&play, &[(0, EventKind::Progress, 0, 20_000, 10_000)])).await;
    assert_eq!(answer["quarantined"], 1);
    assert_eq!(scene.number("SELECT max(to_ms) FROM royalty.events").await, 10_000);
}

#[tokio::test]
async fn plays_at_the_same_time_on_two_devices_are_one_listen_whichever_is_reported_first() {
    for later_first in [false, true] {
        let scene = scene().await;
        let listener = scene.person(1, Role::Listener);
        let (one, two) = (scene.play(1, track(1), NOW.plus_ms(-60_000), 1), scene.play(1, track(2), NOW.plus_ms(-59_000), 2));
        let (first, second) = if later_first { (&two, &one) } else { (&one, &two) };
        scene.hear(first, &a_listen()).await;
        scene.hear(second, &a_listen()).await;
        let history = scene.get(&listener, "/v1/me/history").await;
        let states: Vec<_> =
            history["items"].as_array().unwrap().iter().map(|item| (item["state"].as_str(), item["reason"].as_str())).collect();
        assert_eq!(states, [(Some("void"), Some("overlapping_plays")), (Some("provisional"), None)], "later first: {later_first}");
    }
}

#[tokio::test]
async fn a_play_of_an_older_day_is_merged_without_anybody_preparing_its_partition() {
    let scene = scene().await;
    let before = scene.number("SELECT count(*) FROM pg_inherits WHERE inhparent = 'royalty.plays'::regclass").await;
    let play = scene.play(1, track(1), NOW.plus_ms(-40 * 86_400_000), 1);
    scene.hear(&play, &a_listen()).await;
    assert_eq!(scene.counts("2026-10").await["counted"], 4);
    let after = scene.number("SELECT count(*) FROM pg_inherits WHERE inhparent = 'royalty.plays'::regclass").await;
    assert_eq!(after, before + 1);
}

#[tokio::test]
async fn a_buffer_that_was_offline_for_days_loses_nothing() {
    let scene = scene().await;
    let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
    let batch = Scene::batch(Scene::posts(&play, &a_listen()));
    scene.clock.advance(20 * 86_400_000);
    let (status, answer) = scene.send_batch(&batch).await;
    assert_eq!((status, answer["counted"].as_i64()), (200, Some(4)), "{answer}");
}

#[tokio::test]
async fn history_goes_on_where_the_page_before_ended_and_names_the_track() {
    let scene = scene().await;
    let listener = scene.person(1, Role::Listener);
    scene.publish(track(1), listener.account, "A Song", 1).await;
    for n in 0..5u8 {
        let play = scene.play(1, track(1), NOW.plus_ms(-600_000 + i64::from(n) * 60_000), n);
        scene.hear(&play, &a_listen()).await;
    }
    let first = scene.get(&listener, "/v1/me/history?limit=3").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = scene.get(&listener, &format!("/v1/me/history?limit=3&cursor={cursor}")).await;
    let titles =
        |page: &serde_json::Value| page["items"].as_array().unwrap().iter().filter(|item| item["track"]["title"] == "A Song").count();
    assert_eq!((titles(&first), titles(&second), second["next_cursor"].is_null()), (3, 2, true));
    assert!(first["items"][2]["play_id"].as_str() > second["items"][0]["play_id"].as_str());
    assert_eq!(scene.get(&scene.person(2, Role::Listener), "/v1/me/history").await["items"], json!([]));
    let popular: serde_json::Value = scene.request("GET", "/internal/popularity?limit=5").send().await.unwrap().json().await.unwrap();
    assert_eq!(popular["items"], json!([{"track": track(1), "listens": 5}]));
}
