//! Rotations on a simulated clock: whoever holds either document, whatever its clock says within the skew, no valid token is refused
//! while its key lives, and none counts from the instant its key ends.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use protocol::{
    MediaVersion, Plan, PlayId, Rung, RungSet, TrackId, UnixMs,
    keys::{
        Document, NoSigner, TokenKeys,
        rotation::{FORGET_MS, KEEP_MS, RotationError},
    },
    token::{Claims, LIFE_MS_MAX, Pseudonym, Purpose, Refusal, SKEW_MS, TokenError, Unverified, Verifier, examine, mint},
};

const START: UnixMs = UnixMs(1_795_556_280_000);
const FIRST: &str = r#"{"current":1,"keys":{"1":"1111111111111111111111111111111111111111111111111111111111111111"}}"#;

fn claims(purpose: Purpose, now: UnixMs, life_ms: i64) -> Claims {
    Claims {
        purpose,
        plan: Plan::Free,
        rungs: RungSet::of(&[Rung::Aac64]),
        territory: "DE".parse().unwrap(),
        buffer: 1,
        expires_at: now.plus_ms(life_ms),
        duration_ms: 200_000,
        play: PlayId::v7(now, [1; 10]),
        track: TrackId::v7(now, [2; 10]),
        version: MediaVersion([3; 16]),
        pseudonym: Pseudonym([4; 16]),
    }
}

fn key_of(token: &str) -> u8 {
    Unverified::decode(token).unwrap().key_id()
}

/// A hundred rotations, one every 2 s, each document handed out a second ahead to one edge and at the last moment to the other. Keys are
/// kept for 6 s after their successor began; tokens live for 5.
#[test]
fn with_keys_that_change_every_two_seconds_no_valid_token_is_refused_and_a_retired_key_ends_at_its_instant() {
    const EVERY_MS: i64 = 2_000;
    const KEEP_MS: i64 = 6_000;
    const LIFE_MS: i64 = 5_000;
    let mut document = Document::parse(FIRST).unwrap();
    let (mut early, mut late) = (TokenKeys::prepare(&document), TokenKeys::prepare(&document));
    // Tokens with what their minter promised, and the instant at which their key ends.
    let mut tokens: Vec<(UnixMs, UnixMs, Purpose, String)> = Vec::new();
    let (mut refused_retired, mut accepted) = (0, 0);
    for step in 0..2_000 {
        let now = START.plus_ms(step * 100);
        if step % 20 == 10 {
            let mut secret = [0xaa; 32];
            secret[0] = u8::try_from(step / 20).unwrap();
            let from = now.plus_ms(EVERY_MS / 2);
            document = document.rotated(secret, from, KEEP_MS, now).unwrap().document;
            early = TokenKeys::prepare(&document);
        }
        if step % 20 == 0 {
            late = early.clone();
        }
        assert_eq!(early.signer(now), late.signer(now), "both edges sign with the same key at {now:?}");
        for purpose in [Purpose::Media, Purpose::Event] {
            let token = mint(if step % 2 == 0 { &early } else { &late }, &claims(purpose, now, LIFE_MS), now).unwrap();
            let began = START.plus_ms(EVERY_MS * (step / 20));
            assert_eq!(i64::from(key_of(&token)), 1 + step / 20);
            tokens.push((now.plus_ms(LIFE_MS), began.plus_ms(EVERY_MS + KEEP_MS), purpose, token));
        }
        for (valid_until, key_ends, purpose, token) in &tokens {
            for edge in [&early, &late] {
                let said = edge.verify(token, *purpose, now);
                if now >= *key_ends {
                    assert_eq!(said, Err(TokenError::Invalid), "its key has ended at {now:?}");
                    refused_retired += 1;
                } else {
                    // Five seconds of life and thirty of skew: none of them expires before its key ends.
                    assert!(said.is_ok(), "valid until {valid_until:?}, refused at {now:?}");
                    accepted += 1;
                }
            }
        }
        tokens.retain(|(_, key_ends, ..)| now < key_ends.plus_ms(500));
    }
    assert_eq!(document.signers().len(), 101);
    assert!(accepted > 200_000 && refused_retired > 10_000, "{accepted} accepted, {refused_retired} refused");
}

#[test]
fn a_key_ends_at_its_millisecond_and_begins_a_skew_early() {
    let document = Document::parse(FIRST).unwrap();
    let from = START.plus_ms(600_000);
    let rotation = document.rotated([2; 32], from, KEEP_MS, START).unwrap();
    let keys = TokenKeys::prepare(&rotation.document);
    assert_eq!((rotation.key_id, rotation.former, rotation.former_until), (2, 1, from.plus_ms(KEEP_MS)));
    assert_eq!((keys.signer(from.plus_ms(-1)), keys.signer(from)), (Ok(1), Ok(2)));

    let old = mint(&keys, &claims(Purpose::Event, START, 2 * KEEP_MS), START).unwrap();
    assert!(keys.verify(&old, Purpose::Event, rotation.former_until.plus_ms(-1)).is_ok());
    assert_eq!(examine(&keys, &old, Purpose::Event, rotation.former_until), Err(Refusal::KeyEnded(1)));

    let new = mint(&keys, &claims(Purpose::Media, START, KEEP_MS), from).unwrap();
    assert!(keys.verify(&new, Purpose::Media, from.plus_ms(-SKEW_MS)).is_ok());
    assert_eq!(examine(&keys, &new, Purpose::Media, from.plus_ms(-SKEW_MS - 1)), Err(Refusal::KeyNotYet(2)));
}

/// The longest ticket, signed at the last moment by a clock that is behind, judged by one that is ahead until its last moment.
#[test]
fn the_former_key_outlives_the_longest_token_it_signed_under_any_clocks() {
    let from = START.plus_ms(600_000);
    let keys = TokenKeys::prepare(&Document::parse(FIRST).unwrap().rotated([2; 32], from, KEEP_MS, START).unwrap().document);
    for signers_clock in [-SKEW_MS, 0, SKEW_MS] {
        // By its own clock the signer changes keys at `from`.
        let last_ms = from.plus_ms(-1);
        let ticket = mint(&keys, &claims(Purpose::Event, last_ms, LIFE_MS_MAX), last_ms).unwrap();
        assert_eq!(key_of(&ticket), 1);
        let expires_at = Unverified::decode(&ticket).unwrap().claims().unwrap().expires_at;
        let true_end = expires_at.plus_ms(-signers_clock);
        for verifiers_clock in [-SKEW_MS, 0, SKEW_MS] {
            let shown = true_end.plus_ms(verifiers_clock).min(expires_at.plus_ms(SKEW_MS));
            assert!(keys.verify(&ticket, Purpose::Event, shown).is_ok(), "{signers_clock} {verifiers_clock}");
        }
        assert_eq!(keys.verify(&ticket, Purpose::Event, expires_at.plus_ms(SKEW_MS + 1)), Err(TokenError::Expired));
    }
}

#[test]
fn pseudonyms_survive_every_rotation_and_keys_long_ended_are_forgotten() {
    const MONTH_MS: i64 = 30 * 86_400_000;
    let account = protocol::AccountId::v7(START, [9; 10]);
    let mut document = Document::parse(FIRST).unwrap();
    let pseudonym = TokenKeys::prepare(&document).pseudonym(account);
    let mut forgotten = 0;
    for month in 1..=300 {
        let now = START.plus_ms(month * MONTH_MS);
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&month.to_be_bytes());
        let rotation = document.rotated(secret, now.plus_ms(600_000), KEEP_MS, now).unwrap();
        forgotten += rotation.forgotten.len();
        document = Document::parse(&rotation.document.to_json()).unwrap();
        assert_eq!(TokenKeys::prepare(&document).pseudonym(account), pseudonym);
        assert!(document.keys().count() <= 4, "a Worker's secret has 5 kB");
        assert!(document.to_json().len() < 1_500);
    }
    assert!(forgotten > 290 && FORGET_MS >= MONTH_MS);
}

#[test]
fn a_rotation_comes_after_every_other() {
    let pending = Document::parse(FIRST).unwrap().rotated([2; 32], START.plus_ms(600_000), KEEP_MS, START).unwrap().document;
    let again = pending.rotated([3; 32], START.plus_ms(600_000), KEEP_MS, START);
    assert_eq!(again, Err(RotationError::NotTheLast(2, START.plus_ms(600_000))));
    assert!(pending.rotated([3; 32], START.plus_ms(1_200_000), KEEP_MS, START).is_ok());
    assert!(matches!(pending.rotated([2; 32], START.plus_ms(1_200_000), KEEP_MS, START), Err(RotationError::Unusable(_))));
}

#[test]
fn nothing_is_signed_before_the_first_key_begins() {
    let keys = TokenKeys::parse(&FIRST.replace(r#""current":1,"#, "").replace(
        r#""1111111111111111111111111111111111111111111111111111111111111111""#,
        r#"{"secret":"1111111111111111111111111111111111111111111111111111111111111111","signs_from_ms":1795556280000}"#,
    ))
    .unwrap();
    let claims = claims(Purpose::Media, START, 60_000);
    assert_eq!(mint(&keys, &claims, START.plus_ms(-1)), Err(NoSigner));
    assert!(mint(&keys, &claims, START).is_ok());
}
