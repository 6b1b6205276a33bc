//! An account whose key is destroyed: what it did stays as numbers that are nobody's.

use lake::{LakeError, rows::Kind, step::unwatched};
use serde_json::json;

use crate::scene::{DAY_MS, account, play, scene, track};

#[tokio::test]
async fn what_was_forgotten_stays_counted_and_leads_to_nobody() {
    let scene = scene().await;
    let (forgotten, other) = (account(1), account(2));
    scene.plays(forgotten, play(1, 0), 31_000, "provisional").await;
    scene.plays(forgotten, play(2, 1_000), 1_000, "open").await;
    scene.likes(forgotten, track(1), true, 0).await;
    scene.plays(other, play(3, 0), 31_000, "provisional").await;
    scene.written().await;
    let old = scene.lake.listener(forgotten).await.unwrap().unwrap();
    let of = |listener: &str| format!("SELECT count(*) AS n FROM plays WHERE listener = '{listener}'");
    assert_eq!(scene.ask(&of(&old)).await, json!([{"n": 2}]));
    let rows = scene.ask("SELECT * FROM plays").await.to_string();
    for id in [play(1, 0).to_string(), play(1, 0).uuid().simple().to_string(), forgotten.to_string()] {
        assert!(!rows.contains(&id), "the ledger's {id} is in the lake");
    }

    assert!(scene.lake.forget(forgotten).await.unwrap());
    assert!(!scene.lake.forget(forgotten).await.unwrap(), "again is no error");
    assert_eq!(scene.lake.listener(forgotten).await.unwrap(), None);
    // What it did before is told again, and it does something new.
    scene.plays(forgotten, play(2, 1_000), 1_000, "void").await;
    scene.plays(forgotten, play(4, DAY_MS), 31_000, "provisional").await;
    scene.written().await;
    let new = scene.lake.listener(forgotten).await.unwrap().unwrap();
    assert_ne!(new, old);
    assert_eq!(scene.ask(&of(&old)).await, json!([{"n": 2}]), "nothing was written under the old name");
    assert_eq!(scene.ask(&of(&new)).await, json!([{"n": 1}]));
    assert_eq!(scene.ask("SELECT count(*) AS n FROM skips").await, json!([{"n": 0}]), "the play that was told again is not written again");
    assert_eq!(scene.number("SELECT sum(forgotten)::BIGINT FROM lake.hours").await, 1);
    assert_eq!(scene.lake.listener(other).await.unwrap().map(|name| name.len()), Some(32));
}

#[tokio::test]
async fn who_is_forgotten_while_a_key_is_made_gets_no_earlier_row_under_it() {
    let scene = scene().await;
    scene.plays(account(1), play(1, 0), 31_000, "provisional").await;
    scene.told().await;
    // What a `forget` does that commits at the worst moment: after the writer has looked who is forgotten, before its key is there.
    for statement in [
        "CREATE FUNCTION lake.meanwhile() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO lake.forgotten (subject, at_ms) VALUES (NEW.subject, 1795559880000) ON CONFLICT DO NOTHING; RETURN NEW; END $$",
        "CREATE TRIGGER meanwhile BEFORE INSERT ON lake.keys FOR EACH ROW EXECUTE FUNCTION lake.meanwhile()",
    ] {
        sqlx::query(statement).execute(&scene.pool).await.unwrap();
    }
    let wrote = scene.lake.write(Kind::Play, &unwatched).await;
    assert!(matches!(wrote, Err(LakeError::Overtaken)), "{wrote:?}");
    scene.written().await;
    assert_eq!(scene.ask("SELECT count(*) AS n FROM play_revisions").await, json!([{"n": 0}]));
    assert_eq!(scene.number("SELECT sum(forgotten)::BIGINT FROM lake.hours").await, 1);
}
