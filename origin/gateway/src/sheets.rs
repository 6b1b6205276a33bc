//! Sheets of media versions, from the shield, parsed once. They are immutable, so a parsed one is good for as long as there is room.

use std::sync::Arc;

use bytes::Bytes;
use moka::future::Cache;
use protocol::{MediaVersion, sheet::Sheet};

use crate::shield::{Key, Shield, ShieldError};

const SHEETS_MAX: u64 = 10_000;

pub(crate) struct Sheets {
    shield: Shield,
    parsed: Cache<MediaVersion, Arc<Sheet>>,
}

impl Sheets {
    pub(crate) fn new(shield: Shield) -> Self {
        Self { shield, parsed: Cache::new(SHEETS_MAX) }
    }

    /// The sheet; callers that ask at once share one read.
    pub(crate) async fn get(&self, version: MediaVersion) -> Result<Arc<Sheet>, ShieldError> {
        let load = async { Ok(Arc::new(self.load(version).await?.1)) };
        self.parsed.try_get_with(version, load).await.map_err(|error: Arc<ShieldError>| (*error).clone())
    }

    /// The sheet as it is stored, for the edge.
    pub(crate) async fn text(&self, version: MediaVersion) -> Result<Bytes, ShieldError> {
        Ok(self.load(version).await?.0)
    }

    async fn load(&self, version: MediaVersion) -> Result<(Bytes, Sheet), ShieldError> {
        let key = Key::Sheet { version };
        let text = self.shield.read(key).await?.whole().await?;
        match serde_json::from_slice::<Sheet>(&text) {
            Ok(sheet) if sheet.version == version => Ok((text, sheet)),
            Ok(_) | Err(_) => {
                // A file that a crash left wrong must not outlive the next read.
                self.shield.forget(&key);
                tracing::error!(%version, "a stored sheet is not one");
                Err(ShieldError::Corrupt)
            }
        }
    }
}
