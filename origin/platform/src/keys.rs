//! The secrets of a deployment, one JSON file each in the keys directory (mode 0600). A local deployment makes what is missing,
//! once, whichever of its processes comes first; a production deployment refuses to start without them.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::{
    keys::TokenKeys,
    session::{SessionSigner, SessionVerifier},
};
use serde::Deserialize;

use crate::{config::Mode, random_bytes};

/// Every secret, read and checked.
#[derive(Clone)]
pub struct Keys {
    /// Signs and verifies media tokens and event tickets; makes pseudonyms.
    pub token: TokenKeys,
    /// The document behind [`Self::token`], which the edge is given as it is.
    pub token_json: String,
    /// Signs sessions; used by identity alone.
    pub session_signer: Arc<SessionSigner>,
    /// Verifies sessions.
    pub session_verifier: SessionVerifier,
    /// The public session keys (JWK set), which the edge is given.
    pub jwks_json: String,
    /// What edge and gateway sign their requests with.
    pub edge_secret: Vec<u8>,
    /// The object store's credentials.
    pub objects: ObjectKeys,
    /// The passwords of the database roles are derived from it.
    pub database_seed: Vec<u8>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("token", &self.token).finish_non_exhaustive()
    }
}

/// Credentials for the object store.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectKeys {
    /// The public half.
    pub access_key: String,
    /// The secret half.
    pub secret_key: String,
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file that cannot be read or made.
    #[error("the key file {0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// A file of other content.
    #[error("the key file {0} is not usable: {1}")]
    Invalid(PathBuf, String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EdgeFile {
    secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseFile {
    seed: String,
}

impl Keys {
    /// Reads `dir`.
    ///
    /// # Errors
    /// [`KeysError`], which names the file.
    pub fn load(dir: &Path, mode: Mode) -> Result<Self, KeysError> {
        let read = |name: &str, make: fn() -> String| -> Result<(PathBuf, String), KeysError> {
            let path = dir.join(name);
            if mode == Mode::Local {
                make_once(&path, make).map_err(|error| KeysError::Io(path.clone(), error))?;
            }
            let text = fs::read_to_string(&path).map_err(|error| KeysError::Io(path.clone(), error))?;
            Ok((path, text))
        };
        let (path, token_json) =
            read("token.json", || format!(r#"{{"current":1,"keys":{{"1":"{}"}},"pseudonym":"{}"}}"#, secret(), secret()))?;
        let token = TokenKeys::parse(&token_json).map_err(|error| invalid(&path, error))?;

        let (path, session_json) = read("session.json", || format!(r#"{{"current":"k1","keys":{{"k1":"{}"}}}}"#, secret()))?;
        let session_signer = SessionSigner::parse(&session_json).map_err(|error| invalid(&path, error))?;
        let jwks_json = session_signer.jwks().to_string();
        let session_verifier = SessionVerifier::from_jwks(&jwks_json).map_err(|error| invalid(&path, error))?;

        let (path, text) = read("edge.json", || format!(r#"{{"secret":"{}"}}"#, secret()))?;
        let edge: EdgeFile = serde_json::from_str(&text).map_err(|error| invalid(&path, error))?;
        let edge_secret = unhex(&path, &edge.secret)?;

        let (path, text) = read("database.json", || format!(r#"{{"seed":"{}"}}"#, secret()))?;
        let database: DatabaseFile = serde_json::from_str(&text).map_err(|error| invalid(&path, error))?;
        let database_seed = unhex(&path, &database.seed)?;

        let (path, text) = read("objects.json", || {
            format!(r#"{{"access_key":"antiphon-{}","secret_key":"{}"}}"#, hex::encode(random_bytes::<6>()), secret())
        })?;
        let objects = serde_json::from_str(&text).map_err(|error| invalid(&path, error))?;

        let session_signer = Arc::new(session_signer);
        Ok(Self { token, token_json, session_signer, session_verifier, jwks_json, edge_secret, objects, database_seed })
    }
}

/// 32 random bytes as hex.
fn secret() -> String {
    hex::encode(random_bytes::<32>())
}

fn invalid(path: &Path, error: impl ToString) -> KeysError {
    KeysError::Invalid(path.to_owned(), error.to_string())
}

/// At least 16 bytes from hex.
fn unhex(path: &Path, text: &str) -> Result<Vec<u8>, KeysError> {
    match hex::decode(text) {
        Ok(bytes) if bytes.len() >= 16 => Ok(bytes),
        _ => Err(invalid(path, "it must hold at least 32 hex digits")),
    }
}

/// Makes the file unless it is there. It appears whole or not at all, and only the first of several processes makes it: the
/// finished text is linked to its name, which fails when the name is taken.
fn make_once(path: &Path, make: fn() -> String) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let draft = path.with_extension(format!("{}.draft", hex::encode(random_bytes::<8>())));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(make().as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn processes_that_start_together_agree_on_the_keys() {
        let dir = std::env::temp_dir().join(format!("antiphon-keys-{}", hex::encode(random_bytes::<6>())));
        assert!(Keys::load(&dir, Mode::Production).is_err(), "production makes no keys");
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let dir = dir.clone();
                std::thread::spawn(move || Keys::load(&dir, Mode::Local).unwrap().token_json)
            })
            .collect();
        let read: std::collections::BTreeSet<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(read.len(), 1);
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
