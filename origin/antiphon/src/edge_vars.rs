//! `antiphon edge-vars`: what the Worker must be told, made from the same keys and addresses that the origin uses, so that
//! the two cannot disagree. `edge/src/settings.rs` reads it.
use anyhow::Result;
use platform::{Config, config::Mode};
use serde_json::json;

/// `antiphon edge-vars`
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  antiphon edge-vars --config antiphon.toml > vars.json && node edge/serve.mjs --vars vars.json ...\n  \
    antiphon edge-vars --config antiphon.toml | wrangler secret bulk --env production"
)]
pub(crate) struct Args {
    /// Heartbeat buffers; never fewer than before, or acknowledged heartbeats would wait in buffers nobody asks
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    buffer_shards: u16,
}

pub(crate) fn run(config: &Config, args: &Args) -> Result<()> {
    let keys = config.keys()?;
    let local = config.deployment.mode == Mode::Local;
    let vars = json!({
        "TOKEN_KEYS": keys.token_json,
        "SESSION_JWKS": keys.jwks_json,
        "EDGE_SECRET": hex::encode(&keys.edge_secret),
        // A local edge may reach the gateway where it listens; a deployed one only where everybody does.
        "GATEWAY_URL": if local { config.service_url("gateway")? } else { config.public.gateway.clone() },
        "GATEWAY_PUBLIC_URL": config.public.gateway,
        "BUFFER_SHARDS": args.buffer_shards.to_string(),
        "ENVIRONMENT": if local { "local" } else { "production" },
    });
    println!("{}", serde_json::to_string_pretty(&vars)?);
    Ok(())
}
