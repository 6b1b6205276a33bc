//! The newest snapshot as files, for readers that do not know our manifest: DuckDB, Spark, anything that reads Parquet in folders named
//! `column=value`.

use std::path::Path;

use platform::objects::ObjectsError;
use sha2::{Digest as _, Sha256};

use crate::{
    Lake, LakeError,
    manifest::{self, Snapshot},
};

/// The folder that all objects of the lake are in.
const ROOT: &str = "activity";

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The folder has something in it.
    #[error("{0} is not empty: a copy of the lake wants a folder of its own, or files of another snapshot would stand beside it")]
    NotEmpty(String),
    /// A file of the snapshot is gone: the copy took longer than replaced files are kept.
    #[error("the lake was rewritten while it was copied: run it again")]
    Rewritten,
    /// It cannot be written.
    #[error("{0} cannot be written: {1}")]
    Unwritable(String, std::io::Error),
    /// The lake cannot be read.
    #[error(transparent)]
    Lake(#[from] LakeError),
}

impl Lake {
    /// What the lake is now.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn snapshot(&self) -> Result<Snapshot, LakeError> {
        manifest::newest(&self.pool).await
    }

    /// Copies the newest snapshot below `folder`, which is made or empty; gives what was copied.
    ///
    /// # Errors
    /// [`ExportError`]; nothing of the copy is left then.
    pub async fn export(&self, folder: &Path) -> Result<Snapshot, ExportError> {
        std::fs::create_dir_all(folder).map_err(unwritable(folder))?;
        if std::fs::read_dir(folder).map_err(unwritable(folder))?.next().is_some() {
            return Err(ExportError::NotEmpty(folder.display().to_string()));
        }
        let snapshot = self.snapshot().await?;
        let copied = self.copy(&snapshot, folder).await;
        if copied.is_err() {
            // What cannot be removed stands where the error says.
            let _ = std::fs::remove_dir_all(folder.join(ROOT));
        }
        copied.map(|()| snapshot)
    }

    async fn copy(&self, snapshot: &Snapshot, folder: &Path) -> Result<(), ExportError> {
        for file in &snapshot.files {
            let bytes = self.objects.get(&self.bucket, &file.object).await.map_err(|error| match error {
                ObjectsError::NotFound(_) => ExportError::Rewritten,
                error => LakeError::from(error).into(),
            })?;
            if Sha256::digest(&bytes).as_slice() != file.sha256 {
                return Err(LakeError::Contradiction(format!("{} has other bytes than were written", file.object)).into());
            }
            let path = folder.join(&file.object);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(unwritable(parent))?;
            }
            tokio::fs::write(&path, &bytes).await.map_err(unwritable(&path))?;
        }
        Ok(())
    }
}

fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> ExportError {
    let path = path.display().to_string();
    move |error| ExportError::Unwritable(path, error)
}
