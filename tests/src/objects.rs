//! A bucket of the system's object store as its operator sees it: every name, every byte, and the power to remove.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use reqwest::{Client, StatusCode, Url};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle, actions::ListObjectsV2};
use sha2::{Digest as _, Sha256};

use crate::{System, keys::ObjectKeys};

/// The region that a local system signs for.
pub const REGION: &str = "us-east-1";
const SIGNED_FOR: Duration = Duration::from_secs(60);

/// One bucket.
pub struct Objects {
    http: Client,
    bucket: Bucket,
    credentials: Credentials,
}

impl Objects {
    /// The bucket `name` of `system`.
    ///
    /// # Errors
    /// When the system's keys or addresses cannot be read.
    pub fn of(system: &System, name: &'static str) -> Result<Self> {
        let bucket = Bucket::new(Url::parse(&system.run.object_store)?, UrlStyle::Path, name, REGION)?;
        Ok(Self { http: Client::new(), bucket, credentials: ObjectKeys::of(system)?.credentials() })
    }

    /// The SHA-256 of every object whose name begins with `prefix`, by name.
    ///
    /// # Errors
    /// When the store refuses, or has more than one page of them.
    pub async fn digests(&self, prefix: &str) -> Result<BTreeMap<String, String>> {
        let mut digests = BTreeMap::new();
        for name in self.names(prefix).await? {
            let object = self.http.get(self.bucket.get_object(Some(&self.credentials), &name).sign(SIGNED_FOR)).send().await?;
            ensure!(object.status() == StatusCode::OK, "GET {name}: {}", object.status());
            digests.insert(name, hex::encode(Sha256::digest(object.bytes().await?)));
        }
        Ok(digests)
    }

    /// The names that begin with `prefix`.
    ///
    /// # Errors
    /// As [`Self::digests`].
    pub async fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let mut list = self.bucket.list_objects_v2(Some(&self.credentials));
        list.with_prefix(prefix);
        let page = self.http.get(list.sign(SIGNED_FOR)).send().await?.error_for_status()?.text().await?;
        let page = ListObjectsV2::parse_response(&page).ok().context("a list of objects")?;
        ensure!(page.next_continuation_token.is_none(), "more than one page below {prefix}");
        Ok(page.contents.into_iter().map(|object| object.key).collect())
    }

    /// Removes an object.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let url = self.bucket.delete_object(Some(&self.credentials), name).sign(SIGNED_FOR);
        self.http.delete(url).send().await?.error_for_status()?;
        Ok(())
    }
}
