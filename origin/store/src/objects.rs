//! The S3 operations. Requests come, authenticated, from `s3s`; reading and listing go on to `s3s-fs`, writing to
//! [`crate::writer`].
//!
//! Not offered, because nothing here needs it: multipart uploads, copies, tags, versions. They answer `NotImplemented`.

use std::{io, sync::Arc};

use s3s::{
    S3, S3Request, S3Response, S3Result,
    dto::{
        CreateBucketInput, CreateBucketOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput,
        DeletedObject, ETag, ETagCondition, GetBucketLocationInput, GetBucketLocationOutput, GetObjectInput, GetObjectOutput,
        HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput, ListObjectsInput,
        ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, PutObjectInput, PutObjectOutput, StreamingBlob,
    },
    s3_error,
};
use s3s_fs::FileSystem;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};
use tokio_util::io::ReaderStream;

use crate::{StoreError, disk::Place, writer::Writer};

/// `s3s-fs` reads in 4 KiB steps, each a trip to the blocking pool.
const READ_CHUNK_BYTES: usize = 128 * 1024;

/// Readers and the writer over one directory.
#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) files: FileSystem,
    pub(crate) writer: Arc<Writer>,
}

impl Objects {
    /// The place of an object that exists.
    fn place(&self, bucket: &str, key: &str) -> S3Result<Place> {
        let place = self.writer.disk.place(bucket, key)?;
        if self.writer.disk.exists(&place) { Ok(place) } else { Err(s3_error!(NoSuchKey)) }
    }

    /// The bytes of an object, or of a range of it, in larger steps than `s3s-fs` takes.
    async fn bytes(&self, place: &Place, from: u64, length: u64) -> io::Result<StreamingBlob> {
        let mut file = File::open(self.writer.disk.object_path(place)).await?;
        file.seek(io::SeekFrom::Start(from)).await?;
        Ok(StreamingBlob::wrap(ReaderStream::with_capacity(file.take(length), READ_CHUNK_BYTES)))
    }
}

/// RFC 9110, section 13.2.2, for reads: `If-Match` first, then `If-None-Match`.
fn check_read(e_tag: Option<&ETag>, only_if: Option<&ETagCondition>, unless: Option<&ETagCondition>) -> S3Result<()> {
    if let (Some(ETagCondition::ETag(wanted)), Some(e_tag)) = (only_if, e_tag)
        && !wanted.strong_cmp(e_tag)
    {
        return Err(s3_error!(PreconditionFailed));
    }
    match (unless, e_tag) {
        (Some(ETagCondition::Any), _) => Err(s3_error!(NotModified)),
        (Some(ETagCondition::ETag(known)), Some(e_tag)) if known.weak_cmp(e_tag) => Err(s3_error!(NotModified)),
        _ => Ok(()),
    }
}

#[async_trait::async_trait]
impl S3 for Objects {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        Ok(S3Response::new(self.writer.put(request).await?))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let place = self.place(&request.input.bucket, &request.input.key)?;
        let (range, only_if, unless) = (request.input.range, request.input.if_match.clone(), request.input.if_none_match.clone());
        let mut response = self.files.get_object(request).await?;
        let output = &mut response.output;
        check_read(output.e_tag.as_ref(), only_if.as_ref(), unless.as_ref())?;
        let length = u64::try_from(output.content_length.unwrap_or(0)).unwrap_or(0);
        let from = match (range, &output.content_range) {
            (Some(s3s::dto::Range::Int { first, .. }), _) => first,
            (Some(s3s::dto::Range::Suffix { .. }), Some(range)) => first_byte(range),
            _ => 0,
        };
        output.body = Some(self.bytes(&place, from, length).await.map_err(StoreError::Disk)?);
        output.accept_ranges = Some("bytes".to_owned());
        Ok(response)
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.place(&request.input.bucket, &request.input.key)?;
        let (only_if, unless) = (request.input.if_match.clone(), request.input.if_none_match.clone());
        let response = self.files.head_object(request).await?;
        check_read(response.output.e_tag.as_ref(), only_if.as_ref(), unless.as_ref())?;
        Ok(response)
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.writer.remove(&request.input.bucket, &request.input.key).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let mut deleted = Vec::new();
        for object in request.input.delete.objects {
            self.writer.remove(&request.input.bucket, &object.key).await?;
            deleted.push(DeletedObject { key: Some(object.key), ..DeletedObject::default() });
        }
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), ..DeleteObjectsOutput::default() }))
    }

    async fn list_buckets(&self, request: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        self.files.list_buckets(request).await
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.files.head_bucket(request).await
    }

    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        self.files.create_bucket(request).await
    }

    async fn get_bucket_location(&self, request: S3Request<GetBucketLocationInput>) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.files.get_bucket_location(request).await
    }

    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
        self.files.list_objects(request).await
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.files.list_objects_v2(request).await
    }
}

/// `a` of `bytes a-b/size`.
fn first_byte(content_range: &str) -> u64 {
    let digits = content_range.trim_start_matches("bytes ").split('-').next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}
