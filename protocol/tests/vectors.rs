//! The vectors of `docs/token.md`, by our code and by a Python program that shares nothing with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::{path::PathBuf, process::Command};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use protocol::{
    AccountId, MediaVersion, Plan, PlayId, Rung, RungSet, Territory, TrackId, UnixMs,
    keys::TokenKeys,
    receipt::{self, Segment},
    token::{Claims, Pseudonym, Purpose, TokenError, Unverified, Verifier, examine, mint},
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    keys: serde_json::Value,
    derived: Vec<Derived>,
    pseudonyms: Vec<PseudonymOf>,
    accepted: Vec<Accepted>,
    refused: Vec<Refused>,
    receipts: Vec<ReceiptOf>,
    refused_receipts: Vec<RefusedReceipt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiptOf {
    name: String,
    now_ms: UnixMs,
    play: PlayId,
    n: u32,
    start_ms: u32,
    end_ms: u32,
    receipt: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedReceipt {
    name: String,
    refusal: String,
    now_ms: UnixMs,
    play: PlayId,
    receipt: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Derived {
    secret: String,
    label: String,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PseudonymOf {
    account: AccountId,
    pseudonym: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    name: String,
    now_ms: UnixMs,
    claims: Said,
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    name: String,
    refusal: String,
    purpose: String,
    now_ms: UnixMs,
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    purpose: String,
    plan: Plan,
    rungs: Vec<Rung>,
    territory: Territory,
    buffer: u16,
    expires_at_ms: UnixMs,
    duration_ms: u32,
    play: PlayId,
    track: TrackId,
    version: MediaVersion,
    pseudonym: String,
}

impl Said {
    fn claims(&self) -> Claims {
        Claims {
            purpose: purpose(&self.purpose),
            plan: self.plan,
            rungs: RungSet::of(&self.rungs),
            territory: self.territory,
            buffer: self.buffer,
            expires_at: self.expires_at_ms,
            duration_ms: self.duration_ms,
            play: self.play,
            track: self.track,
            version: self.version,
            pseudonym: Pseudonym::from_hex(&self.pseudonym).unwrap(),
        }
    }
}

fn purpose(name: &str) -> Purpose {
    [Purpose::Media, Purpose::Event].into_iter().find(|purpose| purpose.name() == name).unwrap()
}

fn document() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/token.md")
}

fn vectors() -> (Vectors, TokenKeys) {
    let text = std::fs::read_to_string(document()).unwrap();
    let (_, block) = text.split_once("\n```json vectors\n").expect("docs/token.md has a block of vectors");
    let vectors: Vectors = serde_json::from_str(block.split_once("\n```").unwrap().0).unwrap();
    let keys = TokenKeys::parse(&vectors.keys.to_string()).unwrap();
    (vectors, keys)
}

#[test]
fn every_token_of_the_document_is_minted_and_accepted_as_it_says() {
    let (vectors, keys) = vectors();
    assert!(vectors.accepted.len() >= 4);
    for Accepted { name, now_ms, claims, token } in vectors.accepted {
        let claims = claims.claims();
        assert_eq!(mint(&keys, &claims, now_ms).unwrap(), token, "{name}");
        assert_eq!(keys.verify(&token, claims.purpose, now_ms), Ok(claims), "{name}");
    }
}

#[test]
fn every_other_token_of_the_document_is_refused_for_the_reason_it_gives() {
    let (vectors, keys) = vectors();
    assert!(vectors.refused.len() >= 25);
    for Refused { name, refusal, purpose: wanted, now_ms, token } in vectors.refused {
        let found = examine(&keys, &token, purpose(&wanted), now_ms).unwrap_err();
        assert_eq!(found.code(), refusal, "{name}");
        let told = if refusal == "expired" { TokenError::Expired } else { TokenError::Invalid };
        assert_eq!(keys.verify(&token, purpose(&wanted), now_ms), Err(told), "{name}");
    }
}

#[test]
fn every_receipt_of_the_document_is_made_and_judged_as_it_says() {
    let (vectors, keys) = vectors();
    assert!(vectors.receipts.len() >= 3 && vectors.refused_receipts.len() >= 14);
    for ReceiptOf { name, now_ms, play, n, start_ms, end_ms, receipt } in vectors.receipts {
        let segment = Segment { n, start_ms, end_ms };
        assert_eq!(segment.seal(&keys, play, now_ms).as_deref(), Some(receipt.as_str()), "{name}");
        assert_eq!(receipt::examine(&keys, play, &receipt, now_ms), Ok(segment), "{name}");
    }
    for RefusedReceipt { name, refusal, now_ms, play, receipt } in vectors.refused_receipts {
        let found = receipt::examine(&keys, play, &receipt, now_ms).unwrap_err();
        assert_eq!(found.code(), refusal, "{name}");
    }
}

#[test]
fn keys_and_pseudonyms_are_derived_as_the_document_says() {
    let (vectors, keys) = vectors();
    for Derived { secret, label, key } in &vectors.derived {
        let secret: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&secret[at * 2..at * 2 + 2], 16).unwrap()).collect();
        assert_eq!(protocol::keys::derive_hex(&secret, label), *key, "{label}");
    }
    // The derived media key is the one that seals: the third token is signed with key 1.
    let unverified = Unverified::decode(&vectors.accepted[2].token).unwrap();
    let secret: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let sealed = common::sealed(&secret, common::MEDIA_LABEL, unverified.body());
    assert_eq!(URL_SAFE_NO_PAD.encode(sealed), vectors.accepted[2].token);
    for PseudonymOf { account, pseudonym } in vectors.pseudonyms {
        assert_eq!(keys.pseudonym(account).to_string(), pseudonym);
    }
}

/// A program in another language, written from the document: it mints the same tokens and refuses the others for the same reasons.
#[test]
fn another_language_agrees_with_every_vector() {
    let (vectors, _) = vectors();
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/token.py");
    let output = Command::new("python3").arg(program).arg(document()).output().expect("python3 is there, as `cargo xtask setup` needs it");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counts = [
        (vectors.derived.len(), "derived"),
        (vectors.accepted.len(), "accepted"),
        (vectors.refused.len(), "refused"),
        (vectors.receipts.len(), "receipts"),
        (vectors.refused_receipts.len(), "refused_receipts"),
    ];
    assert_eq!(said.trim(), counts.map(|(count, kind)| format!("{count} {kind}")).join(", "));
}
