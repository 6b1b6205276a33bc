//! From a request's body to a staged file whose bytes are proved. The stream comes from [`crate::objects`]; the file goes to
//! [`crate::disk`]. `s3s-fs` gives a file its name before it compares the checksum, so a lying upload would stay and even
//! replace what was there; here the name comes last.

use std::time::Duration;

use futures::StreamExt as _;
use s3s::{
    TrailingHeaders,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Md5},
    dto::{Checksum, PutObjectInput, StreamingBlob},
};
use tokio::{
    fs::File,
    io::{AsyncWriteExt as _, BufWriter},
};

use crate::{
    StoreError,
    disk::{Disk, Staged},
};

/// How long an upload may say nothing before it is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const WRITE_BUFFER_BYTES: usize = 256 * 1024;

/// What the client says the bytes are.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    pub(crate) length: Option<u64>,
    md5: Option<String>,
    checksums: Checksum,
    algorithm: Option<String>,
}

/// Bytes that are what the client said they are, on disk and synced, without a name yet.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) staged: Staged,
    pub(crate) size: u64,
    pub(crate) md5_hex: String,
    pub(crate) checksums: Checksum,
}

impl Declared {
    pub(crate) fn of(input: &PutObjectInput) -> Self {
        Self {
            length: input.content_length.and_then(|length| u64::try_from(length).ok()),
            md5: input.content_md5.clone(),
            checksums: Checksum {
                checksum_crc32: input.checksum_crc32.clone(),
                checksum_crc32c: input.checksum_crc32c.clone(),
                checksum_crc64nvme: input.checksum_crc64nvme.clone(),
                checksum_sha1: input.checksum_sha1.clone(),
                checksum_sha256: input.checksum_sha256.clone(),
                ..Checksum::default()
            },
            algorithm: input.checksum_algorithm.as_ref().map(|algorithm| algorithm.as_str().to_owned()),
        }
    }

    /// SHA-256 always, since the event's consumer wants it; the others when declared, or announced for the trailer.
    fn hasher(&self) -> ChecksumHasher {
        let wanted = |declared: &Option<String>, name: &str| declared.is_some() || self.algorithm.as_deref() == Some(name);
        ChecksumHasher {
            crc32: wanted(&self.checksums.checksum_crc32, "CRC32").then(Default::default),
            crc32c: wanted(&self.checksums.checksum_crc32c, "CRC32C").then(Default::default),
            crc64nvme: wanted(&self.checksums.checksum_crc64nvme, "CRC64NVME").then(Default::default),
            sha1: wanted(&self.checksums.checksum_sha1, "SHA1").then(Default::default),
            sha256: Some(Default::default()),
        }
    }

    /// Checksums that came after the body (`x-amz-trailer`), as SDKs send them.
    fn read_trailers(&mut self, trailers: Option<TrailingHeaders>) {
        let Some(trailers) = trailers.and_then(|trailers| trailers.take()) else { return };
        let read = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let declared = &mut self.checksums;
        for (slot, name) in [
            (&mut declared.checksum_crc32, "x-amz-checksum-crc32"),
            (&mut declared.checksum_crc32c, "x-amz-checksum-crc32c"),
            (&mut declared.checksum_crc64nvme, "x-amz-checksum-crc64nvme"),
            (&mut declared.checksum_sha1, "x-amz-checksum-sha1"),
            (&mut declared.checksum_sha256, "x-amz-checksum-sha256"),
        ] {
            if let Some(value) = read(name) {
                *slot = Some(value);
            }
        }
    }

    fn check(&self, size: u64, md5: &[u8], computed: &Checksum) -> Result<(), StoreError> {
        if let Some(declared) = self.length
            && declared != size
        {
            return Err(StoreError::Length { declared, actual: size });
        }
        let md5_base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, md5);
        let declared = &self.checksums;
        for (algorithm, declared, computed) in [
            ("MD5", &self.md5, &Some(md5_base64)),
            ("CRC32", &declared.checksum_crc32, &computed.checksum_crc32),
            ("CRC32C", &declared.checksum_crc32c, &computed.checksum_crc32c),
            ("CRC64NVME", &declared.checksum_crc64nvme, &computed.checksum_crc64nvme),
            ("SHA-1", &declared.checksum_sha1, &computed.checksum_sha1),
            ("SHA-256", &declared.checksum_sha256, &computed.checksum_sha256),
        ] {
            if declared.is_some() && declared != computed {
                return Err(StoreError::Digest { algorithm });
            }
        }
        Ok(())
    }
}

/// Takes the whole body into a staged file, at most `bytes_max`, and proves it.
pub(crate) async fn receive(
    disk: &Disk,
    mut body: StreamingBlob,
    mut declared: Declared,
    trailers: Option<TrailingHeaders>,
    bytes_max: u64,
) -> Result<Received, StoreError> {
    let staged = disk.stage();
    let mut file = BufWriter::with_capacity(WRITE_BUFFER_BYTES, File::create(staged.path()).await?);
    let (mut md5, mut hasher, mut size) = (Md5::new(), declared.hasher(), 0_u64);
    while let Some(chunk) = next_chunk(&mut body).await? {
        size = size.saturating_add(chunk.len() as u64);
        if size > bytes_max {
            return Err(StoreError::TooLarge { bytes_max });
        }
        md5.update(&chunk);
        hasher.update(&chunk);
        file.write_all(&chunk).await?;
    }
    file.flush().await?;
    declared.read_trailers(trailers);
    let (md5, checksums) = (md5.finalize(), hasher.finalize());
    declared.check(size, &md5, &checksums)?;
    file.get_ref().sync_all().await?;
    Ok(Received { staged, size, md5_hex: hex::encode(md5), checksums })
}

/// Reads a body that will be refused, so that the client, who sends before it listens, gets to read why.
pub(crate) async fn discard(mut body: StreamingBlob, bytes_max: u64) -> Result<(), StoreError> {
    let mut size = 0_u64;
    while let Some(chunk) = next_chunk(&mut body).await? {
        size = size.saturating_add(chunk.len() as u64);
        if size > bytes_max {
            break;
        }
    }
    Ok(())
}

async fn next_chunk(body: &mut StreamingBlob) -> Result<Option<bytes::Bytes>, StoreError> {
    match tokio::time::timeout(SILENCE_MAX, body.next()).await {
        Err(_) => Err(StoreError::Stalled),
        Ok(None) => Ok(None),
        Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
        // A verifying stream inside `s3s` refuses with an error of its own (a bad chunk signature, a bad content hash).
        Ok(Some(Err(error))) => Err(StoreError::Cut(error)),
    }
}
