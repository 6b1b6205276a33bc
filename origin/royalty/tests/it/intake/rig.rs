//! A collector that can be killed, on a database and perhaps a topic that outlive it, and a buffer that hands batches over until they are taken.

use std::{
    sync::{
        Arc, RwLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use platform::{
    Shutdown,
    config::{self, Cells, Intake, IntakeKind},
    testing,
};
use protocol::heartbeat::Batch;
use royalty::{Period, intake};
use serde_json::Value;
use tokio::{runtime::Runtime, time::Instant};

use super::broker::{self, Broker};
use crate::scene::Scene;

/// What a test waits for comes within this, or never.
const WITHIN: Duration = Duration::from_secs(60);
pub const PARTITIONS: u16 = 4;

/// One process of a fleet. It has a runtime of its own, and every task of it ends where it stands when the runtime does.
pub struct Process {
    pub base: String,
    pub intake: Arc<dyn intake::EventIntake>,
    runtime: Option<Runtime>,
}

impl Process {
    /// `reads`: whether it also merges what stands in the log.
    pub async fn start(scene: &Scene, config: &config::Royalty, reads: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (db, config, stop) = (scene.db.clone(), config.clone(), Shutdown::new());
        let royalty = scene.royalty_over(move || db.pool("royalty"));
        let stopped = stop.clone();
        if !reads {
            stop.request();
        }
        let started = runtime.spawn(async move {
            let royalty = royalty();
            let intake = intake::of_config(&config, royalty.merger()).unwrap();
            let royalty = royalty.with_intake(intake.clone());
            let merging = royalty.clone();
            tokio::spawn(async move { merging.merge_accepted(stopped).await });
            (testing::serve_here("royalty", royalty::router(royalty)).await, intake)
        });
        let (base, intake) = started.await.unwrap();
        Self { base, intake, runtime: Some(runtime) }
    }

    /// What the process answers, from within it.
    pub async fn ask<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        ask: impl FnOnce(Arc<dyn intake::EventIntake>) -> F,
    ) -> T {
        self.runtime.as_ref().unwrap().spawn(ask(self.intake.clone())).await.unwrap()
    }

    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

pub struct Rig {
    pub scene: Scene,
    pub config: config::Royalty,
    pub process: Process,
    /// Whether the next process merges what stands in the log.
    pub reads: bool,
    pub buffer: Buffer,
}

/// Sends as a buffer does: the same bytes until they are taken.
#[derive(Clone)]
pub struct Buffer {
    at: Arc<RwLock<String>>,
    pub put_off: Arc<AtomicU32>,
    http: reqwest::Client,
}

impl Buffer {
    /// One attempt; `None` when nobody answered.
    pub async fn send(&self, batch: &Batch) -> Option<(u16, Value)> {
        let url = format!("{}/internal/batches", self.at.read().unwrap());
        let answer = self.http.post(url).json(batch).send().await.ok()?;
        Some((answer.status().as_u16(), answer.json().await.ok()?))
    }

    /// Until it is taken.
    pub async fn deliver(&self, batch: &Batch) -> Value {
        let deadline = Instant::now() + WITHIN;
        loop {
            match self.send(batch).await {
                Some((200, answer)) => return answer,
                Some((503, _)) | None => self.put_off.fetch_add(1, Ordering::Relaxed),
                Some((status, answer)) => panic!("{status} {answer}"),
            };
            assert!(Instant::now() < deadline, "batch {} is never taken", batch.number);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Rig {
    pub async fn postgres() -> Option<Self> {
        Some(Self::start(config::Royalty::default()).await)
    }

    pub async fn kafka() -> Option<Self> {
        Some(Self::over(broker::shared().await?).await)
    }

    pub async fn over(broker: &Broker) -> Self {
        Self::start(on_topic(broker, broker.topic(PARTITIONS).await)).await
    }

    pub async fn start(config: config::Royalty) -> Self {
        let mut scene = Scene::on(testing::postgres().await);
        let process = Process::start(&scene, &config, true).await;
        scene.ask_at(process.base.clone());
        let at = Arc::new(RwLock::new(process.base.clone()));
        Self { scene, config, process, reads: true, buffer: Buffer { at, put_off: Arc::default(), http: reqwest::Client::new() } }
    }

    pub fn is_kafka(&self) -> bool {
        self.config.intake.kind == IntakeKind::Kafka
    }

    /// The process dies where it stands, and another one begins.
    pub async fn die_and_begin_again(&mut self) {
        self.process.kill();
        self.process = Process::start(&self.scene, &self.config, self.reads).await;
        self.scene.ask_at(self.process.base.clone());
        *self.buffer.at.write().unwrap() = self.process.base.clone();
    }

    /// Waits until all that was taken is merged, then folds it.
    pub async fn settle(&self) {
        let period: Period = "2026-11".parse().unwrap();
        until("everything is merged", async || {
            let waiting = self.process.ask(move |intake| async move { intake.waiting(period).await });
            matches!(waiting.await, Ok(0))
        })
        .await;
        self.scene.fold().await;
    }

    /// Refusals that somebody can look up.
    pub async fn refusals(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT reason FROM royalty.refused_records ORDER BY id").fetch_all(&self.scene.pool).await.unwrap()
    }
}

pub fn on_topic(broker: &Broker, topic: String) -> config::Royalty {
    let intake = Intake { kind: IntakeKind::Kafka, brokers: vec![broker.address.clone()], topic, partitions: PARTITIONS.into() };
    config::Royalty { intake, cells: Cells::default(), ..config::Royalty::default() }
}

/// Waits for a condition.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !holds().await {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
