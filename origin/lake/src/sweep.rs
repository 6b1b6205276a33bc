//! Removes objects that nobody can need: files that a merge replaced and that no reader can still be reading, and objects of writers that died
//! before their commit. An object is first marked, then removed, then forgotten, so it may be killed between any two of them.

use platform::objects::ObjectsError;

use crate::{
    Lake, LakeError,
    step::{Step, Watch},
};

/// How long a snapshot that is not the newest can still be read, and how long a writer may take from naming an object to its commit.
pub const GRACE_MS: i64 = 3_600_000;
/// Objects of one step.
const OBJECTS_MAX: i64 = 200;

impl Lake {
    /// Removes what has been out of use for [`GRACE_MS`]; gives how many objects that were.
    ///
    /// # Errors
    /// [`LakeError`]; what was marked is removed by the next step.
    pub async fn sweep(&self, watch: Watch<'_>) -> Result<usize, LakeError> {
        let old = self.clock.now().plus_ms(-GRACE_MS).0;
        sqlx::query(
            "WITH out_of_use AS (
                 SELECT object FROM lake.files WHERE removed_at_ms <= $1 ORDER BY removed_at_ms LIMIT $2
             ), taken_out AS (
                 DELETE FROM lake.files WHERE object IN (SELECT object FROM out_of_use) RETURNING object
             )
             INSERT INTO lake.pending (object, since_ms, condemned) SELECT object, $1, TRUE FROM taken_out",
        )
        .bind(old)
        .bind(OBJECTS_MAX)
        .execute(&self.pool)
        .await?;
        sqlx::query("UPDATE lake.pending SET condemned = TRUE WHERE since_ms <= $1 AND NOT condemned")
            .bind(old)
            .execute(&self.pool)
            .await?;
        let condemned: Vec<String> = sqlx::query_scalar("SELECT object FROM lake.pending WHERE condemned ORDER BY object LIMIT $1")
            .bind(OBJECTS_MAX)
            .fetch_all(&self.pool)
            .await?;
        if condemned.is_empty() {
            return Ok(0);
        }
        watch(Step::Condemned);
        for object in &condemned {
            match self.objects.delete(&self.bucket, object).await {
                Ok(()) | Err(ObjectsError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        watch(Step::Deleted);
        sqlx::query("DELETE FROM lake.pending WHERE condemned AND object = ANY ($1)").bind(&condemned).execute(&self.pool).await?;
        Ok(condemned.len())
    }
}
