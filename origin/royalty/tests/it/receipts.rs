//! Segment receipts through PostgreSQL: what is believed, what is dropped and counted, and what a deployment makes of a listen without them.

use protocol::{
    PlayId, Role,
    heartbeat::StoredPost,
    keys::TokenKeys,
    listen::Uncorroborated::{self, Count, Void},
    receipt::Segment,
};
use royalty::{Model, Period, SettleRequest, jobs::fold, store::plays};
use serde_json::{Value, json};

use crate::scene::{NOW, Person, Play, Scene, a_listen, scene, track};

/// Segments of 6 s.
fn sealed(keys: &TokenKeys, play: PlayId, n: u32) -> String {
    Segment { n, start_ms: n * 6_000, end_ms: (n + 1) * 6_000 }.seal(keys, play, NOW).unwrap()
}

/// What covers [`a_listen`].
fn all_of(scene: &Scene, play: &Play) -> Vec<String> {
    (0..6).map(|n| sealed(&scene.keys.token, play.id, n)).collect()
}

fn with_receipts(play: &Play, receipts: Vec<String>) -> Vec<StoredPost> {
    let mut posts = Scene::posts(play, &a_listen());
    posts[1].receipts = receipts;
    posts
}

/// Receipts that come when every event is there already.
fn alone(play: &Play, receipts: Vec<String>) -> StoredPost {
    StoredPost { receipts, events: Vec::new(), ..Scene::posts(play, &a_listen()).remove(3) }
}

async fn fold_under(scene: &Scene, policy: Uncorroborated) {
    while fold::step(&scene.pool, policy, scene.clock.now()).await.unwrap() {}
}

/// `(state, reason, played_ms, corroborated)` of the listener's plays, newest first.
async fn listens(scene: &Scene, listener: &Person) -> Vec<Value> {
    let history = scene.get(listener, "/v1/me/history").await;
    let items = history["items"].as_array().unwrap().iter();
    items.map(|item| json!([item["state"], item["reason"], item["played_ms"], item["corroborated"]])).collect()
}

async fn counted(scene: &Scene) -> Vec<(i64, i64, i64)> {
    sqlx::query_as("SELECT echoed, believed, dropped FROM royalty.receipt_counts ORDER BY number, part")
        .fetch_all(&scene.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_listen_is_corroborated_by_its_own_receipts_and_by_no_others() {
    let scene = scene().await;
    let [honest, silent, thief, forger] = [1, 2, 3, 4].map(|n| scene.play(n, track(1), NOW.plus_ms(-60_000), n));
    let other_keys = TokenKeys::parse(&format!(r#"{{"current":1,"keys":{{"1":"{}"}}}}"#, "7".repeat(64))).unwrap();
    let stolen = all_of(&scene, &honest);
    let mut forged: Vec<String> = (0..6).map(|n| sealed(&other_keys, forger.id, n)).collect();
    let own = sealed(&scene.keys.token, forger.id, 0);
    let moved = own.replacen(".0.6000.", ".0.60000.", 1);
    forged.extend([own[..own.len() - 1].to_owned(), moved, String::new(), own]);
    scene.merge(with_receipts(&honest, stolen.clone())).await;
    scene.merge(Scene::posts(&silent, &a_listen())).await;
    scene.merge(with_receipts(&thief, stolen)).await;
    let answer = scene.merge(with_receipts(&forger, forged)).await;
    assert_eq!((answer["counted"].as_i64(), answer["quarantined"].as_i64()), (Some(4), Some(0)), "a bad receipt takes no event along");
    assert_eq!(counted(&scene).await, [(6, 6, 0), (6, 0, 6), (10, 1, 9)]);
    fold_under(&scene, Count).await;
    for (n, corroborated) in [(1, true), (2, false), (3, false), (4, false)] {
        let found = listens(&scene, &scene.person(n, Role::Listener)).await;
        assert_eq!(found, [json!(["provisional", null, 32_000, corroborated])], "listener {n}");
    }
    let proven: Vec<String> =
        sqlx::query_scalar("SELECT proven::TEXT FROM royalty.plays ORDER BY play").fetch_all(&scene.pool).await.unwrap();
    assert_eq!(proven.iter().filter(|proven| *proven != "{}").collect::<Vec<_>>(), ["{[0,36000)}", "{[0,6000)}"]);
}

#[tokio::test]
async fn receipts_that_come_late_twice_or_before_any_event_give_the_same_listen() {
    let orders: [&[usize]; 4] = [&[0, 1, 2], &[2, 1, 0], &[1, 0, 2, 0, 1], &[2, 2, 1, 0, 0]];
    for order in orders {
        let scene = scene().await;
        let play = scene.play(1, track(1), NOW.plus_ms(-60_000), 1);
        let receipts = all_of(&scene, &play);
        let batches =
            [Scene::posts(&play, &a_listen()), vec![alone(&play, receipts[..4].to_vec())], vec![alone(&play, receipts[2..].to_vec())]];
        for batch in order {
            scene.merge(batches[*batch].clone()).await;
            fold_under(&scene, Count).await;
        }
        assert_eq!(listens(&scene, &scene.person(1, Role::Listener)).await, [json!(["provisional", null, 32_000, true])], "{order:?}");
        let rows: Vec<(i64, i64, i64, String)> =
            sqlx::query_as("SELECT events, folded, last_received_at_ms - minted_at_ms, proven::TEXT FROM royalty.plays")
                .fetch_all(&scene.pool)
                .await
                .unwrap();
        assert_eq!(rows, [(4, 4, 32_100, "{[0,36000)}".to_owned())], "{order:?}");
    }
}

async fn dry_run(scene: &Scene, policy: Uncorroborated) -> u64 {
    let request = SettleRequest {
        period: "2026-11".parse::<Period>().unwrap(),
        currency: "EUR".parse().unwrap(),
        model: Model::ProRata,
        dry_run: true,
    };
    scene.royalty(scene.pool.clone()).with_uncorroborated(policy).settle(request).await.unwrap().listens
}

#[tokio::test]
async fn a_strict_deployment_pays_for_corroborated_listens_alone_and_a_change_of_mind_judges_again() {
    let scene = scene().await;
    let (one, two) = (scene.play(1, track(1), NOW.plus_ms(-60_000), 1), scene.play(2, track(1), NOW.plus_ms(-60_000), 2));
    scene.merge(with_receipts(&one, all_of(&scene, &one))).await;
    scene.merge(Scene::posts(&two, &a_listen())).await;
    let second = scene.person(2, Role::Listener);
    let void = json!(["void", "uncorroborated", 32_000, false]);
    assert_eq!(dry_run(&scene, Void).await, 1, "a settlement folds what waits by its deployment's policy");
    assert_eq!(listens(&scene, &second).await, std::slice::from_ref(&void));
    assert_eq!(scene.number("SELECT count(*) FROM royalty.plays WHERE rule_version = 3").await, 2);

    plays::judge_again(&scene.pool, Count, NOW).await.unwrap();
    assert_eq!(dry_run(&scene, Count).await, 2);
    plays::judge_again(&scene.pool, Void, NOW).await.unwrap();
    assert_eq!(dry_run(&scene, Void).await, 1);
    assert_eq!(listens(&scene, &second).await, [void]);

    // What the player kept arrives in the end.
    scene.merge(vec![alone(&two, all_of(&scene, &two))]).await;
    assert_eq!(dry_run(&scene, Void).await, 2);
    assert_eq!(listens(&scene, &second).await, [json!(["provisional", null, 32_000, true])]);
    assert_eq!(scene.number("SELECT count(*) FROM royalty.dirty_accounts").await, 0);
}
