//! The lake's hop of the reconciliation, by the ledger's own judgement and the lake's own account.

use royalty::{
    lake::Lake as AsRoyaltyAsks,
    period::Period,
    reconcile::{Figures, Hop, Reconciliation, reconcile},
    store,
};

use crate::scene::{Scene, account, play, scene};

async fn reconciled(scene: &Scene) -> Reconciliation {
    let base = platform::testing::serve_here("lake", lake::router(scene.lake.clone())).await;
    let period: Period = "2026-11".parse().unwrap();
    let account = AsRoyaltyAsks::at(&base).unwrap().account(period).await.unwrap();
    let snapshot = store::reconcile::read(&scene.pool, period, Some(account.written_to)).await.unwrap();
    reconcile(period, &snapshot, 0, Some(&account))
}

/// In, out, quarantined, pending, difference.
fn hop(told: &Reconciliation) -> [i64; 5] {
    let Figures { in_, out, quarantined, pending, difference, .. } = told.hops.iter().find(|hop| hop.hop == Hop::Lake).unwrap().figures;
    [in_, out, quarantined, pending, difference]
}

fn codes(told: &Reconciliation) -> Vec<&'static str> {
    told.differences.iter().map(|finding| finding.code).filter(|code| code.starts_with("plays_")).collect()
}

#[tokio::test]
async fn what_is_on_its_way_is_pending_and_what_was_lost_is_missing() {
    let scene = scene().await;
    scene.plays(account(1), play(1, 0), 31_000, "provisional").await;
    scene.plays(account(2), play(2, 0), 31_000, "provisional").await;
    scene.plays(account(3), play(3, 3_600_000), 1_000, "void").await;
    assert_eq!(hop(&reconciled(&scene).await), [3, 0, 0, 3, 0], "nothing is written yet");
    scene.written().await;
    assert_eq!(hop(&reconciled(&scene).await), [3, 3, 0, 0, 0]);
    scene.plays(account(4), play(4, 0), 31_000, "provisional").await;
    scene.plays(account(1), play(1, 0), 40_000, "provisional").await;
    let told = reconciled(&scene).await;
    assert_eq!((hop(&told), codes(&told)), ([4, 3, 0, 1, 0], vec![]), "one is new, and the change of another is on its way");

    scene.lake.forget(account(4)).await.unwrap();
    scene.written().await;
    let told = reconciled(&scene).await;
    assert_eq!((hop(&told), codes(&told)), ([4, 3, 1, 0, 0], vec![]), "who is forgotten is counted and not written");

    // Somebody takes a file out of the manifest by hand: that of the later hour is the only one without a newer version elsewhere.
    sqlx::query("UPDATE lake.files SET removed_in = number, removed_at_ms = at_ms FROM lake.snapshot WHERE added_in = 1")
        .execute(&scene.pool)
        .await
        .unwrap();
    let told = reconciled(&scene).await;
    assert_eq!((hop(&told), codes(&told)), ([4, 1, 1, 0, 2], vec!["plays_missing", "plays_missing"]), "{:?}", told.differences);
}

#[tokio::test]
async fn a_play_that_the_ledger_does_not_have_is_found() {
    let scene = scene().await;
    scene.plays(account(1), play(1, 0), 31_000, "provisional").await;
    scene.written().await;
    sqlx::query("DELETE FROM royalty.plays").execute(&scene.pool).await.unwrap();
    let told = reconciled(&scene).await;
    assert_eq!((hop(&told), codes(&told)), ([0, 1, 0, 0, -1], vec!["plays_unaccounted"]));
}
