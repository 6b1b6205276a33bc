//! The object store that runs with nothing installed: an S3 server over a directory.
//!
//! Artists' browsers put uploads here with presigned URLs made by `ingest`; `ingest` puts encoded music here; the gateway reads
//! it. Any S3 stands in for it at scale. It is `s3s` (the protocol, the signatures) over `s3s-fs` (the directory), with what
//! the two lack and the rest of Antiphon builds on:
//!
//! - an object has the bytes that were declared, or does not exist (`receive`);
//! - `If-None-Match: *` lets one writer through, however many try (`writer`, `locks`);
//! - what was acknowledged survives a crash (`disk`);
//! - every new object in the raw bucket is told to the queue `object-created`, at least once, whatever dies (`journal`);
//! - a browser on any page may use a presigned URL (`http`), and a presigned URL allows what it signed and nothing else (`access`).
//!
//! ```text
//!  presigned PUT ─► http ─► s3s ─► access ─► objects ─► writer ─► receive ─► disk
//!                                               │          └─► journal ─► queue ─► ingest
//!                                               └─► s3s-fs (reads, lists)
//! ```

mod access;
mod disk;
mod error;
mod event;
mod http;
mod journal;
mod locks;
mod objects;
mod receive;
mod writer;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use platform::{Clock, Config, Shutdown, queue::Queue};
use s3s::{auth::SimpleAuth, config::S3Config, config::StaticConfigProvider, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

use crate::{access::SignedOnly, disk::Disk, event::Sequencers, journal::Outlet, locks::Locks, objects::Objects, writer::Writer};
pub use crate::{error::StoreError, journal::OBJECT_CREATED};

/// S3's own limit for one put.
const OBJECT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// How often events that could not be sent are tried again.
const SWEEP_EVERY: Duration = Duration::from_secs(2);

/// What a store is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the objects are.
    pub root: PathBuf,
    /// The bucket whose new objects are told.
    pub raw_bucket: String,
    /// The bucket of encoded music.
    pub media_bucket: String,
    /// The region that clients sign for, and that events name.
    pub region: String,
    /// Half of the key pair.
    pub access_key: String,
    /// The other half.
    pub secret_key: String,
    /// The largest object.
    pub object_bytes_max: u64,
}

/// An open store, ready to be served.
pub struct Store {
    router: axum::Router,
    writer: Arc<Writer>,
    shutdown: Shutdown,
}

impl Store {
    /// Opens the directory and sends the events that an earlier process left behind.
    ///
    /// # Errors
    /// The directory cannot be used, or another process uses it.
    pub async fn open(settings: Settings, queue: Queue, clock: Clock, shutdown: Shutdown) -> anyhow::Result<Self> {
        let buckets = [settings.raw_bucket.as_str(), settings.media_bucket.as_str()];
        let disk = Disk::open(&settings.root, &buckets).with_context(|| format!("opening {}", settings.root.display()))?;
        let files = FileSystem::new(&settings.root).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let writer = Arc::new(Writer {
            disk: Arc::new(disk),
            locks: Locks::default(),
            sequencers: Sequencers::default(),
            outlet: Outlet::new(queue),
            clock,
            region: settings.region,
            told_bucket: settings.raw_bucket,
            object_bytes_max: settings.object_bytes_max,
        });
        let mut limits = S3Config::default();
        limits.post_object_max_file_size = 0;
        let mut builder = S3ServiceBuilder::new(Objects { files, writer: Arc::clone(&writer) });
        builder.set_auth(SimpleAuth::from_single(settings.access_key, settings.secret_key));
        builder.set_access(SignedOnly);
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(limits))));
        let router = http::router(builder.build(), shutdown.clone());
        let store = Self { router, writer, shutdown };
        store.sweep().await;
        Ok(store)
    }

    /// Serves until the stop.
    pub async fn serve(self, listener: TcpListener) {
        let serving = http::serve(listener, self.router.clone(), self.shutdown.clone());
        let sweeping = async {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(SWEEP_EVERY) => self.sweep().await,
                    () = self.shutdown.requested() => break,
                }
            }
        };
        tokio::join!(serving, sweeping);
    }

    async fn sweep(&self) {
        match journal::sweep(&self.writer.disk, &self.writer.locks, &self.writer.outlet).await {
            Ok(0) => {}
            Ok(waiting) => tracing::debug!(waiting, "events wait for the queue"),
            Err(error) => tracing::error!(%error, "the journal cannot be read"),
        }
    }
}

/// Runs the store on `listen.store` until the stop.
///
/// # Errors
/// The keys, the directory or the address cannot be used.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let keys = config.keys()?;
    let queue = Queue::new(platform::pg::pool(&config.role_database_url("store")?, QUEUE_CONNECTIONS)?);
    let settings = Settings {
        root: config.state.dir.join("store"),
        raw_bucket: config.objects.raw_bucket.clone(),
        media_bucket: config.objects.media_bucket.clone(),
        region: config.objects.region.clone(),
        access_key: keys.objects.access_key.clone(),
        secret_key: keys.objects.secret_key.clone(),
        object_bytes_max: OBJECT_BYTES_MAX,
    };
    let store = Store::open(settings, queue, Clock::system(), shutdown).await?;
    let address = config.listen_addr("store")?;
    let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
    tracing::info!(%address, "the object store is ready");
    store.serve(listener).await;
    Ok(())
}

/// A handful is plenty: one short insert an upload.
const QUEUE_CONNECTIONS: u32 = 4;
