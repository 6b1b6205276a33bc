//! The newest snapshot as files, for readers that do not know our manifest: DuckDB, Spark, anything that reads Parquet in folders named
//! `column=value`.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::{
    Lake, LakeError,
    manifest::{self, Snapshot},
};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The folder has something in it.
    #[error("{0} is not empty: a copy of the lake wants a folder of its own, or files of another snapshot would stand beside it")]
    NotEmpty(String),
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
    /// [`ExportError`]; what is there then is not a whole snapshot.
    pub async fn export(&self, folder: &Path) -> Result<Snapshot, ExportError> {
        let unwritable = |path: &Path| {
            let path = path.display().to_string();
            move |error| ExportError::Unwritable(path, error)
        };
        std::fs::create_dir_all(folder).map_err(unwritable(folder))?;
        if std::fs::read_dir(folder).map_err(unwritable(folder))?.next().is_some() {
            return Err(ExportError::NotEmpty(folder.display().to_string()));
        }
        let snapshot = self.snapshot().await?;
        for file in &snapshot.files {
            let bytes = self.objects.get(&self.bucket, &file.object).await.map_err(LakeError::from)?;
            if Sha256::digest(&bytes).as_slice() != file.sha256 {
                return Err(LakeError::Contradiction(format!("{} has other bytes than were written", file.object)).into());
            }
            let path = folder.join(&file.object);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(unwritable(parent))?;
            }
            tokio::fs::write(&path, &bytes).await.map_err(unwritable(&path))?;
        }
        Ok(snapshot)
    }
}
