//! The keys: whether each file is there and this user's alone, and what the schedule of the token keys is about to do. From the keys directory,
//! to the doctor's findings.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use platform::{Config, config::Mode};
use protocol::{
    UnixMs,
    keys::{Document, rotation::KEEP_MS},
};

use super::Finding;
use crate::token::length_text;

const FILES: [&str; 5] = ["token.json", "session.json", "edge.json", "database.json", "objects.json"];
/// Access of anyone but the file's owner.
const OTHERS: u32 = 0o077;
/// Writing by anyone but the directory's owner, who could put another file in place of one.
const OTHERS_WRITE: u32 = 0o022;

/// All that is to be said of the keys.
pub(super) fn examine(config: &Config, now: UnixMs) -> Vec<Finding> {
    let dir = &config.keys.dir;
    let missing: Vec<_> = FILES.into_iter().filter(|name| !dir.join(name).exists()).collect();
    let mut findings = vec![if missing.is_empty() {
        whole(config)
    } else if config.deployment.mode == Mode::Local {
        Finding::good("keys", format!("{} not made yet: the first start makes them in {}", missing.join(", "), dir.display()))
    } else {
        let found = format!("there is no {} in {}", missing.join(", "), dir.display());
        Finding::bad("keys", found, "put the key files into keys.dir, readable by this user alone (mode 0600)")
    }];
    findings.extend(private(dir));
    // One that cannot be read or parsed is told of above.
    let document = fs::read_to_string(dir.join("token.json")).ok().and_then(|json| Document::parse(&json).ok());
    findings.extend(document.iter().flat_map(|document| schedule(document, now)));
    findings
}

/// Whether the files hold keys.
fn whole(config: &Config) -> Finding {
    match config.keys() {
        Ok(_) => Finding::good("keys", config.keys.dir.display().to_string()),
        Err(error) => Finding::bad("keys", error, "put the key file that is meant there back; antiphon makes none where one is"),
    }
}

/// What others could read or replace.
fn private(dir: &Path) -> Vec<Finding> {
    let mode = |path: &Path| fs::metadata(path).ok().map(|found| found.permissions().mode() & 0o777);
    let open = |path: &Path, others: u32, right: u32| {
        let mode = mode(path).filter(|mode| mode & others != 0)?;
        let (path, advice) = (path.display(), format!("chmod {right:o} {}, and rotate what others may have read", path.display()));
        Some(Finding::bad("key permissions", format!("{path} is open to others (mode {mode:04o})"), &advice))
    };
    let files = FILES.into_iter().filter_map(|name| open(&dir.join(name), OTHERS, 0o600));
    open(dir, OTHERS_WRITE, 0o700).into_iter().chain(files).collect()
}

/// Who signs, who is next, and which former keys end too early or never.
fn schedule(document: &Document, now: UnixMs) -> Vec<Finding> {
    const WHAT: &str = "token keys";
    let at = |instant: UnixMs| format!("{} ({})", instant.rfc3339(), distance(instant, now));
    let until = |id: u8| document.keys().find(|(key, _)| *key == id).and_then(|(_, key)| key.verifies_until);
    let signers = document.signers();
    let mut said = Vec::new();
    let mut findings = Vec::new();
    match signers.iter().rev().find(|(from, _)| *from <= now) {
        Some((_, id)) => said.push(format!("key {id} signs")),
        None => findings.push(Finding::bad(
            WHAT,
            "none signs yet: no play can begin",
            "give a key that signs since ever, and name it in `current`",
        )),
    }
    for turn in signers.windows(2) {
        let [(_, former), (from, next)] = turn else { continue };
        if *from > now {
            said.push(format!("key {next} takes over {}: every host and edge must hold this document by then", at(*from)));
        }
        // A token signed at the last moment lives this long.
        let needed = from.plus_ms(KEEP_MS);
        match until(*former) {
            Some(end) if end < needed && now < needed => findings.push(Finding::bad(
                WHAT,
                format!("key {former} verifies until {}, and tokens that it signed are valid until {}", at(end), at(needed)),
                &format!("set its verifies_until_ms to {} or later everywhere, or players are refused in mid-song", needed.0),
            )),
            Some(end) if end > now => said.push(format!("key {former} verifies until {}", at(end))),
            Some(_) => said.push(format!("key {former} has ended")),
            None if *from <= now => findings.push(Finding::bad(
                WHAT,
                format!("key {former} signs no more and verifies for ever"),
                &format!("set its verifies_until_ms to {}, as antiphon token rotate does", needed.0),
            )),
            None => {}
        }
    }
    if !said.is_empty() {
        findings.insert(0, Finding::good(WHAT, said.join("; ")));
    }
    findings
}

fn distance(instant: UnixMs, now: UnixMs) -> String {
    let ms = instant.since(now);
    if ms < 0 { format!("{} ago", length_text(ms)) } else { format!("in {}", length_text(ms)) }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, Result};
    use protocol::keys::rotation::Rotation;
    use serde_json::json;

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_556_280_000);
    const TEN_MINUTES_MS: i64 = 600_000;

    fn document() -> Result<Document> {
        Ok(Document::parse(&json!({"current": 1, "keys": {"1": "01".repeat(32)}}).to_string())?)
    }

    fn rotated(keep_ms: i64) -> Result<Rotation> {
        Ok(document()?.rotated([2; 32], NOW.plus_ms(TEN_MINUTES_MS), keep_ms, NOW)?)
    }

    /// What is told, and what is wrong.
    fn told(findings: &[Finding]) -> (Vec<&str>, Vec<&str>) {
        let good = findings.iter().filter_map(|finding| finding.outcome.as_ref().ok()).map(String::as_str).collect();
        (good, findings.iter().filter_map(|finding| finding.outcome.as_ref().err()).map(|trouble| trouble.found.as_str()).collect())
    }

    #[test]
    fn a_rotation_is_told_before_and_after_it_and_is_nothing_wrong() -> Result<()> {
        let rotation = rotated(KEEP_MS)?;
        let ahead = schedule(&rotation.document, NOW);
        let (good, wrong) = told(&ahead);
        assert!(wrong.is_empty(), "{wrong:?}");
        assert!(good.concat().contains("key 1 signs; key 2 takes over"), "{good:?}");
        assert!(good.concat().contains("(in 10 min)"), "{good:?}");
        let behind = schedule(&rotation.document, NOW.plus_ms(TEN_MINUTES_MS));
        assert!(told(&behind).0.concat().starts_with("key 2 signs; key 1 verifies until"), "{:?}", told(&behind));
        let long_after = schedule(&rotation.document, rotation.former_until);
        assert_eq!(told(&long_after), (vec!["key 2 signs; key 1 has ended"], vec![]));
        Ok(())
    }

    #[test]
    fn a_key_that_ends_before_its_last_token_is_wrong_until_that_token_is_gone() -> Result<()> {
        let rotation = rotated(3_600_000)?;
        let (ahead, gone) = (schedule(&rotation.document, NOW), schedule(&rotation.document, NOW.plus_ms(TEN_MINUTES_MS + KEEP_MS)));
        assert!(told(&ahead).1.concat().starts_with("key 1 verifies until"), "{:?}", told(&ahead));
        assert!(told(&gone).1.is_empty(), "{:?}", told(&gone));
        Ok(())
    }

    #[test]
    fn a_former_key_that_never_ends_is_wrong() -> Result<()> {
        let keys = json!({"1": "01".repeat(32), "2": {"secret": "02".repeat(32), "signs_from_ms": NOW.0}});
        let document = Document::parse(&json!({"current": 1, "keys": keys, "pseudonym": "03".repeat(32)}).to_string())?;
        assert_eq!(told(&schedule(&document, NOW)).1, ["key 1 signs no more and verifies for ever"]);
        assert!(told(&schedule(&document, NOW.plus_ms(-1))).1.is_empty());
        Ok(())
    }

    #[test]
    fn files_that_are_missing_or_open_to_others_are_named() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let dir = folder.path().join("keys");
        let sets = |mode: &str| [format!("deployment.mode={mode}"), format!("keys.dir={}", dir.display())];
        let local = Config::load(None, [], &sets("local"))?;
        let unmade = examine(&local, NOW);
        assert!(told(&unmade).1.is_empty() && !dir.exists(), "looking makes nothing");
        platform::Keys::load(&dir, Mode::Local)?;
        let well = examine(&local, NOW);
        assert!(told(&well).1.is_empty(), "{:?}", told(&well));

        fs::set_permissions(dir.join("edge.json"), fs::Permissions::from_mode(0o644))?;
        fs::remove_file(dir.join("session.json"))?;
        let findings = examine(&Config::load(None, [], &sets("production"))?, NOW);
        let wrong = told(&findings).1;
        let [missing, open] = wrong.as_slice() else { anyhow::bail!("{wrong:?}") };
        assert!(missing.starts_with("there is no session.json in"), "{missing}");
        assert!(open.contains("edge.json is open to others (mode 0644)"), "{open}");
        let advice = findings.iter().filter_map(|finding| finding.outcome.as_ref().err()).next_back().context("an advice")?;
        assert!(advice.advice.starts_with("chmod 600 "), "{}", advice.advice);
        Ok(())
    }
}
