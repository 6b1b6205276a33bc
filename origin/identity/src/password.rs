//! Passwords: argon2id with the parameters that OWASP's Password Storage Cheat Sheet names first (19 MiB, 2 passes, 1 lane), on threads that
//! may block, as many at a time as the machine has cores. A check costs the same whether or not there is anything to check against.

use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use platform::random_bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{IdentityError, account::PASSWORD_BYTES_MAX};

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
/// How long a check waits for its turn before the caller is told to come back.
const TURN_TIME_MAX: Duration = Duration::from_secs(3);

/// Hashes and checks passwords.
#[derive(Clone)]
pub(crate) struct Hasher {
    argon2: Argon2<'static>,
    turns: Arc<Semaphore>,
    /// A hash of a password that nobody knows, checked when the account does not exist.
    decoy: Arc<str>,
}

impl Hasher {
    pub(crate) fn new() -> Result<Self, IdentityError> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(failed)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let decoy = hash(&argon2, &random_bytes::<32>())?.into();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { argon2, turns: Arc::new(Semaphore::new(cores)), decoy })
    }

    /// The PHC string of a password.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, IdentityError> {
        let _turn = self.turn().await?;
        let (argon2, password) = (self.argon2.clone(), password.to_owned());
        tokio::task::spawn_blocking(move || hash(&argon2, password.as_bytes())).await.map_err(failed)?
    }

    /// Whether the password belongs to the PHC string; `None` takes as long and is `false`.
    pub(crate) async fn verify(&self, password: &str, phc: Option<&str>) -> Result<bool, IdentityError> {
        let _turn = self.turn().await?;
        let known = phc.is_some() && password.len() <= PASSWORD_BYTES_MAX;
        let phc = phc.unwrap_or(&self.decoy).to_owned();
        // What is longer than any password here is not hashed in full.
        let password: Vec<u8> = password.bytes().take(PASSWORD_BYTES_MAX).collect();
        let argon2 = self.argon2.clone();
        let matches = tokio::task::spawn_blocking(move || {
            let phc = PasswordHash::new(&phc).map_err(failed)?;
            Ok::<_, IdentityError>(argon2.verify_password(&password, &phc).is_ok())
        })
        .await
        .map_err(failed)??;
        Ok(matches && known)
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, IdentityError> {
        match tokio::time::timeout(TURN_TIME_MAX, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(IdentityError::Busy),
        }
    }
}

fn hash(argon2: &Argon2<'static>, password: &[u8]) -> Result<String, IdentityError> {
    let hash: PasswordHash = argon2.hash_password_with_salt(password, &random_bytes::<SALT_BYTES>()).map_err(failed)?;
    Ok(hash.to_string())
}

fn failed(error: impl ToString) -> IdentityError {
    IdentityError::Hash(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_opens_its_own_hash_and_no_other() {
        let hasher = Hasher::new().unwrap();
        let phc = hasher.hash("correct horse battery").await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert_ne!(phc, hasher.hash("correct horse battery").await.unwrap(), "the salt is new each time");
        assert!(hasher.verify("correct horse battery", Some(&phc)).await.unwrap());
        assert!(!hasher.verify("correct horse batterz", Some(&phc)).await.unwrap());
        assert!(!hasher.verify("correct horse battery", None).await.unwrap());
        let long = "x".repeat(PASSWORD_BYTES_MAX);
        let phc = hasher.hash(&long).await.unwrap();
        assert!(!hasher.verify(&format!("{long}y"), Some(&phc)).await.unwrap(), "nothing is cut off in silence");
    }
}
