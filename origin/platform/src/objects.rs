//! The object store as services use it: signed by `rusty-s3`, carried by `reqwest`, tried again a few times where that is safe. URLs for
//! clients are signed for the store's public address, which is the one the client's `Host` header will name.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use http::{StatusCode, header};
use protocol::UnixMs;
use reqwest::{Response, Url};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

use crate::{Config, Keys};

/// How long a signature of our own requests holds.
const SIGNED_FOR: Duration = Duration::from_secs(300);
/// Attempts of a call, the first included.
const ATTEMPTS: u32 = 4;
const BACKOFF_MS: u64 = 50;

/// The object store.
#[derive(Debug, Clone)]
pub struct Objects {
    http: reqwest::Client,
    endpoint: Url,
    public: Url,
    region: String,
    credentials: Credentials,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectHead {
    /// Bytes.
    pub size: u64,
    /// The store's name for this content, without quotes.
    pub etag: String,
}

/// Why a call to the object store failed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// There is no such object.
    #[error("there is no object {0}")]
    NotFound(String),
    /// The store refused; trying again cannot help.
    #[error("the object store refused {key}: {status} {body}")]
    Refused {
        /// The object.
        key: String,
        /// The status it answered.
        status: StatusCode,
        /// The beginning of what it said.
        body: String,
    },
    /// The store does not answer, or failed; trying again later can help.
    #[error("the object store does not answer: {0}")]
    Away(String),
    /// A file of ours could not be read.
    #[error("the file to store cannot be read: {0}")]
    File(#[from] std::io::Error),
    /// The configuration names no usable store.
    #[error("the object store's address is not usable: {0}")]
    Address(String),
}

impl ObjectsError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        matches!(self, Self::Away(_))
    }
}

impl From<ObjectsError> for crate::Problem {
    fn from(error: ObjectsError) -> Self {
        match error {
            ObjectsError::NotFound(_) => Self::not_found("not_found", "there is no such object"),
            ObjectsError::Away(_) => {
                tracing::warn!(%error, "the object store is away");
                Self::unavailable(2)
            }
            _ => {
                tracing::error!(%error, "the object store failed");
                Self::internal()
            }
        }
    }
}

impl Objects {
    /// With the deployment's address and credentials.
    ///
    /// # Errors
    /// [`ObjectsError::Address`].
    pub fn new(config: &Config, keys: &Keys) -> Result<Self, ObjectsError> {
        let url = |text: &str| Url::parse(text).map_err(|error| ObjectsError::Address(format!("{text}: {error}")));
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(2))
            .read_timeout(Duration::from_secs(30))
            .build()
            .map_err(|error| ObjectsError::Address(error.to_string()))?;
        Ok(Self {
            http,
            endpoint: url(&config.objects.endpoint)?,
            public: url(&config.public.object_store)?,
            region: config.objects.region.clone(),
            credentials: Credentials::new(&keys.objects.access_key, &keys.objects.secret_key),
        })
    }

    /// Stores bytes.
    ///
    /// # Errors
    /// [`ObjectsError`].
    pub async fn put(&self, bucket: &str, key: &str, body: Bytes, content_type: &str) -> Result<(), ObjectsError> {
        let (bucket, credentials) = (self.bucket(bucket)?, &self.credentials);
        retried(|| async {
            let url = bucket.put_object(Some(credentials), key).sign(SIGNED_FOR);
            let request = self.http.put(url).header(header::CONTENT_TYPE, content_type).body(body.clone());
            accepted(key, request.send().await).await.map(drop)
        })
        .await
    }

    /// Stores a file, streamed.
    ///
    /// # Errors
    /// [`ObjectsError`].
    pub async fn put_file(&self, bucket: &str, key: &str, file: &Path, content_type: &str) -> Result<(), ObjectsError> {
        let (bucket, credentials) = (self.bucket(bucket)?, &self.credentials);
        retried(|| async {
            let open = tokio::fs::File::open(file).await?;
            let size = open.metadata().await?.len();
            let url = bucket.put_object(Some(credentials), key).sign(SIGNED_FOR);
            let request = self.http.put(url).header(header::CONTENT_TYPE, content_type).header(header::CONTENT_LENGTH, size).body(open);
            accepted(key, request.send().await).await.map(drop)
        })
        .await
    }

    /// The whole object.
    ///
    /// # Errors
    /// [`ObjectsError`], `NotFound` among them.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Bytes, ObjectsError> {
        let (bucket, credentials) = (self.bucket(bucket)?, &self.credentials);
        retried(|| async {
            let url = bucket.get_object(Some(credentials), key).sign(SIGNED_FOR);
            accepted(key, self.http.get(url).send().await).await?.bytes().await.map_err(away)
        })
        .await
    }

    /// The whole object as a stream, with its size when the store tells it.
    ///
    /// # Errors
    /// [`ObjectsError`], `NotFound` among them; the stream can fail later with `Away`.
    pub async fn get_stream(
        &self,
        bucket: &str,
        key: &str,
    ) -> Result<(Option<u64>, BoxStream<'static, Result<Bytes, ObjectsError>>), ObjectsError> {
        let (bucket, credentials) = (self.bucket(bucket)?, &self.credentials);
        let response = retried(|| async {
            let url = bucket.get_object(Some(credentials), key).sign(SIGNED_FOR);
            accepted(key, self.http.get(url).send().await).await
        })
        .await?;
        Ok((response.content_length(), response.bytes_stream().map_err(away).boxed()))
    }

    /// `len` bytes from `offset`, as a stream.
    ///
    /// # Errors
    /// [`ObjectsError`], `NotFound` among them; `Refused` when the store ignores the range.
    pub async fn get_range(
        &self,
        bucket: &str,
        key: &str,
        offset: u64,
        len: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, ObjectsError>>, ObjectsError> {
        let (bucket, credentials) = (self.bucket(bucket)?, &self.credentials);
        let range = format!("bytes={offset}-{}", offset.saturating_add(len).saturating_sub(1));
        let response = retried(|| async {
            let url = bucket.get_object(Some(credentials), key).sign(SIGNED_FOR);
            accepted(key, self.http.get(url).header(header::RANGE, &range).send().await).await
        })
        .await?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            let body = "the range was ignored".to_owned();
            return Err(ObjectsError::Refused { key: key.to_owned(), status: response.status(), body });
        }
        Ok(response.bytes_stream().map_err(away).boxed())
    }

    /// Size and ETag, or `None` when there is no such object.
    ///
    /// # Errors
    /// [`ObjectsError`].
    pub async fn head(&self, bucket: &str, key: &str) -> Result<Option<ObjectHead>, ObjectsError> {
        let (bucket, credentials) = (self.bucket(bucket)?, &self.credentials);
        let answer = retried(|| async {
            let url = bucket.head_object(Some(credentials), key).sign(SIGNED_FOR);
            accepted(key, self.http.head(url).send().await).await
        })
        .await;
        match answer {
            Ok(response) => {
                let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
                let size = text(header::CONTENT_LENGTH).and_then(|size| size.parse().ok()).unwrap_or(0);
                let etag = text(header::ETAG).unwrap_or_default().trim_matches('"').to_owned();
                Ok(Some(ObjectHead { size, etag }))
            }
            Err(ObjectsError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// [`ObjectsError`].
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), ObjectsError> {
        let (bucket, credentials) = (self.bucket(bucket)?, &self.credentials);
        let answer = retried(|| async {
            let url = bucket.delete_object(Some(credentials), key).sign(SIGNED_FOR);
            accepted(key, self.http.delete(url).send().await).await.map(drop)
        })
        .await;
        match answer {
            Err(ObjectsError::NotFound(_)) => Ok(()),
            answer => answer,
        }
    }

    /// Makes a bucket unless it is there.
    ///
    /// # Errors
    /// [`ObjectsError`].
    pub async fn ensure_bucket(&self, name: &str) -> Result<(), ObjectsError> {
        let (bucket, credentials) = (self.bucket(name)?, &self.credentials);
        let found = retried(|| async {
            let url = bucket.head_bucket(Some(credentials)).sign(SIGNED_FOR);
            accepted(name, self.http.head(url).send().await).await.map(drop)
        })
        .await;
        match found {
            Err(ObjectsError::NotFound(_)) => {}
            found => return found,
        }
        let made = retried(|| async {
            let action = bucket.create_bucket(credentials);
            let url = action.sign(SIGNED_FOR);
            accepted(name, self.http.put(url).send().await).await.map(drop)
        })
        .await;
        match made {
            // Another process made it first.
            Err(ObjectsError::Refused { status: StatusCode::CONFLICT, .. }) => Ok(()),
            made => made,
        }
    }

    /// A URL with which a client may PUT one object until `now + expires`, sending exactly `headers`, which are signed with it.
    ///
    /// # Errors
    /// [`ObjectsError::Address`].
    pub fn presign_put(
        &self,
        bucket: &str,
        key: &str,
        headers: &[(&str, &str)],
        expires: Duration,
        now: UnixMs,
    ) -> Result<String, ObjectsError> {
        let bucket = self.bucket_at(&self.public, bucket)?;
        let mut action = bucket.put_object(Some(&self.credentials), key);
        for (name, value) in headers {
            action.headers_mut().insert((*name).to_owned(), (*value).to_owned());
        }
        let at = jiff::Timestamp::from_millisecond(now.0).map_err(|error| ObjectsError::Address(error.to_string()))?;
        Ok(action.sign_with_time(expires, &at).to_string())
    }

    fn bucket(&self, name: &str) -> Result<Bucket, ObjectsError> {
        self.bucket_at(&self.endpoint, name)
    }

    fn bucket_at(&self, endpoint: &Url, name: &str) -> Result<Bucket, ObjectsError> {
        Bucket::new(endpoint.clone(), UrlStyle::Path, name.to_owned(), self.region.clone())
            .map_err(|error| ObjectsError::Address(error.to_string()))
    }
}

/// Sorts an answer into taken, not there, refused and away.
async fn accepted(key: &str, sent: Result<Response, reqwest::Error>) -> Result<Response, ObjectsError> {
    let response = sent.map_err(away)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status == StatusCode::NOT_FOUND {
        return Err(ObjectsError::NotFound(key.to_owned()));
    }
    let body: String = response.text().await.unwrap_or_default().chars().take(300).collect();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(ObjectsError::Away(format!("{status} {body}")));
    }
    Err(ObjectsError::Refused { key: key.to_owned(), status, body })
}

/// The URL is left out: its query is a signature.
fn away(error: reqwest::Error) -> ObjectsError {
    ObjectsError::Away(crate::feed::describe(&error.without_url()))
}

/// Tries again while the store is away: every call here may be repeated without harm. Waits grow, with jitter.
async fn retried<T, F: Future<Output = Result<T, ObjectsError>>>(call: impl Fn() -> F) -> Result<T, ObjectsError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match call().await {
            Err(error) if error.is_away() && attempt < ATTEMPTS => {
                let ceiling = BACKOFF_MS << attempt;
                tokio::time::sleep(Duration::from_millis(rand::random_range(ceiling / 2..=ceiling))).await;
            }
            answer => return answer,
        }
    }
}
