//! `antiphon token`: media tokens and event tickets for people. Tokens come from the command line, keys from the file that the roles
//! read; every judgement is `protocol`'s, and `docs/token.md` tells what is judged.
mod inspect;
mod mint;
mod rotate;

use std::{fs, io::Read as _, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use platform::{Clock, Config, ConfigError};
use protocol::{UnixMs, keys::TokenKeys, media_path};

/// `antiphon token`
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
        antiphon token inspect TOKEN                              what a token says, and whether it holds\n  \
        antiphon token verify --purpose media URL                 ends with 1 and the reason when it does not\n  \
        antiphon token rotate --config antiphon.toml              a new signing key, from 10 minutes from now\n\n\
        Keys are read from --keys FILE, else from token.json in the configured keys directory.\n\
        A token may be given as it is, inside a URL or a path, or as - to be read from standard input.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print every field of a token, and whether it holds when the keys are at hand
    Inspect(inspect::InspectArgs),
    /// Judge a token as an edge does; end with 1 and the reason when it is refused
    Verify(inspect::VerifyArgs),
    /// Sign a token, for tests and support
    Mint(mint::Args),
    /// Add a fresh signing key to the key document and let the former one end when no token of it is left
    Rotate(rotate::Args),
}

/// Reads the configuration, when it is needed to find the keys.
type Configured<'a> = &'a dyn Fn() -> Result<Config, ConfigError>;

pub(crate) fn run(config: Configured<'_>, args: &Args) -> Result<ExitCode> {
    let now = Clock::system().now();
    match &args.command {
        Command::Inspect(args) => inspect::inspect(config, args, now),
        Command::Verify(args) => inspect::verify(config, args, now),
        Command::Mint(args) => mint::run(config, args, now),
        Command::Rotate(args) => rotate::run(config, args, now),
    }
}

#[derive(clap::Args)]
struct KeysArgs {
    /// The key document; token.json in the configured keys directory when left out
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

impl KeysArgs {
    /// Where the key document is. It is not made here: a token is never judged by keys that nobody signs with.
    fn file(&self, config: Configured<'_>) -> Result<PathBuf> {
        match &self.keys {
            Some(file) => Ok(file.clone()),
            None => Ok(config()?.keys.dir.join("token.json")),
        }
    }

    fn read(&self, config: Configured<'_>) -> Result<TokenKeys> {
        let file = self.file(config)?;
        let json =
            fs::read_to_string(&file).with_context(|| format!("{} cannot be read: name the key document with --keys", file.display()))?;
        TokenKeys::parse(&json).with_context(|| format!("{} is not usable", file.display()))
    }

    /// As [`Self::read`], or nothing where no file was asked for and none is there.
    fn read_if_there(&self, config: Configured<'_>) -> Result<Option<TokenKeys>> {
        if self.keys.is_none() && !self.file(config)?.exists() {
            return Ok(None);
        }
        self.read(config).map(Some)
    }
}

/// The token of an argument: the text itself, the token of a media URL or path, or standard input.
fn token_of(argument: &str) -> Result<String> {
    let mut text = argument.to_owned();
    if argument == "-" {
        text.clear();
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
        text = text.trim_end_matches(['\n', '\r']).to_owned();
    }
    Ok(match text.split_once(media_path::PREFIX) {
        Some((_, rest)) => rest.split('/').next().unwrap_or_default().to_owned(),
        None => text,
    })
}

/// An instant as RFC 3339 writes it.
fn instant(text: &str) -> Result<UnixMs, String> {
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    parsed.map(|at| UnixMs(at.as_millisecond())).map_err(|_| "an instant is written like 2026-11-25T14:30:00Z".to_owned())
}

/// A length of time such as `90s`, `10m`, `66h` or `8d`, in milliseconds.
fn length_ms(text: &str) -> Result<i64, String> {
    let unit_ms = |unit| match unit {
        's' => Some(1_000),
        'm' => Some(60_000),
        'h' => Some(3_600_000),
        'd' => Some(86_400_000),
        _ => None,
    };
    let mut digits = text.chars();
    let unit_ms = digits.next_back().and_then(unit_ms);
    let number: Option<i64> = digits.as_str().parse::<u32>().ok().map(i64::from);
    number
        .zip(unit_ms)
        .and_then(|(number, unit_ms)| number.checked_mul(unit_ms))
        .ok_or_else(|| "a length of time is a number and one of s, m, h, d: for example 10m".to_owned())
}

/// Milliseconds as people read them, in the largest two units.
pub(crate) fn length_text(ms: i64) -> String {
    let seconds = ms.unsigned_abs() / 1000;
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let said: Vec<_> = parts.iter().skip_while(|(count, _)| *count == 0).take(2).filter(|(count, _)| *count > 0).collect();
    if said.is_empty() {
        "0 s".to_owned()
    } else {
        said.iter().map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_a_unit() {
        for (text, ms) in [("0s", 0), ("90s", 90_000), ("10m", 600_000), ("66h", 237_600_000), ("8d", 691_200_000)] {
            assert_eq!(length_ms(text), Ok(ms));
        }
        for wrong in ["", "s", "10", "-1s", "1.5h", "10 m", "10min", "99999999999d"] {
            assert!(length_ms(wrong).is_err(), "{wrong}");
        }
        assert_eq!(length_text(237_660_000), "2 d 18 h");
        assert_eq!(length_text(600_000), "10 min");
        assert_eq!(length_text(999), "0 s");
    }
}
