//! `antiphon token` as a person uses it: the binary, its output and its exit status, with a key document of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

const SECRET: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const TRACK: &str = "01a0c450-6c7b-7000-8000-000000000def";
const VERSION: &str = "000102030405060708090a0b0c0d0e0f";
const ACCOUNT: &str = "019aab8a-0000-7000-8000-0000000000a1";

/// A directory with a key document, as a deployment that has never rotated has it.
struct Scene {
    directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { directory: tempfile::tempdir().unwrap() };
        fs::write(scene.keys(), format!(r#"{{"current":1,"keys":{{"1":"{SECRET}"}}}}"#)).unwrap();
        scene
    }

    fn keys(&self) -> PathBuf {
        self.directory.path().join("token.json")
    }

    /// Runs `antiphon token ARGUMENTS`, with the keys where the configuration says they are.
    fn run(&self, arguments: &[&str]) -> Output {
        let keys_dir = format!("keys.dir={}", self.directory.path().display());
        Command::new(env!("CARGO_BIN_EXE_antiphon"))
            .arg("token")
            .args(arguments)
            .args(["--set", &keys_dir])
            .env_clear()
            .current_dir(self.directory.path())
            .output()
            .unwrap()
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.said(&[arguments, &["--json"]].concat())).unwrap()
    }

    fn mint(&self, purpose: &str, more: &[&str]) -> String {
        let arguments =
            ["mint", "--purpose", purpose, "--track", TRACK, "--version", VERSION, "--duration-ms", "215000", "--account", ACCOUNT];
        self.said(&[&arguments, more].concat()).trim().to_owned()
    }

    fn refused(&self, token: &str, purpose: &str, more: &[&str]) -> String {
        let output = self.run(&[&["verify", token, "--purpose", purpose], more].concat());
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn what_is_minted_is_shown_field_by_field_and_verified() {
    let scene = Scene::new();
    let token = scene.mint("media", &["--plan", "premium", "--rungs", "aac-64,flac", "--territory", "DE", "--valid-for", "10m"]);
    let told = scene.json(&["inspect", &token]);
    for (field, value) in [
        ("layout", Value::from(1)),
        ("key_id", 1.into()),
        ("purpose", "media".into()),
        ("plan", "premium".into()),
        ("rungs", serde_json::json!(["aac-64", "flac"])),
        ("territory", "DE".into()),
        ("duration_ms", 215_000.into()),
        ("track", TRACK.into()),
        ("version", VERSION.into()),
        ("verdict", "valid".into()),
    ] {
        assert_eq!(told[field], value, "{field} in {told}");
    }
    let text = scene.said(&["inspect", &token]);
    for word in ["premium", "aac-64, flac", TRACK, VERSION, told["play"].as_str().unwrap(), "valid: the tag holds"] {
        assert!(text.contains(word), "{word} in {text}");
    }
    let url = format!("https://antiphon.example/v1/media/{token}/aac-64/0.m4s");
    assert!(scene.said(&["verify", &url, "--purpose", "media"]).starts_with("valid until 20"));
}

#[test]
fn without_keys_a_token_is_shown_and_said_to_be_unverified() {
    let scene = Scene::new();
    let token = scene.mint("event", &[]);
    fs::remove_file(scene.keys()).unwrap();
    assert_eq!(scene.json(&["inspect", &token])["verdict"], "not_verified");
    assert!(scene.said(&["inspect", &token]).contains("not verified"));
    assert!(!scene.keys().exists(), "no keys were made up to judge it with");
    let output = scene.run(&["verify", &token, "--purpose", "event"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--keys"));
}

#[test]
fn a_refused_token_ends_with_1_and_the_reason() {
    let scene = Scene::new();
    let token = scene.mint("media", &["--valid-for", "10m"]);
    let last = if token.ends_with('A') { "Q" } else { "A" };
    let altered = format!("{}{last}", &token[..129]);
    assert!(scene.refused(&altered, "media", &[]).contains("the tag does not hold"));
    assert!(scene.refused(&token, "event", &[]).contains("for another purpose"));
    assert!(scene.refused(&token, "media", &["--at", "2036-01-01T00:00:00Z"]).contains("it has expired"));
    assert!(scene.refused(&format!("{token}="), "media", &[]).contains("base64url"));
    let output = scene.run(&["verify", &token, "--purpose", "event", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &told["refusal"]), (Some(1), &Value::from("tag")));
}

#[test]
fn a_rotation_hands_over_at_an_instant_and_refuses_no_token_of_the_former_key() {
    let scene = Scene::new();
    let before = scene.mint("event", &[]);
    let dry = scene.json(&["rotate", "--dry-run"]);
    assert_eq!((&dry["key_id"], &dry["written"]), (&Value::from(2), &Value::from(false)));
    assert!(!fs::read_to_string(scene.keys()).unwrap().contains("\"2\""));

    let said = scene.said(&["rotate", "--in", "1h"]);
    for word in ["key 2 signs from", "key 1 signs until then", "66 h", "wrangler secret put TOKEN_KEYS"] {
        assert!(said.contains(word), "{word} in {said}");
    }
    assert_eq!(fs::metadata(scene.keys()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(scene.directory.path()).unwrap().count(), 1, "no draft is left");
    let document: Value = serde_json::from_str(&fs::read_to_string(scene.keys()).unwrap()).unwrap();
    let fresh = document["keys"]["2"]["secret"].as_str().unwrap();
    assert!(!said.contains(fresh) && !said.contains(SECRET), "no secret is printed");
    let (from, until) = (&document["keys"]["2"]["signs_from_ms"], &document["keys"]["1"]["verifies_until_ms"]);
    assert_eq!(until.as_i64().unwrap() - from.as_i64().unwrap(), 66 * 3_600_000 + 60_000);
    assert_eq!(document["pseudonym"], SECRET, "pseudonyms are what they were");

    let after = scene.mint("event", &[]);
    assert_eq!(scene.json(&["inspect", &after])["key_id"], 1);
    assert_eq!(scene.json(&["inspect", &after])["pseudonym"], scene.json(&["inspect", &before])["pseudonym"]);
    let later = jiff::Timestamp::from_millisecond(from.as_i64().unwrap()).unwrap().to_string();
    assert_eq!(scene.json(&["inspect", &scene.mint("event", &["--at", &later])])["key_id"], 2);
    scene.said(&["verify", &before, "--purpose", "event", "--at", &later]);
}

#[test]
fn a_leaked_key_can_be_ended_at_once_and_it_says_what_that_costs() {
    let scene = Scene::new();
    let token = scene.mint("event", &[]);
    let said = scene.said(&["rotate", "--at", "2036-01-01T00:00:00Z", "--keep", "0s"]);
    assert!(said.contains("valid tokens will be refused"), "{said}");
    assert!(scene.refused(&token, "event", &["--at", "2036-01-01T00:00:00Z"]).contains("token key 1 has ended"));
    let output = scene.run(&["rotate"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("has to begin after it"), "a later rotation is pending");
    assert!(!scene.run(&["rotate", "--at", "2020-01-01T00:00:00Z"]).status.success());
}
