//! `antiphon token rotate`: reads the key document, adds a fresh key that signs from an instant ahead, and puts the new document in
//! the place of the old one. What becomes of which key is `protocol::keys::rotation`'s; handing the document out is the operator's.
use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use platform::random_bytes;
use protocol::{
    UnixMs,
    keys::{
        Document,
        rotation::{KEEP_MS, Rotation},
    },
    token::{EVENT_GRACE_MS, LIFE_MS_MAX, MEDIA_GRACE_MS, SKEW_MS, TRACK_MS_MAX},
};
use serde_json::json;

use super::{Configured, KeysArgs, instant, length_ms, length_text};

/// `antiphon token rotate`
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    antiphon token rotate --config antiphon.toml          a new key signs from 10 minutes from now\n  \
    antiphon token rotate --at 2026-12-01T04:00:00Z       or from an instant of your choice\n  \
    antiphon token rotate --in 2m --keep 0s               the key has leaked: refuse its tokens from then on\n\n\
    Every edge, gateway and collector that has the new document by then changes keys at that instant; none is deployed at it.")]
pub(super) struct Args {
    #[command(flatten)]
    keys: KeysArgs,
    /// When the new key begins to sign, from now: long enough to hand the document out
    #[arg(long = "in", value_name = "LENGTH", default_value = "10m", value_parser = length_ms)]
    ahead_ms: i64,
    /// When the new key begins to sign
    #[arg(long, value_name = "RFC 3339", value_parser = instant, conflicts_with = "ahead_ms")]
    at: Option<UnixMs>,
    /// For how long after that the former key verifies; until its longest token has expired when left out
    #[arg(long, value_name = "LENGTH", value_parser = length_ms)]
    keep: Option<i64>,
    /// Say what would be done, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print what was done as JSON, without secrets
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Configured<'_>, args: &Args, now: UnixMs) -> Result<ExitCode> {
    let file = args.keys.file(config)?;
    // The directory is locked rather than the file, which is about to be another one.
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let lock = File::open(directory).with_context(|| format!("{} cannot be opened", directory.display()))?;
    lock.try_lock().with_context(|| format!("another rotation is under way in {}", directory.display()))?;
    let json =
        fs::read_to_string(&file).with_context(|| format!("{} cannot be read: name the key document with --keys", file.display()))?;
    let document = Document::parse(&json).with_context(|| format!("{} is not usable", file.display()))?;

    let from = args.at.unwrap_or_else(|| now.plus_ms(args.ahead_ms));
    if from < now {
        bail!("{} is past: tokens signed since then would be of the former key, and hosts could not have switched", from.rfc3339());
    }
    let keep_ms = args.keep.unwrap_or(KEEP_MS);
    let rotation = document.rotated(random_bytes(), from, keep_ms, now)?;
    if !args.dry_run {
        replace(&file, &format!("{}\n", rotation.document.to_json()))
            .with_context(|| format!("{} cannot be written; it is unchanged", file.display()))?;
        // The new name is durable once the directory is.
        lock.sync_all().with_context(|| format!("{} cannot be synced", directory.display()))?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&as_json(&rotation, from, &file, !args.dry_run))?);
    } else {
        println!("{}", as_text(&rotation, from, keep_ms, now));
        println!("{}", if args.dry_run { "\nNothing was written (--dry-run).".to_owned() } else { advice(&file, from) });
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts `text` in the place of `file`, whole or not at all, readable by the user alone who could read it before.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let owner = fs::metadata(file)?;
    let draft = file.with_extension(format!("{}.draft", hex::encode(random_bytes::<8>())));
    let written = write_new(&draft, text, &owner).and_then(|()| fs::rename(&draft, file));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

fn write_new(draft: &Path, text: &str, owner: &fs::Metadata) -> std::io::Result<()> {
    let mut opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    let ours = opened.metadata()?;
    if (ours.uid(), ours.gid()) != (owner.uid(), owner.gid()) {
        fchown(&opened, Some(owner.uid()), Some(owner.gid()))?;
    }
    opened.write_all(text.as_bytes())?;
    opened.sync_all()
}

fn as_json(rotation: &Rotation, from: UnixMs, file: &Path, written: bool) -> serde_json::Value {
    json!({
        "key_id": rotation.key_id,
        "signs_from": from.rfc3339(),
        "former_key_id": rotation.former,
        "former_verifies_until": rotation.former_until.rfc3339(),
        "forgotten_key_ids": rotation.forgotten,
        "file": file,
        "written": written,
    })
}

fn as_text(rotation: &Rotation, from: UnixMs, keep_ms: i64, now: UnixMs) -> String {
    let Rotation { key_id, former, former_until, forgotten, .. } = rotation;
    let hours = |ms: i64| ms / 3_600_000;
    let mut lines = vec![
        format!("key {key_id} signs from {} (in {})", from.rfc3339(), length_text(from.since(now))),
        format!("key {former} signs until then and verifies until {}", former_until.rfc3339()),
    ];
    lines.push(if keep_ms >= KEEP_MS {
        format!(
            "  the longest token lives {} h (a track of {} h, {} h of pause, {} h for tickets), and clocks may be off by {} s at either end",
            hours(LIFE_MS_MAX),
            hours(TRACK_MS_MAX),
            hours(MEDIA_GRACE_MS),
            hours(EVENT_GRACE_MS),
            SKEW_MS / 1000
        )
    } else {
        format!("  that is before its longest token expires ({}): valid tokens will be refused from then on", from.plus_ms(KEEP_MS).rfc3339())
    });
    lines.extend(forgotten.iter().map(|id| format!("key {id} ended long ago and is no longer in the document")));
    lines.join("\n")
}

fn advice(file: &Path, from: UnixMs) -> String {
    format!(
        "\nWritten to {file}. Hand it out before {from}:\n  \
         wrangler secret put TOKEN_KEYS --env production < {file}\n  \
         copy it to every host of gateway, identity and royalty, and restart those: they read it when they start",
        file = file.display(),
        from = from.rfc3339()
    )
}
