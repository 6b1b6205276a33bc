//! Writing. A put comes from [`crate::objects`], is proved by [`crate::receive`], and ends as an object on [`crate::disk`] and an
//! event in the queue, in that order, by way of [`crate::journal`].

use std::{io, sync::Arc};

use platform::Clock;
use s3s::{
    S3Request,
    dto::{ETag, ETagCondition, PutObjectInput, PutObjectOutput},
};
use serde_json::{Map, Value};

use crate::{
    StoreError,
    disk::{Disk, Place, Sidecars},
    event::{Created, Sequencers},
    journal::{Entry, Outlet},
    locks::Locks,
    receive::{Declared, Received, discard, receive},
};

/// What changes objects.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) disk: Arc<Disk>,
    pub(crate) locks: Locks,
    pub(crate) sequencers: Sequencers,
    pub(crate) outlet: Outlet,
    pub(crate) clock: Clock,
    pub(crate) region: String,
    /// The bucket whose new objects are told.
    pub(crate) told_bucket: String,
    pub(crate) object_bytes_max: u64,
}

/// `If-None-Match` and `If-Match` of a put.
struct Conditions {
    only_if_absent: bool,
    only_if: Option<ETagCondition>,
}

impl Conditions {
    fn of(input: &PutObjectInput) -> Result<Self, StoreError> {
        match &input.if_none_match {
            Some(ETagCondition::ETag(_)) => Err(StoreError::NotOffered("If-None-Match with anything but *")),
            star => Ok(Self { only_if_absent: star.is_some(), only_if: input.if_match.clone() }),
        }
    }

    fn check(&self, disk: &Disk, place: &Place) -> Result<(), StoreError> {
        let exists = disk.exists(place);
        if self.only_if_absent && exists {
            return Err(StoreError::Exists);
        }
        let Some(condition) = &self.only_if else { return Ok(()) };
        let internal = disk.internal(place)?.unwrap_or_default();
        let current = internal.get("e_tag").and_then(Value::as_str);
        match condition {
            _ if !exists => Err(StoreError::NotTheOne),
            ETagCondition::ETag(wanted) if current != Some(wanted.value()) => Err(StoreError::NotTheOne),
            _ => Ok(()),
        }
    }
}

impl Writer {
    /// The phases of a put, in order.
    pub(crate) async fn put(self: &Arc<Self>, request: S3Request<PutObjectInput>) -> Result<PutObjectOutput, StoreError> {
        let S3Request { mut input, credentials, trailing_headers, .. } = request;
        let place = self.disk.place(&input.bucket, &input.key)?;
        let conditions = Conditions::of(&input)?;
        let declared = Declared::of(&input);
        self.check_length(declared.length)?;
        let body = input.body.take().ok_or(StoreError::LengthMissing)?;

        // The check that counts comes later, under the lock; this one spares the disk.
        if let Err(refusal) = conditions.check(&self.disk, &place) {
            discard(body, self.object_bytes_max).await?;
            return Err(refusal);
        }
        let received = receive(&self.disk, body, declared, trailing_headers, self.object_bytes_max).await?;
        let principal = credentials.map(|credentials| credentials.access_key).unwrap_or_default();
        let writer = Arc::clone(self);
        finished(async move { writer.commit(place, conditions, &input, received, &principal).await }).await
    }

    fn check_length(&self, declared: Option<u64>) -> Result<(), StoreError> {
        match declared {
            None => Err(StoreError::LengthMissing),
            Some(length) if length > self.object_bytes_max => Err(StoreError::TooLarge { bytes_max: self.object_bytes_max }),
            Some(_) => Ok(()),
        }
    }

    /// Under the key's lock: conditions, journal, name, queue. Runs to its end even when the client hangs up, since a lock
    /// given back half-way would let a second writer in.
    async fn commit(
        &self,
        place: Place,
        conditions: Conditions,
        input: &PutObjectInput,
        received: Received,
        principal: &str,
    ) -> Result<PutObjectOutput, StoreError> {
        let _held = self.locks.hold(&place).await;
        conditions.check(&self.disk, &place)?;
        let now = self.clock.now();
        let previous = self.disk.internal(&place)?.unwrap_or_default();
        let sequencer = self.sequencers.next(now, previous.get("sequencer").and_then(Value::as_str));
        let sidecars = Sidecars { internal: internal_of(&received, &sequencer), attributes: attributes_of(input) };
        let Received { staged, size, md5_hex, checksums } = received;
        let entry = (place.bucket == self.told_bucket).then(|| {
            let created = Created { place: &place, size, e_tag: &md5_hex, sequencer: &sequencer, at: now, region: &self.region, principal };
            Entry::new(&place, sequencer.clone(), sidecars.clone(), created.message())
        });

        let disk = Arc::clone(&self.disk);
        let entry = blocking(move || {
            entry.as_ref().map_or(Ok(()), |entry| entry.begin(&disk))?;
            if let Err(refusal) = disk.commit(staged, &place, &sidecars) {
                entry.iter().for_each(|entry| entry.abandon(&disk));
                return Err(refusal);
            }
            Ok(entry)
        })
        .await?;
        if let Some(entry) = entry {
            entry.tell(&self.disk, &self.outlet).await;
        }
        Ok(PutObjectOutput {
            e_tag: Some(ETag::Strong(md5_hex)),
            checksum_crc32: checksums.checksum_crc32,
            checksum_crc32c: checksums.checksum_crc32c,
            checksum_crc64nvme: checksums.checksum_crc64nvme,
            checksum_sha1: checksums.checksum_sha1,
            checksum_sha256: checksums.checksum_sha256,
            ..PutObjectOutput::default()
        })
    }

    pub(crate) async fn remove(self: &Arc<Self>, bucket: &str, key: &str) -> Result<(), StoreError> {
        let place = self.disk.place(bucket, key)?;
        let writer = Arc::clone(self);
        finished(async move {
            let _held = writer.locks.hold(&place).await;
            let disk = Arc::clone(&writer.disk);
            blocking(move || disk.remove(&place)).await
        })
        .await
    }
}

/// Work that goes on when whoever asked for it has gone.
async fn finished<T: Send + 'static>(work: impl Future<Output = Result<T, StoreError>> + Send + 'static) -> Result<T, StoreError> {
    tokio::spawn(work).await.map_err(io::Error::other)?
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The sidecar that `s3s-fs` reads ETag and checksums from, with the sequencer as our own addition.
fn internal_of(received: &Received, sequencer: &str) -> Map<String, Value> {
    let checksums = &received.checksums;
    [
        ("e_tag", Some(received.md5_hex.clone())),
        ("sequencer", Some(sequencer.to_owned())),
        ("checksum_crc32", checksums.checksum_crc32.clone()),
        ("checksum_crc32c", checksums.checksum_crc32c.clone()),
        ("checksum_crc64nvme", checksums.checksum_crc64nvme.clone()),
        ("checksum_sha1", checksums.checksum_sha1.clone()),
        ("checksum_sha256", checksums.checksum_sha256.clone()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?))))
    .collect()
}

/// The sidecar with what is given back in the headers of a read.
fn attributes_of(input: &PutObjectInput) -> Map<String, Value> {
    let mut attributes: Map<String, Value> = [
        ("content_type", &input.content_type),
        ("content_encoding", &input.content_encoding),
        ("content_disposition", &input.content_disposition),
        ("content_language", &input.content_language),
        ("cache_control", &input.cache_control),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value.clone()?))))
    .collect();
    if let Some(metadata) = &input.metadata {
        let metadata = metadata.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
        attributes.insert("user_metadata".to_owned(), Value::Object(metadata));
    }
    attributes
}
