//! What every request may use: keys, clock, shield, services. Built once at the start from the deployment's configuration and
//! `pingora.yaml`; nothing in it changes afterwards but counters, caches and what is revoked.

use std::{
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use platform::{Clock, Config, objects::Objects};
use protocol::{beats::Beats, keys::TokenKeys, session::SessionVerifier};

use crate::{
    cards::Cards, conf::GatewayConf, metrics::Metrics, play_event::Batches, rates::RateLimits, revoked::Revoked, sheets::Sheets,
    shield::Shield, upstream::Services,
};

/// The gateway's parts.
pub(crate) struct Gateway {
    pub(crate) conf: GatewayConf,
    pub(crate) public_url: String,
    pub(crate) token_keys: TokenKeys,
    pub(crate) sessions: SessionVerifier,
    pub(crate) edge_secret: Vec<u8>,
    pub(crate) clock: Clock,
    pub(crate) services: Services,
    pub(crate) shield: Shield,
    pub(crate) sheets: Sheets,
    pub(crate) cards: Cards,
    pub(crate) batches: Batches,
    /// Which plays of an account beat here, and how fast it posts.
    pub(crate) beats: Mutex<Beats>,
    pub(crate) rates: RateLimits,
    pub(crate) revoked: Revoked,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) openapi: Bytes,
    /// A stop has begun.
    pub(crate) draining: AtomicBool,
}

impl Gateway {
    pub(crate) fn open(config: &Config, conf: GatewayConf, openapi: Bytes, clock: Clock) -> anyhow::Result<Self> {
        let keys = config.keys()?;
        let metrics = Arc::new(Metrics::new().context("the metrics cannot be registered")?);
        let services = Services::new(conf.upstream.clone(), |service| Ok(config.service_url(service.name())?))?;
        let dir = config.state.dir.join("shield");
        let objects = Objects::new(config, &keys)?;
        let shield = Shield::open(conf.shield.clone(), &dir, objects, config.objects.media_bucket.clone(), clock.clone(), metrics.clone())
            .with_context(|| format!("the shield cannot use {}", dir.display()))?;
        Ok(Self {
            public_url: config.public.gateway.trim_end_matches('/').to_owned(),
            token_keys: keys.token.clone(),
            sessions: keys.session_verifier.clone(),
            edge_secret: keys.edge_secret.clone(),
            cards: Cards::new(services.clone(), Duration::from_secs(conf.playback.card_ttl_s)),
            sheets: Sheets::new(shield.clone()),
            batches: Batches::new(platform::random_bytes()),
            beats: Mutex::default(),
            rates: RateLimits::new(conf.rates.clone()),
            revoked: Revoked::new(clock.now()),
            draining: AtomicBool::new(false),
            conf,
            clock,
            services,
            shield,
            metrics,
            openapi,
        })
    }
}
