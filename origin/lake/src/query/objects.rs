//! The object store as the engine wants to see it: ranges of the files that a snapshot names, and nothing else.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use datafusion::object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, path::Path,
};
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use platform::objects::{Objects, ObjectsError};

use crate::manifest::Snapshot;

const NAME: &str = "the lake";

#[derive(Debug)]
pub(super) struct LakeObjects {
    objects: Objects,
    bucket: String,
    /// By key.
    sizes: HashMap<String, u64>,
    /// Set when one of them is not there any more.
    gone: Arc<AtomicBool>,
}

impl LakeObjects {
    pub(super) fn new(objects: Objects, bucket: String, snapshot: &Snapshot, gone: Arc<AtomicBool>) -> Self {
        let sizes = snapshot.files.iter().map(|file| (file.object.clone(), u64::try_from(file.bytes).unwrap_or(0))).collect();
        Self { objects, bucket, sizes, gone }
    }

    fn told(&self, key: &str, error: ObjectsError) -> Error {
        if let ObjectsError::NotFound(_) = error {
            self.gone.store(true, Ordering::Relaxed);
        }
        told(key, error)
    }
}

fn told(key: &str, error: ObjectsError) -> Error {
    match error {
        ObjectsError::NotFound(_) => Error::NotFound { path: key.to_owned(), source: Box::new(error) },
        error => Error::Generic { store: NAME, source: Box::new(error) },
    }
}

impl fmt::Display for LakeObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

fn read_only() -> Error {
    Error::NotSupported { source: "the lake is only read here".into() }
}

#[async_trait::async_trait]
impl ObjectStore for LakeObjects {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let key = location.as_ref();
        let size = *self.sizes.get(key).ok_or_else(|| self.told(key, ObjectsError::NotFound(key.to_owned())))?;
        let range = match &options.range {
            Some(range) => range.as_range(size).map_err(|error| Error::Generic { store: NAME, source: Box::new(error) })?,
            None => 0..size,
        };
        let meta = ObjectMeta { location: location.clone(), last_modified: Default::default(), size, e_tag: None, version: None };
        let (bucket, owned) = (&self.bucket, key.to_owned());
        let stream = if options.head || range.is_empty() {
            futures::stream::empty().boxed()
        } else {
            let read = self.objects.get_range(bucket, key, range.start, range.end - range.start).await;
            read.map_err(|error| self.told(key, error))?.map_err(move |error| told(&owned, error)).boxed()
        };
        Ok(GetResult { payload: GetResultPayload::Stream(stream), meta, range, attributes: Default::default() })
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only())
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only())
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        futures::stream::once(async { Err(read_only()) }).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        futures::stream::once(async { Err(read_only()) }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(read_only())
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(read_only())
    }
}
