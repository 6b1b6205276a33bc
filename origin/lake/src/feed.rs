//! The feeds of royalty and the catalogue, as their readers call them.

use std::time::Duration;

use platform::activity::{CHANGES_MAX, Changes, LikeDoc, Place, PlayDoc};
use serde::de::DeserializeOwned;

use crate::LakeError;

/// Both feeds.
#[derive(Debug, Clone)]
pub(crate) struct Feeds {
    http: reqwest::Client,
    plays: String,
    likes: String,
}

impl Feeds {
    pub(crate) fn at(royalty_url: &str, catalog_url: &str) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(2)).timeout(Duration::from_secs(20)).build()?;
        Ok(Self { http, plays: format!("{royalty_url}/internal/plays"), likes: format!("{catalog_url}/internal/likes") })
    }

    /// Plays that changed after `after`, each as it is now.
    pub(crate) async fn plays(&self, after: Place) -> Result<Changes<PlayDoc>, LakeError> {
        self.pull(&self.plays, after).await
    }

    /// Likes and unlikes after `after`.
    pub(crate) async fn likes(&self, after: Place) -> Result<Changes<LikeDoc>, LakeError> {
        self.pull(&self.likes, after).await
    }

    async fn pull<T: DeserializeOwned>(&self, url: &str, after: Place) -> Result<Changes<T>, LakeError> {
        let query = [("after", after.to_string()), ("limit", CHANGES_MAX.to_string())];
        Ok(self.http.get(url).query(&query).send().await?.error_for_status()?.json().await?)
    }
}
