//! What an operator may set about the gateway: `pingora.yaml`. Pingora's own keys stand at the top of the file and are read by Pingora;
//! ours stand under `gateway:` and are read here, strictly, because Pingora ignores keys it does not know and a mistyped limit must not
//! be a missing limit. Without a file, the defaults below hold. Addresses and secrets are not here: they are in the deployment's TOML.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pingora::server::configuration::ServerConf;
use serde::Deserialize;

use crate::rates::Network;

/// Both halves of the file.
#[derive(Debug)]
pub(crate) struct GatewayFile {
    pub(crate) server: ServerConf,
    pub(crate) gateway: GatewayConf,
}

/// The `gateway:` key.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GatewayConf {
    pub(crate) limits: Limits,
    pub(crate) rates: Rates,
    pub(crate) shield: ShieldConf,
    pub(crate) upstream: UpstreamConf,
    pub(crate) playback: PlaybackConf,
    /// On SIGTERM, how long to go on serving what is under way before the listeners close.
    pub(crate) drain: DrainConf,
    /// HTTPS instead of HTTP on the public address; needs the `tls` feature.
    pub(crate) tls: Option<TlsConf>,
}

/// Sizes above which a request is refused.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    pub(crate) target_bytes_max: usize,
    pub(crate) head_bytes_max: usize,
    pub(crate) json_bytes_max: u64,
    pub(crate) play_event_bytes_max: u64,
    pub(crate) batch_bytes_max: u64,
    /// A client that sends or takes nothing for this long is cut off.
    pub(crate) idle_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            target_bytes_max: 8 * 1024,
            head_bytes_max: 32 * 1024,
            json_bytes_max: 1024 * 1024,
            play_event_bytes_max: protocol::heartbeat::POST_BYTES_MAX as u64,
            batch_bytes_max: 8 * 1024 * 1024,
            idle_ms_max: 30_000,
        }
    }
}

/// Requests a second above which a client is answered with 429. 0 is no limit.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rates {
    pub(crate) requests_per_s: u32,
    /// For creating accounts and signing in.
    pub(crate) credentials_per_s: u32,
    /// Peers whose word on the client's address (`X-Forwarded-For`, its last entry) is believed: the edge and the load balancers.
    pub(crate) trusted_peers: Vec<Network>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { requests_per_s: 5_000, credentials_per_s: 50, trusted_peers: Vec::new() }
    }
}

/// The media shield.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ShieldConf {
    pub(crate) memory_bytes_max: u64,
    pub(crate) disk_bytes_max: u64,
    /// Reads of the object store under way at once.
    pub(crate) fills_max: usize,
    /// How long a read waits for its turn before the client is told to come back.
    pub(crate) fill_wait_ms_max: u64,
    /// The largest single object.
    pub(crate) object_bytes_max: u64,
}

impl Default for ShieldConf {
    fn default() -> Self {
        Self {
            memory_bytes_max: 256 * 1024 * 1024,
            disk_bytes_max: 4 * 1024 * 1024 * 1024,
            fills_max: 64,
            fill_wait_ms_max: 5_000,
            object_bytes_max: 32 * 1024 * 1024,
        }
    }
}

/// How the services behind are called.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UpstreamConf {
    pub(crate) connect_ms_max: u64,
    pub(crate) read_ms_max: u64,
    /// Attempts to connect; nothing has been sent until one succeeds.
    pub(crate) connect_attempts: u32,
    /// `Retry-After` of the 503 when a service is down.
    pub(crate) retry_after_s: u32,
}

impl Default for UpstreamConf {
    fn default() -> Self {
        Self { connect_ms_max: 1_000, read_ms_max: 30_000, connect_attempts: 3, retry_after_s: 2 }
    }
}

/// The playback the gateway answers itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PlaybackConf {
    /// A card older than this is asked for again; while the catalogue does not answer, the old one holds.
    pub(crate) card_ttl_s: u64,
    /// Heartbeat buffers at the edge: must equal the edge's BUFFER_SHARDS.
    pub(crate) buffer_shards: u16,
}

impl Default for PlaybackConf {
    fn default() -> Self {
        Self { card_ttl_s: 15, buffer_shards: 64 }
    }
}

/// A graceful stop.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DrainConf {
    pub(crate) s_max: u64,
}

impl Default for DrainConf {
    fn default() -> Self {
        Self { s_max: 20 }
    }
}

/// Files of the certificate, PEM.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsConf {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl GatewayFile {
    /// Reads the file, or the defaults when there is none.
    pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            return Self::parse(&format!("threads: {threads}\n"));
        };
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("cannot use {}", path.display()))
    }

    /// Two parsers read the same text: Pingora's ignores our key, ours ignores Pingora's keys and nothing below its own.
    fn parse(text: &str) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Ours {
            #[serde(default)]
            gateway: GatewayConf,
        }
        let ours: Ours = serde_saphyr::from_str(text).context("the gateway: key is not valid")?;
        let mut server = ServerConf::from_yaml(text).map_err(|error| anyhow::anyhow!("Pingora's keys are not valid: {error}"))?;
        // By the time Pingora closes its listeners the drain is over; what is left is one round trip of good-byes.
        server.grace_period_seconds.get_or_insert(1);
        server.graceful_shutdown_timeout_seconds.get_or_insert(1);
        ours.gateway.check()?;
        Ok(Self { server, gateway: ours.gateway })
    }
}

impl GatewayConf {
    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.shield.fills_max > 0, "shield.fills_max must be at least 1");
        anyhow::ensure!(self.upstream.connect_attempts > 0, "upstream.connect_attempts must be at least 1");
        anyhow::ensure!(self.playback.buffer_shards > 0, "playback.buffer_shards must be at least 1");
        anyhow::ensure!(self.playback.card_ttl_s <= 60, "playback.card_ttl_s is at most 60: a take-down must be heard within a minute");
        anyhow::ensure!(
            self.tls.is_none() || cfg!(feature = "tls"),
            "tls is configured, but this binary was built without the `tls` feature"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_says_what_the_defaults_are() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pingora.yaml");
        let (file, defaults) = (GatewayFile::load(Some(&shipped)).unwrap(), GatewayFile::load(None).unwrap());
        assert_eq!(file.gateway, defaults.gateway);
        assert_eq!(file.server.threads, 2);
    }

    #[test]
    fn a_mistyped_key_of_ours_is_an_error_and_one_of_pingoras_is_left_to_pingora() {
        let error = GatewayFile::parse("version: 1\ngateway:\n  limits:\n    json_byte_max: 5\n").unwrap_err();
        assert!(format!("{error:#}").contains("json_byte_max"), "{error:#}");
        assert!(GatewayFile::parse("version: 1\nfuture_key: 5\n").is_ok());
        assert!(GatewayFile::parse("version: 1\ngateway:\n  playback: {card_ttl_s: 61}\n").is_err());
    }

    #[test]
    fn one_limit_can_be_set_alone() {
        let file = GatewayFile::parse(
            "threads: 3\ngateway:\n  rates:\n    requests_per_s: 7\n    trusted_peers: [\"127.0.0.1\", \"2001:db8::/32\"]\n",
        )
        .unwrap();
        assert_eq!(file.server.threads, 3);
        assert_eq!(file.gateway.rates.requests_per_s, 7);
        assert_eq!(file.gateway.rates.credentials_per_s, Rates::default().credentials_per_s);
        assert_eq!(file.gateway.rates.trusted_peers.len(), 2);
    }
}
