//! A lake with everything it stands on, and people who play and like.

use std::{panic::AssertUnwindSafe, sync::Mutex};

use futures::FutureExt as _;
use lake::{Lake, rows::Kind, step::Step};
use platform::{AuthState, Clock, Config, Shutdown, memberships::Memberships, testing};
use protocol::{AccountId, PlayId, TrackId, UnixMs};
use serde_json::Value;
use sqlx::PgPool;

/// 2026-11-24T21:38:00Z.
pub const NOW: UnixMs = UnixMs(1_795_556_280_000);
pub const DAY_MS: i64 = 86_400_000;

pub struct Scene {
    pub lake: Lake,
    pub clock: Clock,
    pub config: Config,
    /// As the owner of everything.
    pub pool: PgPool,
    store: Shutdown,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.store.request();
    }
}

pub fn account(n: u8) -> AccountId {
    AccountId::v7(NOW, [n; 10])
}

pub fn track(n: u8) -> TrackId {
    TrackId::v7(NOW, [100 + n; 10])
}

/// The play of this number, permitted `after_ms` after [`NOW`].
pub fn play(n: u8, after_ms: i64) -> PlayId {
    PlayId::v7(NOW.plus_ms(after_ms), [n; 10])
}

pub async fn scene() -> Scene {
    let database = testing::postgres().await;
    let (clock, mut config) = (Clock::fixed(NOW.plus_ms(600_000)), database.config());
    let keys = config.keys().unwrap();
    let auth = || AuthState { verifier: keys.session_verifier.clone(), clock: clock.clone() };
    // Nobody acts for an artist here, so nobody is asked.
    let memberships = || Memberships::at("http://127.0.0.1:9").unwrap();
    let royalty =
        royalty::Royalty::new(database.pool("royalty"), keys.token.clone(), clock.clone(), auth(), memberships(), "EUR".parse().unwrap());
    let catalog = catalog::Catalog::new(database.pool("catalog"), clock.clone(), auth(), memberships(), Shutdown::new());
    let host = |url: String| url.trim_start_matches("http://").to_owned();
    config.listen.royalty = host(testing::serve_here("royalty", royalty::router(royalty)).await);
    config.listen.catalog = host(testing::serve_here("catalog", catalog::router(catalog)).await);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    (config.listen.store, config.objects.endpoint) = (free.to_string(), format!("http://{free}"));
    let stop = Shutdown::new();
    let running = tokio::spawn(store::run(config.clone(), stop.clone()));
    while reqwest::get(format!("http://{free}/readyz")).await.is_err() {
        assert!(!running.is_finished(), "the store ended instead of serving");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let lake = Lake::new(&config, clock.clone()).unwrap();
    lake.ensure_bucket().await.unwrap();
    Scene { lake, clock, config, pool: database.owner(), store: stop }
}

impl Scene {
    /// A play as royalty has it; told to the lake again whenever it changes.
    pub async fn plays(&self, who: AccountId, play: PlayId, played_ms: i64, state: &str) {
        let reason = (state == "void").then_some("too_short");
        let pseudonym = self.config.keys().unwrap().token.pseudonym(who).uuid();
        sqlx::query("SELECT royalty.ensure_day(DATE '1970-01-01' + $1::INTEGER)")
            .bind(i32::try_from(play.minted_at().day()).unwrap())
            .execute(&self.pool)
            .await
            .unwrap();
        sqlx::query(
            "INSERT INTO royalty.plays (play, pseudonym, track, version, territory, plan, duration_ms, minted_at_ms, last_received_at_ms,
                                        events, folded, state, reason, played_ms, rule_version)
             VALUES ($1, $2, $3, $4, 'DE', 'premium', 200000, $5, $5 + $6, 1, 1, $7, $8, $6, 3)
             ON CONFLICT (play) DO UPDATE SET state = excluded.state, reason = excluded.reason, played_ms = excluded.played_ms",
        )
        .bind(play.uuid())
        .bind(pseudonym)
        .bind(track(1).uuid())
        .bind(uuid::Uuid::from_u128(1))
        .bind(play.minted_at().0)
        .bind(played_ms)
        .bind(state)
        .bind(reason)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    /// A like, or one taken back, as the catalogue has it.
    pub async fn likes(&self, who: AccountId, what: TrackId, liked: bool, after_ms: i64) {
        sqlx::query("INSERT INTO catalog.like_changes (account_id, track_id, liked, happened_at_ms) VALUES ($1, $2, $3, $4)")
            .bind(who.uuid())
            .bind(what.uuid())
            .bind(liked)
            .bind(NOW.plus_ms(after_ms).0)
            .execute(&self.pool)
            .await
            .unwrap();
    }

    /// Waits until the feeds tell everything that has happened: they end before the oldest transaction that is open anywhere on the server, and
    /// other tests have some.
    pub async fn told(&self) {
        let mark = self.number("SELECT pg_current_xact_id()::TEXT::BIGINT").await;
        for _ in 0..2_000 {
            if self.number("SELECT pg_snapshot_xmin(pg_current_snapshot())::TEXT::BIGINT").await > mark {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("a transaction stays open");
    }

    /// Writes both feeds to their end.
    pub async fn written(&self) {
        self.told().await;
        for kind in Kind::ALL {
            while self.lake.write(kind, &lake::step::unwatched).await.unwrap().more {}
        }
    }

    pub async fn ask(&self, sql: &str) -> Value {
        self.lake.query(sql, lake::query::Limits::default()).await.unwrap().json().unwrap()
    }

    pub async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    /// The keys of all objects below `activity/`, whether a snapshot names them or not.
    pub fn stored(&self) -> Vec<String> {
        fn walk(folder: &std::path::Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.is_dir() => walk(&path, found),
                    path if path.extension().is_some_and(|ending| ending == "parquet") => found.push(path.display().to_string()),
                    _ => {}
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.config.state.dir.join("store/lake"), &mut found);
        found
    }
}

/// Dies when it has passed `fatal` for the `nth` time; afterwards whatever it watches goes on.
pub fn dies_at(fatal: Step, nth: usize) -> impl Fn(Step) + Sync {
    let passed = Mutex::new(0);
    move |step| {
        if step == fatal {
            let mut passed = passed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *passed += 1;
            assert!(*passed != nth, "killed as told");
        }
    }
}

/// Whether it died. What a process that is killed leaves is what is left here: nothing after the step runs, and the transaction is dropped.
pub async fn died<T>(step: impl Future<Output = T>) -> bool {
    AssertUnwindSafe(step).catch_unwind().await.is_err()
}
