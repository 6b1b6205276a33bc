//! The gateway: the one door of the origin, on Pingora.
//!
//! Whoever comes from outside, a listener's browser or the edge, meets the gateway first. It refuses what is malformed, too large or too
//! fast, sends each path to the service that owns it, and answers playback itself: the same signed media paths and heartbeats as the
//! edge, so that music goes on when the edge does not, and the media shield behind both.
//!
//! ```text
//!                     ┌──────────────────────── gateway ─────────────────────────┐
//!  edge, players ───► │ proxy (phases) ─► framing ─► routes ─► rates ─► internal  │ ──► identity, catalog, ingest,
//!                     │       │                                                   │     search, recommend, royalty
//!                     │       └─► media, manifest, play_event ─► sheets, cards    │
//!                     │                   │       └─────► shield (memory, disk) ──│ ──► object store
//!                     │                   └─► revoked ◄───────── follower ────────│ ◄── identity
//!                     └───────────────────────────────────────────────────────────┘
//! ```
//!
//! Read `proxy` first: it tells the phases in the order a request meets them. The rules it calls are pure and have their own files.

mod answer;
mod cards;
mod conf;
mod docs;
mod framing;
mod gateway;
mod headers;
mod health;
mod internal;
mod manifest;
mod media;
mod metrics;
mod play_event;
mod proxy;
mod rates;
mod revoked;
mod routes;
mod sheets;
mod shield;
mod stop;
mod upstream;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use pingora::{
    apps::HttpServerApp,
    server::{RunArgs, Server, configuration::ServerConf},
    services::{background::background_service, listening::Service},
};

use crate::{conf::GatewayFile, gateway::Gateway, metrics::Admin, proxy::Proxy, revoked::Follower, stop::Stop};

/// Serves until SIGTERM (finish what is under way) or SIGINT (at once).
///
/// `openapi` is the merged document of all services, shown at `/openapi.json` and `/docs`; `conf_file` is `pingora.yaml`, whose defaults
/// hold without it. Blocks: Pingora has its own runtimes, so call it from a plain thread.
///
/// # Errors
/// When the configuration, the keys or the shield's directory cannot be used.
pub fn run(config: platform::Config, openapi: Bytes, conf_file: Option<PathBuf>) -> anyhow::Result<()> {
    run_until(config, openapi, conf_file, std::future::pending())
}

/// As [`run`], and stops as on SIGTERM when `stop` is done.
///
/// # Errors
/// As [`run`].
pub fn run_until(
    config: platform::Config,
    openapi: Bytes,
    conf_file: Option<PathBuf>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let file = GatewayFile::load(conf_file.as_deref())?;
    let gateway = Arc::new(Gateway::open(&config, file.gateway, openapi, platform::Clock::system())?);
    let mut server = Server::new_with_opt_and_conf(None, file.server);
    server.bootstrap();
    let conf = server.configuration.clone();
    let mut public = pingora::proxy::http_proxy_service_with_name(&conf, Proxy(gateway.clone()), "gateway");
    let address = config.listen_addr("gateway")?.to_string();
    listen(&mut public, &address, &gateway, &conf)?;
    let mut admin = Service::new("gateway admin".to_owned(), Admin(gateway.clone()));
    admin.add_tcp(&config.listen_addr("gateway_admin")?.to_string());
    admin.threads = Some(1);
    server.add_service(public);
    server.add_service(admin);
    server.add_service(background_service("revocations", Follower(gateway.clone())));
    tracing::info!(address, "the gateway listens");
    server.run(RunArgs { shutdown_signal: Box::new(Stop::new(gateway, stop)) });
    Ok(())
}

/// HTTP, or HTTPS with HTTP/2 when a certificate is configured.
#[cfg_attr(not(feature = "tls"), expect(clippy::unnecessary_wraps, unused_variables, reason = "only a certificate can be wrong"))]
fn listen<A: HttpServerApp + Send + Sync + 'static>(
    service: &mut Service<A>,
    address: &str,
    gateway: &Gateway,
    conf: &ServerConf,
) -> anyhow::Result<()> {
    #[cfg(feature = "tls")]
    if let Some(tls) = &gateway.conf.tls {
        use anyhow::Context as _;
        let (certificate, key) = (tls.certificate.to_string_lossy(), tls.key.to_string_lossy());
        let mut settings = pingora::listeners::tls::TlsSettings::intermediate(&certificate, &key)
            .with_context(|| format!("cannot use the certificate {certificate} with the key {key}"))?;
        settings.enable_h2();
        settings.set_offload_threadpool_from_server_conf(conf);
        service.add_tls_with_settings(address, None, settings);
        return Ok(());
    }
    service.add_tcp(address);
    Ok(())
}
