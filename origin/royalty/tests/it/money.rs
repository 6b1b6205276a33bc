//! Listens become money once, to the unit, and everybody who is paid can check it.

use protocol::{AccountId, Role, TrackId};
use royalty::{
    settle::Payee,
    sum_tree::{self, Leaf, Node, Side},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::scene::{NOW, Person, Scene, a_listen, account, scene, track};

fn item(source_id: &str, listener: u8, period: &str, micros: i64) -> Value {
    json!({"source_id": source_id, "account_id": account(listener), "period": period, "territory": "DE",
           "amount": {"micros": micros, "currency": "EUR"}})
}

fn order(period: &str, model: &str, dry_run: bool) -> Value {
    json!({"period": period, "currency": "EUR", "model": model, "dry_run": dry_run})
}

impl Scene {
    async fn pay(&self, items: Vec<Value>) -> (u16, Value) {
        self.send(&self.admin(), "POST", "/v1/royalties/revenue", Some(json!({"items": items}))).await
    }

    async fn settle(&self, order: Value) -> (u16, Value) {
        self.send(&self.admin(), "POST", "/v1/royalties/settlements", Some(order)).await
    }

    async fn balance(&self, person: &Person) -> i64 {
        self.get(person, "/v1/royalties/balance").await["available"]["micros"].as_i64().unwrap()
    }

    async fn listens(&self, listener: u8, track: TrackId, times: u8) {
        for n in 0..times {
            let at = NOW.plus_ms(-3_600_000 - i64::from(n) * 60_000);
            self.hear(&self.play(listener, track, at, n), &a_listen()).await;
        }
    }
}

#[tokio::test]
async fn an_awkward_pool_is_shared_to_the_unit_and_a_second_run_posts_nothing() {
    let scene = scene().await;
    let artists = [scene.person(101, Role::Artist), scene.person(102, Role::Artist), scene.person(103, Role::Artist)];
    for (artist, n) in artists.iter().zip(1u8..) {
        scene.publish(track(n), artist.account, &format!("song {n}"), i64::from(n)).await;
        scene.listens(n, track(n), 1).await;
    }
    let (status, taken) = scene.pay(vec![item("invoice-1", 1, "2026-11", 10_000_019)]).await;
    assert_eq!((status, taken), (201, json!({"accepted": 1, "duplicate": 0})));

    let (status, dry) = scene.settle(order("2026-11", "pro_rata", true)).await;
    assert_eq!((status, scene.number("SELECT count(*) FROM royalty.settlements").await), (201, 0), "{dry}");
    let (status, first) = scene.settle(order("2026-11", "pro_rata", false)).await;
    assert_eq!(status, 201, "{first}");
    assert_eq!(first["pool"], json!({"micros": 10_000_019, "currency": "EUR"}));
    assert_eq!((first["paid"]["micros"].as_i64(), first["remainder"]["micros"].as_i64()), (Some(10_000_000), Some(19)));
    assert_eq!((first["listens"].as_i64(), &first["root"], &first["inputs_sha256"]), (Some(3), &dry["root"], &dry["inputs_sha256"]));

    let mut balances = vec![];
    for artist in &artists {
        balances.push(scene.balance(artist).await);
    }
    assert_eq!(balances, [3_340_000, 3_330_000, 3_330_000]);
    let transfers = scene.number("SELECT count(*) FROM royalty.transfers").await;
    assert_eq!(scene.settle(order("2026-11", "pro_rata", false)).await, (201, first.clone()));
    assert_eq!(scene.settle(order("2026-11", "pro_rata", true)).await, (201, first));
    assert_eq!(scene.number("SELECT count(*) FROM royalty.transfers").await, transfers);
    assert_eq!(scene.number("SELECT sum(micros)::BIGINT FROM royalty.balances").await, 0);
    assert_eq!(scene.number("SELECT micros::BIGINT FROM royalty.balances WHERE kind = 'pool'").await, 0);

    let (status, other) = scene.settle(order("2026-11", "user_centric", false)).await;
    assert_eq!((status, other["code"].as_str()), (409, Some("settled_otherwise")));
    let (status, compared) = scene.settle(order("2026-11", "user_centric", true)).await;
    assert_eq!((status, &compared["inputs_sha256"]), (201, &dry["inputs_sha256"]), "{compared}");
}

#[tokio::test]
async fn a_statement_adds_up_is_private_and_proves_itself() {
    let scene = scene().await;
    let (artist, stranger) = (scene.person(101, Role::Artist), scene.person(102, Role::Artist));
    for (n, owner) in [(1u8, &artist), (2, &artist), (3, &stranger), (4, &stranger)] {
        scene.publish(track(n), owner.account, &format!("=song, {n}"), i64::from(n)).await;
        scene.listens(n, track(n), n).await;
    }
    scene.listens(9, track(9), 2).await;
    scene.pay(vec![item("a", 1, "2026-11", 7_777_777), item("b", 9, "2026-11", 1_000_003)]).await;
    let (_, settlement) = scene.settle(order("2026-11", "user_centric", false)).await;
    let statements = scene.get(&artist, "/v1/royalties/statements").await;
    assert_eq!(statements["items"].as_array().map(Vec::len), Some(1));
    let head = &statements["items"][0];
    let path = format!("/v1/royalties/statements/{}", head["id"].as_str().unwrap());
    let statement = scene.get(&artist, &path).await;
    let lines = statement["lines"].as_array().unwrap();
    let sum: i64 = lines.iter().map(|line| line["amount"]["micros"].as_i64().unwrap()).sum();
    assert_eq!((Some(sum), &statement["amount"]), (head["amount"]["micros"].as_i64(), &head["amount"]));
    assert_eq!(sum, scene.balance(&artist).await);
    assert_eq!(head["listens"], 3);
    assert_eq!(scene.send(&stranger, "GET", &path, None).await.0, 404);
    assert_eq!(scene.send(&stranger, "GET", &format!("{path}/proof"), None).await.0, 404);

    let csv = scene.text(&artist, &format!("{path}.csv")).await;
    assert!(csv.starts_with("period,model,track,") && csv.contains("\"'=song, 1\"") && csv.lines().count() == 3, "{csv}");
    let tsv = scene.text(&artist, &format!("{path}.tsv")).await;
    let records: Vec<Vec<&str>> = tsv.lines().map(|line| line.split('\t').collect()).collect();
    let types: Vec<&str> = records.iter().map(|record| record[0]).collect();
    let block = ["AS02.01", "SU03.01", "LI01.01"];
    assert_eq!(types, [["HEAD", "SY07"].as_slice(), &block, &block, &["FOOT"]].concat(), "{tsv}");
    let micros = |amount: &str| amount.replace('.', "").parse::<i64>().unwrap();
    let amounts: i64 = records.iter().filter(|record| record[0] == "LI01.01").map(|record| micros(record[9])).sum();
    assert_eq!(amounts, micros(records[1][16]), "{tsv}");
    let wanted =
        scene.request("GET", &path).bearer_auth(&artist.token).header("accept", "text/tab-separated-values; q=1").send().await.unwrap();
    assert_eq!(wanted.headers()["content-type"], "text/tab-separated-values; charset=utf-8");
    assert_eq!(wanted.text().await.unwrap(), tsv);

    let proof = scene.get(&artist, &format!("{path}/proof")).await;
    assert_eq!((&proof["root"]["hash"], &proof["root"]["micros"]), (&settlement["root"], &settlement["paid"]["micros"]));
    assert_eq!(proof["root"]["hash"], json!(hex::encode(climb(&proof).hash)));
    assert_eq!(proof["leaf"]["micros"], head["amount"]["micros"]);
    assert_eq!(scene.number("SELECT micros::BIGINT FROM royalty.balances WHERE kind = 'unclaimed'").await, 1_000_000);
}

/// What an outsider does with a proof.
fn climb(proof: &Value) -> Node {
    let bytes = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
    let payee: Uuid = proof["leaf"]["payee"].as_str().unwrap().parse().unwrap();
    let leaf = Leaf {
        salt: bytes(&proof["leaf"]["salt"]).try_into().unwrap(),
        payee: Payee::Account(AccountId(payee)),
        micros: proof["leaf"]["micros"].as_i64().unwrap(),
    };
    let step = |step: &Value| {
        let side = if step["side"] == "left" { Side::Left } else { Side::Right };
        (side, Node { hash: bytes(&step["hash"]).try_into().unwrap(), micros: step["micros"].as_i64().unwrap() })
    };
    let path: Vec<_> = proof["path"].as_array().unwrap().iter().map(step).collect();
    sum_tree::climb(&leaf, &path, usize::try_from(proof["leaves"].as_u64().unwrap()).unwrap())
}

#[tokio::test]
async fn a_split_pays_from_its_instant_on_and_must_be_whole() {
    let scene = scene().await;
    let (artist, friend) = (scene.person(101, Role::Artist), scene.person(102, Role::Artist));
    scene.publish(track(1), artist.account, "song", 1).await;
    let path = format!("/v1/me/tracks/{}/splits", track(1));
    let split = |from: &str, own: u32, other: u32| json!({"effective_from": from, "shares": [{"payee": artist.account, "basis_points": own}, {"payee": friend.account, "basis_points": other}]});
    let put = async |person: &Person, body: Value| {
        let (status, answer) = scene.send(person, "PUT", &path, Some(body)).await;
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(put(&artist, split("2026-11-01T00:00:00Z", 5_000, 4_999)).await, (422, "splits_do_not_add_up".to_owned()));
    assert_eq!(put(&artist, split("2026-11-01T00:00:00Z", 4_294_967_295, 10_001)).await, (422, "splits_do_not_add_up".to_owned()));
    assert_eq!(put(&artist, split("yesterday", 5_000, 5_000)).await, (422, "bad_item".to_owned()));
    assert_eq!(put(&friend, split("2026-11-01T00:00:00Z", 0, 10_000)).await, (404, "no_such_track".to_owned()));
    // Half and half until an hour and a half ago, then all but a hundredth to the friend; one of four listens is older than that.
    assert_eq!(put(&artist, split("2026-11-01T00:00:00Z", 5_000, 5_000)).await.0, 200);
    assert_eq!(put(&artist, split("2026-11-24T20:08:00Z", 100, 9_900)).await.0, 200);
    assert_eq!(put(&artist, split("2026-11-24T20:08:00Z", 100, 9_900)).await.0, 200);
    assert_eq!(scene.number("SELECT count(*) FROM royalty.splits").await, 2);
    scene.listens(1, track(1), 3).await;
    scene.hear(&scene.play(1, track(1), NOW.plus_ms(-7_200_000), 50), &a_listen()).await;
    scene.pay(vec![item("a", 1, "2026-11", 4_000_000)]).await;
    scene.settle(order("2026-11", "pro_rata", false)).await;
    assert_eq!((scene.balance(&artist).await, scene.balance(&friend).await), (530_000, 3_470_000));
}

#[tokio::test]
async fn revenue_sent_again_at_once_or_altered_counts_once() {
    let scene = scene().await;
    let items = vec![item("x", 1, "2026-11", 5), item("y", 2, "2026-11", 6)];
    let (one, two, three) = tokio::join!(scene.pay(items.clone()), scene.pay(items.clone()), scene.pay(items));
    let accepted: i64 = [&one, &two, &three]
        .iter()
        .map(|(status, taken)| {
            assert_eq!(*status, 201, "{taken}");
            taken["accepted"].as_i64().unwrap()
        })
        .sum();
    assert_eq!((accepted, scene.number("SELECT micros::BIGINT FROM royalty.balances WHERE kind = 'pool'").await), (2, 11));
    for altered in [item("x", 1, "2026-11", 7), item("x", 2, "2026-11", 5), item("x", 1, "2026-12", 5)] {
        let (status, refused) = scene.pay(vec![item("z", 3, "2026-11", 1), altered]).await;
        assert_eq!((status, refused["code"].as_str()), (409, Some("source_conflict")));
    }
    let (status, refused) = scene.pay(vec![item("q", 1, "2026-11", 1), item("q", 1, "2026-11", 2)]).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("source_conflict")));
    for bad in [item("", 1, "2026-11", 1), item("n", 1, "2026-11", 0), item("n", 1, "2026-11", -5)] {
        assert_eq!(scene.pay(vec![bad]).await.0, 422);
    }
    assert_eq!(scene.number("SELECT count(*) FROM royalty.revenue").await, 2, "a refused call left something behind");
}

#[tokio::test]
async fn settlements_asked_for_at_once_are_one() {
    let scene = scene().await;
    let artist = scene.person(101, Role::Artist);
    scene.publish(track(1), artist.account, "song", 1).await;
    scene.listens(1, track(1), 2).await;
    scene.pay(vec![item("a", 1, "2026-11", 1_000_000)]).await;
    let order = || order("2026-11", "pro_rata", false);
    let (one, two, three) = tokio::join!(scene.settle(order()), scene.settle(order()), scene.settle(order()));
    assert_eq!((one.0, &one), (201, &two));
    assert_eq!(two, three);
    assert_eq!(scene.balance(&artist).await, 1_000_000);
}

#[tokio::test]
async fn a_settlement_waits_for_a_fold_that_is_under_way() {
    let scene = scene().await;
    let artist = scene.person(101, Role::Artist);
    scene.publish(track(1), artist.account, "song", 1).await;
    scene.pay(vec![item("a", 1, "2026-11", 1_000_000)]).await;
    scene.merge(Scene::posts(&scene.play(1, track(1), NOW.plus_ms(-60_000), 1), &a_listen())).await;
    let mut folding = scene.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM royalty.dirty_accounts FOR UPDATE").execute(&mut *folding).await.unwrap();
    let settling = scene.settle(order("2026-11", "pro_rata", false));
    tokio::pin!(settling);
    let early = tokio::time::timeout(std::time::Duration::from_millis(300), &mut settling).await;
    assert!(early.is_err(), "settled without the listen that was being judged: {early:?}");
    folding.rollback().await.unwrap();
    let (status, settlement) = settling.await;
    assert_eq!((status, settlement["listens"].as_i64()), (201, Some(1)), "{settlement}");
}

#[tokio::test]
async fn an_answer_is_given_again_under_its_idempotency_key() {
    let scene = scene().await;
    let send = async || {
        let request = scene.request("POST", "/v1/royalties/revenue").bearer_auth(&scene.admin().token);
        let answer = request.header("idempotency-key", "k1").json(&json!({"items": [item("a", 1, "2026-11", 5)]})).send().await.unwrap();
        let replayed = answer.headers().contains_key("idempotency-replayed");
        (replayed, answer.json::<Value>().await.unwrap())
    };
    let taken = json!({"accepted": 1, "duplicate": 0});
    assert_eq!([send().await, send().await], [(false, taken.clone()), (true, taken)]);
}

#[tokio::test]
async fn what_a_period_could_not_pay_and_listens_that_came_late_are_in_the_next() {
    let scene = scene().await;
    let artist = scene.person(101, Role::Artist);
    let listener = scene.person(1, Role::Listener);
    scene.publish(track(1), artist.account, "song", 1).await;
    scene.listens(1, track(1), 1).await;
    scene.pay(vec![item("a", 1, "2026-11", 1_007_000)]).await;
    let (_, november) = scene.settle(order("2026-11", "pro_rata", false)).await;
    assert_eq!((november["remainder"]["micros"].as_i64(), november["listens"].as_i64()), (Some(7_000), Some(1)));
    let (status, refused) = scene.pay(vec![item("late", 1, "2026-11", 5)]).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("period_closed")));
    assert_eq!(scene.pay(vec![item("a", 1, "2026-11", 1_007_000)]).await.1, json!({"accepted": 0, "duplicate": 1}));

    // A listen of November that reaches us after its settlement, and a heartbeat that would change a listen that is final.
    scene.hear(&scene.play(2, track(1), NOW.plus_ms(-90_000), 77), &a_listen()).await;
    let final_play = scene.play(1, track(1), NOW.plus_ms(-3_600_000), 0);
    scene.hear(&final_play, &[(4, protocol::heartbeat::EventKind::Progress, 32_000, 47_000, 48_000)]).await;
    let history = scene.get(&listener, "/v1/me/history").await;
    assert_eq!((history["items"][0]["state"].as_str(), history["items"][0]["played_ms"].as_i64()), (Some("final"), Some(32_000)));

    scene.pay(vec![item("b", 1, "2026-12", 2_004_000)]).await;
    let (_, december) = scene.settle(order("2026-12", "pro_rata", false)).await;
    assert_eq!((december["carried_in"]["micros"].as_i64(), december["pool"]["micros"].as_i64()), (Some(7_000), Some(2_011_000)));
    assert_eq!((december["listens"].as_i64(), december["remainder"]["micros"].as_i64()), (Some(1), Some(1_000)));
    assert_eq!(scene.balance(&artist).await, 3_010_000);
    assert_eq!(scene.number("SELECT micros::BIGINT FROM royalty.balances WHERE kind = 'carry'").await, 1_000);
    assert_eq!(scene.number("SELECT sum(micros)::BIGINT FROM royalty.balances").await, 0);
}

#[tokio::test]
async fn an_order_that_makes_no_sense_is_refused_by_name() {
    let scene = scene().await;
    let sek = json!({"period": "2026-11", "currency": "SEK", "model": "pro_rata"});
    assert_eq!(scene.settle(sek).await.1["code"], "currency_not_supported");
    for (body, word) in [
        (json!({"period": "2026-13", "currency": "EUR", "model": "pro_rata"}), "month"),
        (json!({"period": "2026-11", "currency": "EUR", "model": "winner_takes_all"}), "winner_takes_all"),
        (json!({"period": "2026-11", "currency": "EUR", "model": "pro_rata", "force": true}), "force"),
    ] {
        let (status, answer) = scene.settle(body).await;
        assert!(status == 400 && answer.to_string().contains(word), "{status} {answer}");
    }
}
