//! A log in front of the merge: a batch is split by account, and answered when the broker has every part on its disks (acks = all).
//!
//! Partitions are static and come from the configuration, so there is no consumer group and no rebalancing: which process reads which
//! partition follows from its cells ([`crate::cells`]). What the broker holds twice is merged once. The topic is the operator's: it must
//! exist with as many partitions as the configuration says, since an account's place in it depends on that number, and it must
//! neither be made anew under its old name nor expire records before they are merged.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::DateTime;
use futures::future::try_join_all;
use platform::{Shutdown, config};
use rskafka::{
    BackoffConfig,
    client::{
        Client, ClientBuilder,
        partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling},
    },
    record::{Record, RecordAndOffset},
};
use tokio::{sync::OnceCell, sync::Semaphore, time::timeout};

use super::{Accepted, EventIntake, Frozen, Merger, Queued, consumer};
use crate::{
    cells::{Cells, CellsError},
    error::RoyaltyError,
    period::Period,
    store::log,
};

/// The record header that names the part of a batch; a whole batch has none.
pub(super) const PART_HEADER: &str = "part";
/// Less than a buffer waits for its answer.
const APPEND_WITHIN: Duration = Duration::from_secs(5);
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const READY_WITHIN: Duration = Duration::from_secs(2);
/// What may wait for the broker at a time, in bytes: memory is bounded by this, and what does not fit is answered 503.
const WAITING_BYTES_MAX: usize = 32 << 20;
const ROOM_WITHIN: Duration = Duration::from_secs(1);
/// What one answer of the broker may hold. It bounds the memory of a reader.
const FETCH_BYTES_MAX: i32 = 2 << 20;
const FRAME_BYTES_MAX: usize = 8 << 20;
/// Records that counting looks through, all partitions together.
const COUNTED_RECORDS_MAX: i64 = 20_000;

/// Appends batches to a topic and merges what stands in it.
pub struct Kafka {
    log: Arc<Log>,
    own: Vec<u16>,
    merger: Merger,
    room: Semaphore,
}

/// A topic, as far as we know it.
pub(super) struct Log {
    brokers: Vec<String>,
    topic: String,
    partitions: u16,
    client: OnceCell<Client>,
    writers: Vec<OnceCell<PartitionClient>>,
}

impl Kafka {
    /// Over the topic of `config`, merging the partitions of `cells`. Nothing is connected yet.
    ///
    /// # Errors
    /// [`CellsError::Partitions`].
    pub fn new(config: &config::Intake, cells: &Cells, merger: Merger) -> Result<Self, CellsError> {
        let (partitions, own) = cells.partitions(config.partitions)?;
        let writers = (0..partitions).map(|_| OnceCell::new()).collect();
        let log = Log { brokers: config.brokers.clone(), topic: config.topic.clone(), partitions, client: OnceCell::new(), writers };
        Ok(Self { log: Arc::new(log), own, merger, room: Semaphore::new(WAITING_BYTES_MAX) })
    }

    /// The records of one partition that are not merged yet and told under `period`.
    async fn waiting_in(&self, partition: u16, budget: i64, period: Period) -> Result<(i64, i64), RoyaltyError> {
        let reader = self.log.reader(partition).await?;
        let mut next = match log::position(&self.merger.pool, &self.log.source(partition)).await? {
            Some(position) => position,
            None => self.log.edge(&reader, OffsetAt::Earliest).await?,
        };
        let end = self.log.edge(&reader, OffsetAt::Latest).await?;
        let (behind, mut records) = ((end - next).max(0), 0);
        if behind > budget {
            return Err(RoyaltyError::IntakeAway(format!("{behind} records wait in partition {partition}: too many to be counted now")));
        }
        while next < end {
            let fetched = self.log.fetch(&reader, next, 0).await?;
            let Some(last) = fetched.last() else { break };
            next = last.offset + 1;
            for record in fetched.iter().filter(|record| record.offset < end) {
                if let Ok(frozen) = consumer::read(&record.record) {
                    records += self.merger.records(&frozen, period)?;
                }
            }
        }
        Ok((records, behind))
    }

    /// The partitions that are read here, and those that any process with this database reads.
    async fn read_partitions(&self) -> Result<Vec<u16>, RoyaltyError> {
        let places = log::positions(&self.merger.pool, &self.log.prefix()).await?;
        let mut partitions: Vec<u16> = places.iter().filter_map(|(source, _)| source.rsplit(':').next()?.parse().ok()).collect();
        partitions.extend(&self.own);
        partitions.retain(|partition| *partition < self.log.partitions);
        partitions.sort_unstable();
        partitions.dedup();
        Ok(partitions)
    }
}

#[async_trait]
impl EventIntake for Kafka {
    async fn accept(&self, batch: Frozen) -> Result<Accepted, RoyaltyError> {
        let parts = batch.split(self.log.partitions)?;
        let bytes = parts.iter().map(|(.., bytes)| bytes.len()).sum::<usize>().min(WAITING_BYTES_MAX);
        let room = self.room.acquire_many(u32::try_from(bytes).unwrap_or(u32::MAX));
        let full = |_| RoyaltyError::IntakeAway("the broker is slower than the buffers".to_owned());
        let _room = timeout(ROOM_WITHIN, room).await.map_err(full)?.map_err(|error| RoyaltyError::Invariant(error.to_string()))?;
        let records = parts.into_iter().map(|(partition, part, bytes)| {
            let headers = if part.is_empty() { None } else { Some((PART_HEADER.to_owned(), part.clone().into_bytes())) };
            let record = Record {
                // For whoever looks at the topic: the partition is chosen by account, not by this.
                key: Some(format!("{}/{}/{}/{part}", batch.batch.buffer, batch.batch.epoch, batch.batch.number).into_bytes()),
                value: Some(bytes.into()),
                headers: headers.into_iter().collect(),
                timestamp: DateTime::from_timestamp_millis(self.merger.clock.now().0).unwrap_or_default(),
            };
            (partition, record)
        });
        let records: Vec<_> = records.collect();
        let parts = records.len();
        try_join_all(records.into_iter().map(|(partition, record)| self.log.append(partition, record))).await?;
        let acked = i64::try_from(batch.batch.events()).unwrap_or(i64::MAX);
        Ok(Accepted::Queued { outcome: Queued::Queued, acked, parts })
    }

    async fn waiting(&self, period: Period) -> Result<i64, RoyaltyError> {
        let (mut total, mut budget) = (0, COUNTED_RECORDS_MAX);
        for partition in self.read_partitions().await? {
            let (records, behind) = self.waiting_in(partition, budget, period).await?;
            (total, budget) = (total + records, budget - behind);
        }
        Ok(total)
    }

    async fn place(&self) -> Result<Vec<(String, i64)>, RoyaltyError> {
        Ok(log::positions(&self.merger.pool, &self.log.prefix()).await?)
    }

    async fn missing(&self) -> Option<String> {
        match timeout(READY_WITHIN, self.log.check()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("kafka: {error}")),
            Err(_) => Some("kafka".to_owned()),
        }
    }

    async fn run(&self, shutdown: Shutdown) {
        let merging = Arc::new(Semaphore::new(consumer::MERGES_MAX));
        let mut readers = tokio::task::JoinSet::new();
        for &partition in &self.own {
            let reader = consumer::Reader::new(self.log.clone(), partition, self.merger.clone(), merging.clone());
            let stop = shutdown.clone();
            readers.spawn(async move { reader.run(stop).await });
        }
        while readers.join_next().await.is_some() {}
    }
}

impl Log {
    /// What names the places in all partitions of this topic.
    fn prefix(&self) -> String {
        format!("kafka:{}:", self.topic)
    }

    /// What names the place in a partition.
    pub(super) fn source(&self, partition: u16) -> String {
        format!("{}{partition}", self.prefix())
    }

    /// Connected, to a cluster that has the topic we were told of.
    async fn client(&self) -> Result<&Client, RoyaltyError> {
        let connect = async {
            // Half a second of trying again rides out a leader's change; what takes longer is the buffer's to wait for.
            let backoff = BackoffConfig {
                init_backoff: Duration::from_millis(20),
                max_backoff: Duration::from_millis(200),
                base: 2.0,
                deadline: Some(Duration::from_millis(500)),
            };
            let builder = ClientBuilder::new(self.brokers.clone()).client_id("antiphon").max_message_size(FRAME_BYTES_MAX);
            let client = builder.backoff_config(backoff).build().await.map_err(away)?;
            self.check_topic(&client).await?;
            Ok(client)
        };
        let connected = timeout(CONNECT_WITHIN, self.client.get_or_try_init(|| connect)).await;
        connected.map_err(|_| RoyaltyError::IntakeAway("no broker answers".to_owned()))?
    }

    async fn check_topic(&self, client: &Client) -> Result<(), RoyaltyError> {
        let topics = client.list_topics().await.map_err(away)?;
        let known = topics.iter().find(|topic| topic.name == self.topic).map_or(0, |topic| topic.partitions.len());
        if known == usize::from(self.partitions) {
            return Ok(());
        }
        Err(RoyaltyError::IntakeAway(format!(
            "the topic {} has {known} partitions, and royalty.intake.partitions is {}: an account's partition depends on that number",
            self.topic, self.partitions
        )))
    }

    async fn check(&self) -> Result<(), RoyaltyError> {
        self.check_topic(self.client().await?).await
    }

    /// A connection of its own, since a broker answers the requests of one connection in order and reading waits for records.
    pub(super) async fn reader(&self, partition: u16) -> Result<PartitionClient, RoyaltyError> {
        let client = self.client().await?;
        let reader = client.partition_client(self.topic.clone(), i32::from(partition), UnknownTopicHandling::Error);
        timeout(CONNECT_WITHIN, reader).await.map_err(|_| RoyaltyError::IntakeAway("no broker answers".to_owned()))?.map_err(away)
    }

    /// Appends one record and waits until all replicas that are in sync have it.
    async fn append(&self, partition: u16, record: Record) -> Result<(), RoyaltyError> {
        let cell = self.writers.get(usize::from(partition)).ok_or_else(|| RoyaltyError::Invariant(format!("no partition {partition}")))?;
        let append = async {
            let writer = cell.get_or_try_init(|| self.reader(partition)).await?;
            writer.produce(vec![record], Compression::NoCompression).await.map_err(away)
        };
        let appended = timeout(APPEND_WITHIN, append).await;
        appended.map_err(|_| RoyaltyError::IntakeAway(format!("partition {partition} does not answer")))?.map(drop)
    }

    /// The first or the next place of a partition.
    pub(super) async fn edge(&self, reader: &PartitionClient, at: OffsetAt) -> Result<i64, RoyaltyError> {
        let edge = timeout(CONNECT_WITHIN, reader.get_offset(at)).await;
        edge.map_err(|_| RoyaltyError::IntakeAway("no broker answers".to_owned()))?.map_err(away)
    }

    /// Records from `next` on, after `wait_ms` at most when there are none.
    pub(super) async fn fetch(&self, reader: &PartitionClient, next: i64, wait_ms: u16) -> Result<Vec<RecordAndOffset>, RoyaltyError> {
        let within = CONNECT_WITHIN + Duration::from_millis(u64::from(wait_ms));
        let fetched = timeout(within, reader.fetch_records(next, 1..FETCH_BYTES_MAX, i32::from(wait_ms))).await;
        let (records, _) = fetched.map_err(|_| RoyaltyError::IntakeAway("no broker answers".to_owned()))?.map_err(away)?;
        Ok(records)
    }
}

fn away(error: rskafka::client::error::Error) -> RoyaltyError {
    use rskafka::client::error::{Error, ProtocolError};
    match error {
        Error::ServerError { protocol_error: ProtocolError::OffsetOutOfRange, .. } => RoyaltyError::OutOfLog,
        error => RoyaltyError::IntakeAway(error.to_string()),
    }
}
