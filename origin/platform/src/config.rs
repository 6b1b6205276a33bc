//! One configuration for every role, from one TOML file, the environment and flags; the last of these wins. A key that no part
//! knows is an error that says what may have been meant, so that a misspelt setting cannot be ignored in silence.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::keys::{Keys, KeysError};

mod merge;
mod royalty;

pub use self::royalty::{Cells, Intake, IntakeKind, Royalty};

/// Everything a deployment can set. Every key but `database.url` has a default that suits one machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What kind of deployment this is.
    pub deployment: Deployment,
    /// Where each role listens.
    pub listen: Listen,
    /// How clients reach the system.
    pub public: Public,
    /// PostgreSQL.
    pub database: Database,
    /// The object store.
    pub objects: Objects,
    /// Secrets.
    pub keys: KeysDir,
    /// Files that the roles keep.
    pub state: State,
    /// The way from an upload to a published track.
    pub ingest: Ingest,
    /// Money.
    pub royalty: Royalty,
    /// The activity lake.
    pub lake: Lake,
}

/// `local` generates keys that are missing; `production` refuses to start without them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One machine, nothing prepared.
    #[default]
    Local,
    /// Secrets are brought by the operator.
    Production,
}

/// `[deployment]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deployment {
    /// `local` or `production`.
    pub mode: Mode,
}

/// `[listen]`: host:port of each role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is the address of the role it is named for")]
pub struct Listen {
    pub gateway: String,
    pub gateway_admin: String,
    pub identity: String,
    pub catalog: String,
    pub ingest: String,
    pub store: String,
    pub search: String,
    pub recommend: String,
    pub royalty: String,
    pub lake: String,
}

impl Default for Listen {
    fn default() -> Self {
        let at = |port: u16| format!("127.0.0.1:{port}");
        Self {
            gateway: at(8080),
            gateway_admin: at(8090),
            identity: at(7001),
            catalog: at(7002),
            ingest: at(7003),
            store: at(9000),
            search: at(7005),
            recommend: at(7006),
            royalty: at(7007),
            lake: at(7008),
        }
    }
}

/// `[public]`: base URLs as a client sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Public {
    /// The edge, which clients call.
    pub edge: String,
    /// The gateway, the second way to the music.
    pub gateway: String,
    /// Where uploads are sent.
    pub object_store: String,
}

impl Default for Public {
    fn default() -> Self {
        let at = |port: u16| format!("http://127.0.0.1:{port}");
        Self { edge: at(8787), gateway: at(8080), object_store: at(9000) }
    }
}

/// How roles log in to PostgreSQL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseRoles {
    /// As `antiphon_<role>`, with a password derived from the database seed.
    #[default]
    Derived,
    /// As the owner: one login for all, where roles cannot be made.
    Owner,
}

/// `[database]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// The owner's URL. Required; `migrate` uses it as it is, services log in to the same database as themselves.
    pub url: String,
    /// How services log in.
    pub roles: DatabaseRoles,
}

/// `[objects]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Objects {
    /// The S3 endpoint that services call.
    pub endpoint: String,
    /// The region its signatures name.
    pub region: String,
    /// Where uploads land.
    pub raw_bucket: String,
    /// Where what listeners hear is kept.
    pub media_bucket: String,
    /// Where the activity lake is.
    pub lake_bucket: String,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            endpoint: "http://127.0.0.1:9000".to_owned(),
            region: "us-east-1".to_owned(),
            raw_bucket: "raw".to_owned(),
            media_bucket: "media".to_owned(),
            lake_bucket: "lake".to_owned(),
        }
    }
}

/// `[keys]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeysDir {
    /// The folder of key files, readable by their owner alone.
    pub dir: PathBuf,
}

impl Default for KeysDir {
    fn default() -> Self {
        Self { dir: PathBuf::from(".antiphon/keys") }
    }
}

/// `[state]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// The folder below which `store`, `search` and `shield` keep their files.
    pub dir: PathBuf,
}

impl Default for State {
    fn default() -> Self {
        Self { dir: PathBuf::from(".antiphon") }
    }
}

/// `[ingest]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ingest {
    /// Uploads worked on at the same time.
    pub workers: u32,
    /// The ffmpeg to encode with.
    pub ffmpeg: String,
    /// The largest upload taken, in bytes.
    pub upload_bytes_max: u64,
    /// The longest track taken, in milliseconds.
    pub duration_ms_max: u64,
    /// Days that a file is kept after its upload has ended: published, rejected or taken down. 0: for ever, which a later encoding at other
    /// qualities needs. That of a cancelled upload is kept for one.
    pub raw_days_max: u32,
}

impl Default for Ingest {
    fn default() -> Self {
        Self { workers: 1, ffmpeg: "ffmpeg".to_owned(), upload_bytes_max: 2_000_000_000, duration_ms_max: 4 * 3_600_000, raw_days_max: 90 }
    }
}

/// `[lake]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lake {
    /// How often what happened is written, in milliseconds: the age of the newest row, and the number of small files, follow from it.
    pub every_ms: u64,
}

impl Default for Lake {
    fn default() -> Self {
        Self { every_ms: 10_000 }
    }
}

/// Why the configuration cannot be used. Each says which source and which key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("the configuration {0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// The file is not TOML.
    #[error("the configuration {0} is not TOML: {1}")]
    NotToml(PathBuf, Box<toml::de::Error>),
    /// A `--set` that is not `section.key=value`.
    #[error("`--set {0}` is not of the form section.key=value")]
    BadSet(String),
    /// No part knows the key.
    #[error("{source_name}: there is no setting `{key}`{}", .meant.as_ref().map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default())]
    Unknown {
        /// The file, the variable or the flag.
        source_name: String,
        /// The key, with its section.
        key: String,
        /// The nearest key there is.
        meant: Option<String>,
    },
    /// A value of the wrong kind.
    #[error("the configuration is not valid: {0}")]
    Invalid(Box<toml::de::Error>),
    /// An address that is not host:port.
    #[error("`listen.{0}` = {1:?} is not an address and port")]
    BadAddress(String, String),
    /// `database.url` is missing or not a URL.
    #[error("`database.url` must be a postgres:// URL (set it in the file, or as ANTIPHON__DATABASE__URL)")]
    NoDatabase,
    /// A key file.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// Command line arguments that every role takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigArgs {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "ANTIPHON_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Overrides one setting; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", global = true)]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// Reads the file named, the process's environment and the overrides.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(self.config.as_deref(), std::env::vars(), &self.set)
    }
}

impl Config {
    /// Merges the sources: `sets` (`section.key=value`) over `environment` (`ANTIPHON__SECTION__KEY`) over `file` over defaults.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        let known = Table::try_from(Self::default()).unwrap_or_default();
        let mut merged = Table::new();
        if let Some(file) = file {
            let text = std::fs::read_to_string(file).map_err(|error| ConfigError::Unreadable(file.to_owned(), error))?;
            let table = text.parse::<Table>().map_err(|error| ConfigError::NotToml(file.to_owned(), Box::new(error)))?;
            merge::known_only(&table, &known, &file.display().to_string())?;
            merged = table;
        }
        for (name, text) in environment {
            let Some(path) = name.strip_prefix("ANTIPHON__") else { continue };
            let key = path.to_ascii_lowercase().replace("__", ".");
            merge::set(&mut merged, &known, &key, &text, &name)?;
        }
        for set in sets {
            let (key, text) = set.split_once('=').ok_or_else(|| ConfigError::BadSet(set.clone()))?;
            merge::set(&mut merged, &known, key.trim(), text.trim(), &format!("--set {key}"))?;
        }
        Value::Table(merged).try_into().map_err(|error| ConfigError::Invalid(Box::new(error)))
    }

    /// The whole configuration as TOML, without the database password.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut shown = self.clone();
        if let Ok(mut url) = reqwest::Url::parse(&shown.database.url) {
            let _ = url.set_password(url.password().map(|_| "redacted"));
            shown.database.url = url.to_string();
        }
        toml::to_string(&shown).unwrap_or_default()
    }

    /// Where `role` listens, as written.
    ///
    /// # Errors
    /// When no such role listens.
    pub fn listen(&self, role: &str) -> Result<&str, ConfigError> {
        Ok(match role {
            "gateway" => &self.listen.gateway,
            "gateway_admin" => &self.listen.gateway_admin,
            "identity" => &self.listen.identity,
            "catalog" => &self.listen.catalog,
            "ingest" => &self.listen.ingest,
            "store" => &self.listen.store,
            "search" => &self.listen.search,
            "recommend" => &self.listen.recommend,
            "royalty" => &self.listen.royalty,
            "lake" => &self.listen.lake,
            _ => return Err(ConfigError::BadAddress(role.to_owned(), String::new())),
        })
    }

    /// The address `role` listens on.
    ///
    /// # Errors
    /// When it is not an address and port.
    pub fn listen_addr(&self, role: &str) -> Result<SocketAddr, ConfigError> {
        let text = self.listen(role)?;
        let bad = || ConfigError::BadAddress(role.to_owned(), text.to_owned());
        std::net::ToSocketAddrs::to_socket_addrs(text).map_err(|_| bad())?.next().ok_or_else(bad)
    }

    /// The base URL at which other services call `role`, without a slash at the end.
    ///
    /// # Errors
    /// When no such role listens.
    pub fn service_url(&self, role: &str) -> Result<String, ConfigError> {
        Ok(format!("http://{}", self.listen(role)?))
    }

    /// The URL with which `role` logs in to PostgreSQL.
    ///
    /// # Errors
    /// When `database.url` is not usable or the database seed cannot be read.
    pub fn role_database_url(&self, role: &str) -> Result<String, ConfigError> {
        if self.database.roles == DatabaseRoles::Owner {
            return self.owner_database_url().map(str::to_owned);
        }
        let seed = self.keys()?.database_seed;
        let mut url = reqwest::Url::parse(self.owner_database_url()?).map_err(|_| ConfigError::NoDatabase)?;
        url.set_username(&crate::migrate::login(role)).map_err(|()| ConfigError::NoDatabase)?;
        url.set_password(Some(&crate::migrate::password(&seed, role))).map_err(|()| ConfigError::NoDatabase)?;
        Ok(url.to_string())
    }

    /// The owner's URL, for `migrate` alone.
    ///
    /// # Errors
    /// When it is not set.
    pub fn owner_database_url(&self) -> Result<&str, ConfigError> {
        let url = self.database.url.as_str();
        if url.starts_with("postgres://") || url.starts_with("postgresql://") { Ok(url) } else { Err(ConfigError::NoDatabase) }
    }

    /// Reads the key files; makes those that are missing when the deployment is local.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn keys(&self) -> Result<Keys, KeysError> {
        Keys::load(&self.keys.dir, self.deployment.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(environment: &[(&str, &str)], sets: &[&str]) -> Result<Config, ConfigError> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(None, environment, &sets.iter().map(|set| (*set).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_flag_beats_the_environment_and_both_beat_the_default() {
        let config =
            load(&[("ANTIPHON__INGEST__WORKERS", "3"), ("ANTIPHON__KEYS__DIR", "/k"), ("HOME", "/")], &["ingest.workers=5"]).unwrap();
        assert_eq!((config.ingest.workers, config.keys.dir.to_str()), (5, Some("/k")));
        assert_eq!(config.listen, Listen::default());
    }

    #[test]
    fn a_misspelt_setting_says_what_was_meant() {
        let error = load(&[], &["ingest.wokers=5"]).unwrap_err().to_string();
        assert_eq!(error, "--set ingest.wokers: there is no setting `ingest.wokers`; did you mean `ingest.workers`?");
        let error = load(&[("ANTIPHON__LISTNE__GATEWAY", "x")], &[]).unwrap_err().to_string();
        assert!(error.contains("did you mean `listen.gateway`?"), "{error}");
        assert!(load(&[], &["ingest.workers=many"]).unwrap_err().to_string().contains("workers"));
    }

    #[test]
    fn lists_and_sections_within_sections_are_set_like_anything_else() {
        let config = load(
            &[("ANTIPHON__ROYALTY__CELLS__OWN", "1, 3"), ("ANTIPHON__ROYALTY__INTAKE__KIND", "kafka")],
            &["royalty.cells.count=4", "royalty.intake.brokers=10.0.0.1:9092,10.0.0.2:9092", "royalty.currency=USD"],
        )
        .unwrap();
        assert_eq!((config.royalty.cells.count, config.royalty.cells.own.as_slice()), (4, [1, 3].as_slice()));
        assert_eq!(config.royalty.intake.brokers, ["10.0.0.1:9092", "10.0.0.2:9092"]);
        assert_eq!((config.royalty.intake.kind, config.royalty.currency.as_str()), (IntakeKind::Kafka, "USD"));
        let shown: Config = toml::from_str(&config.to_toml()).unwrap();
        assert_eq!(shown, config);
        let error = load(&[], &["royalty.intake.partition=4"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `royalty.intake.partitions`?"), "{error}");
        assert!(load(&[], &["royalty.cells.own=one"]).unwrap_err().to_string().contains("own"));
    }

    #[test]
    fn a_shown_configuration_keeps_the_password() {
        let config = load(&[], &["database.url=postgres://app:hunter2@127.0.0.1/antiphon"]).unwrap();
        assert!(!config.to_toml().contains("hunter2"));
        assert_eq!(
            config.to_toml().parse::<Table>().unwrap()["database"]["url"].as_str(),
            Some("postgres://app:redacted@127.0.0.1/antiphon")
        );
    }
}
