//! Removes what artists sent once nobody needs it any more: from uploads that have ended (`store::raw`) to the object store. A step takes a
//! bounded number; removing an object again is no error, so a janitor may die anywhere, and several may work side by side.

use futures::StreamExt as _;
use protocol::{UnixMs, UploadId};

use super::Workers;
use crate::{store::raw, upload::Upload};

/// Uploads that one step takes.
const STEP_MAX: i64 = 200;
/// Objects removed at the same time.
const AT_ONCE: usize = 4;
/// How long after its declaration the file of a cancelled upload is kept. The place that was promised for it is closed by then, and a slow sender
/// who began in time has ended: nothing appears after it was looked for.
pub(super) const CANCELLED_KEPT_MS: i64 = 24 * 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;

impl Workers {
    /// One step; how many files were removed.
    pub(super) async fn clear_raw(&self, now: UnixMs) -> sqlx::Result<usize> {
        let ended_before = match self.raw_days_max {
            // For ever.
            0 => UnixMs(i64::MIN),
            days => now.plus_ms(-DAY_MS * i64::from(days)),
        };
        let uploads = raw::not_needed(&self.pool, now.plus_ms(-CANCELLED_KEPT_MS), ended_before, STEP_MAX).await?;
        let removals = futures::stream::iter(uploads).map(|id| self.remove_raw(id)).buffer_unordered(AT_ONCE);
        let removed: Vec<UploadId> = removals.filter_map(std::future::ready).collect().await;
        raw::removed(&self.pool, &removed, now).await?;
        Ok(removed.len())
    }

    async fn remove_raw(&self, id: UploadId) -> Option<UploadId> {
        match self.objects.delete(&self.raw_bucket, &Upload::raw_key(id)).await {
            Ok(()) => Some(id),
            Err(error) => {
                tracing::warn!(%error, upload = %id, "a file that is needed no more stays for now");
                None
            }
        }
    }
}
