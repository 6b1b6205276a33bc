//! `antiphon token mint`: signs what it is told, with the key that signs now. Who can read the key document can mint anyway.
use std::process::ExitCode;

use anyhow::Result;
use platform::random_bytes;
use protocol::{
    AccountId, MediaVersion, Plan, PlayId, Rung, RungSet, Territory, TrackId, UnixMs,
    token::{Claims, EVENT_GRACE_MS, MEDIA_GRACE_MS, Pseudonym, Purpose, mint},
};

use super::{Configured, KeysArgs, instant, length_ms};

/// `antiphon token mint`
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    antiphon token mint --purpose media --track 01a0c450-6c7b-7000-8000-000000000def \\\n    \
    --version 000102030405060708090a0b0c0d0e0f --duration-ms 215000 --valid-for 10m\n\n\
    The heartbeat buffer is the account's, among --buffer-shards buffers, as the manifest would choose it.")]
pub(super) struct Args {
    #[command(flatten)]
    keys: KeysArgs,
    /// What it is to permit: to fetch media, or to report what was heard
    #[arg(long, value_parser = purpose)]
    purpose: Purpose,
    /// The track
    #[arg(long, value_name = "UUID")]
    track: TrackId,
    /// The media version, as the track's card names it
    #[arg(long, value_name = "32 HEX DIGITS")]
    version: MediaVersion,
    /// The track's length
    #[arg(long, value_name = "MS")]
    duration_ms: u32,
    /// The play; a new one when left out
    #[arg(long, value_name = "UUID")]
    play: Option<PlayId>,
    /// The account, which the token names by its pseudonym; nobody's when left out
    #[arg(long, value_name = "UUID")]
    account: Option<AccountId>,
    /// The plan
    #[arg(long, default_value = "free")]
    plan: Plan,
    /// Rungs that may be fetched, separated by commas; all of the plan when left out
    #[arg(long, value_name = "RUNGS", value_delimiter = ',')]
    rungs: Option<Vec<Rung>>,
    /// Where the play is permitted
    #[arg(long, value_name = "COUNTRY", default_value = "ZZ")]
    territory: Territory,
    /// How many heartbeat buffers the deployment has
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    buffer_shards: u16,
    /// For how long; as long as a manifest would say when left out
    #[arg(long, value_name = "LENGTH", value_parser = length_ms)]
    valid_for: Option<i64>,
    /// Sign it as at this instant instead of now
    #[arg(long, value_name = "RFC 3339", value_parser = instant)]
    at: Option<UnixMs>,
}

pub(super) fn run(config: Configured<'_>, args: &Args, now: UnixMs) -> Result<ExitCode> {
    let (keys, now) = (args.keys.read(config)?, args.at.unwrap_or(now));
    let pseudonym = args.account.map_or(Pseudonym([0; 16]), |account| keys.pseudonym(account));
    let grace_ms = match args.purpose {
        Purpose::Media => MEDIA_GRACE_MS,
        Purpose::Event => MEDIA_GRACE_MS + EVENT_GRACE_MS,
    };
    let claims = Claims {
        purpose: args.purpose,
        plan: args.plan,
        rungs: args.rungs.as_ref().map_or_else(|| args.plan.rungs(), |rungs| RungSet::of(rungs)),
        territory: args.territory,
        buffer: pseudonym.shard(args.buffer_shards),
        expires_at: now.plus_ms(args.valid_for.unwrap_or(i64::from(args.duration_ms) + grace_ms)),
        duration_ms: args.duration_ms,
        play: args.play.unwrap_or_else(|| PlayId::v7(now, random_bytes())),
        track: args.track,
        version: args.version,
        pseudonym,
    };
    println!("{}", mint(&keys, &claims, now)?);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn purpose(text: &str) -> Result<Purpose, String> {
    [Purpose::Media, Purpose::Event]
        .into_iter()
        .find(|purpose| purpose.name() == text)
        .ok_or_else(|| "a purpose is media or event".to_owned())
}
