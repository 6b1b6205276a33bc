//! Tokens that nobody of ours made, or that were made for something else: a million of them in every test run, none accepted.
//!
//! Genuine tokens of two plays are the material, as a forger would have them. Each attempt takes one of them apart or makes one up, in a
//! way drawn from [`WAYS`] with a seeded generator, so that a failure names the attempt and can be repeated. `ANTIPHON_TOKENS=10000000`
//! tries as many.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

mod common;

use std::{collections::BTreeMap, thread};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use common::{Dice, EVENT_LABEL, MEDIA_LABEL, SECRET_1, SECRET_2, SECRET_3, document, sealed};
use protocol::{
    MediaVersion, Plan, PlayId, Rung, RungSet, TrackId, UnixMs,
    keys::TokenKeys,
    token::{Claims, Pseudonym, Purpose, Refusal, TOKEN_CHARS, TokenError, Unverified, Verifier, examine, mint},
};

const NOW: UnixMs = UnixMs(1_795_556_280_000);
const HOUR_MS: i64 = 3_600_000;
const ATTEMPTS: u64 = 1_000_000;
const WORKERS: u64 = 2;

/// Where each field lies: `docs/token.md`.
const FIELDS: [(&str, std::ops::Range<usize>); 13] = [
    ("layout", 0..1),
    ("key id", 1..2),
    ("purpose", 2..3),
    ("plan", 3..4),
    ("rungs", 4..5),
    ("territory", 5..7),
    ("buffer", 7..9),
    ("expiry", 9..13),
    ("duration", 13..17),
    ("play", 17..33),
    ("track", 33..49),
    ("version", 49..65),
    ("pseudonym", 65..81),
];
const BODY: usize = 81;

/// What a forger has: keys 1 (a former one, still verifying) and 2 (signing) sign genuine tokens; key 3 is to sign tomorrow.
struct Scene {
    keys: TokenKeys,
    genuine: Vec<(Purpose, String)>,
}

fn claims(purpose: Purpose, n: u8) -> Claims {
    let grace = if purpose == Purpose::Event { 54 } else { 6 };
    Claims {
        purpose,
        plan: if n == 0 { Plan::Free } else { Plan::Premium },
        rungs: if n == 0 { RungSet::of(&[Rung::Aac64]) } else { RungSet::of(&Rung::ALL) },
        territory: if n == 0 { "DE" } else { "FR" }.parse().unwrap(),
        buffer: 17 + u16::from(n),
        expires_at: NOW.plus_ms(grace * HOUR_MS + i64::from(n) * 1000),
        duration_ms: 215_000 + u32::from(n),
        play: PlayId::v7(NOW.plus_ms(-i64::from(n)), [n; 10]),
        track: TrackId::v7(NOW.plus_ms(-HOUR_MS), [n; 10]),
        version: MediaVersion([n; 16]),
        pseudonym: Pseudonym([0x40 + n; 16]),
    }
}

fn scene() -> Scene {
    let keys = TokenKeys::parse(&document()).unwrap();
    let former = TokenKeys::parse(&format!(r#"{{"current":1,"keys":{{"1":"{SECRET_1}"}}}}"#)).unwrap();
    let mut genuine = Vec::new();
    for signer in [&former, &keys] {
        for purpose in [Purpose::Media, Purpose::Event] {
            genuine.extend((0..2).map(|n| (purpose, mint(signer, &claims(purpose, n), NOW).unwrap())));
        }
    }
    Scene { keys, genuine }
}

/// A way to make a token that must not be accepted; `None` when the dice happened to leave a genuine one as it was.
type Way = fn(&Scene, &mut Dice) -> Option<(Purpose, String)>;

const WAYS: [(&str, Way); 18] = [
    ("a field of another play", spliced),
    ("a field made up", made_up_field),
    ("a bit flipped", flipped),
    ("a character replaced", replaced),
    ("the tag of another token", other_tag),
    ("a tag made up", made_up_tag),
    ("a tag with one byte different", near_tag),
    ("every byte made up", noise),
    ("the other purpose", other_purpose),
    ("signed with a key we do not have", strange_key),
    ("signed under the other purpose's label", other_label),
    ("signed with a key that does not sign yet", early_key),
    ("signed, expired", expired),
    ("signed, from the future", from_the_future),
    ("signed, with a value that means nothing", meaningless),
    ("padded or in another alphabet", other_alphabet),
    ("bits after the last byte", trailing_bits),
    ("another length or encoded twice", other_length),
];

fn pick<'a>(scene: &'a Scene, dice: &mut Dice) -> (Purpose, &'a str, Vec<u8>) {
    let (purpose, text) = &scene.genuine[dice.below(scene.genuine.len())];
    (*purpose, text, URL_SAFE_NO_PAD.decode(text).unwrap())
}

fn encode(purpose: Purpose, bytes: impl AsRef<[u8]>) -> Option<(Purpose, String)> {
    Some((purpose, URL_SAFE_NO_PAD.encode(bytes)))
}

fn spliced(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    let ((purpose, _, mut bytes), (_, _, other)) = (pick(scene, dice), pick(scene, dice));
    let mut changed = false;
    for _ in 0..=dice.below(3) {
        let (_, field) = FIELDS[dice.below(FIELDS.len())].clone();
        changed |= bytes[field.clone()] != other[field.clone()];
        bytes[field.clone()].copy_from_slice(&other[field]);
    }
    if changed { encode(purpose, bytes) } else { None }
}

fn made_up_field(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    let (purpose, _, mut bytes) = pick(scene, dice);
    let (_, field) = FIELDS[dice.below(FIELDS.len())].clone();
    let before = bytes.clone();
    bytes[field].iter_mut().for_each(|byte| *byte = dice.byte());
    if bytes == before { None } else { encode(purpose, bytes) }
}

fn flipped(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    let (purpose, _, mut bytes) = pick(scene, dice);
    let bit = dice.below(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    encode(purpose, bytes)
}

fn replaced(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    let (purpose, text, _) = pick(scene, dice);
    let mut bytes = text.as_bytes().to_vec();
    bytes[dice.below(TOKEN_CHARS)] = dice.byte() & 0x7f;
    let altered = String::from_utf8(bytes).unwrap();
    if altered == text { None } else { Some((purpose, altered)) }
}

fn other_tag(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    let ((purpose, _, bytes), (_, _, other)) = (pick(scene, dice), pick(scene, dice));
    if bytes == other { None } else { encode(purpose, [&bytes[..BODY], &other[BODY..]].concat()) }
}

fn made_up_tag(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    let (purpose, _, mut bytes) = pick(scene, dice);
    let kind = dice.below(3);
    bytes[BODY..].iter_mut().for_each(|byte| {
        *byte = match kind {
            0 => 0,
            1 => 0xff,
            _ => dice.byte(),
        }
    });
    encode(purpose, bytes)
}

fn near_tag(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    let (purpose, _, mut bytes) = pick(scene, dice);
    let at = BODY + dice.below(16);
    bytes[at] ^= 1 + dice.byte() % 255;
    encode(purpose, bytes)
}

fn noise(_: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    let mut bytes = [0; 97];
    bytes.iter_mut().for_each(|byte| *byte = dice.byte());
    // Half of them look like ours up to the first field.
    if dice.below(2) == 0 {
        bytes[..3].copy_from_slice(&[1, 2, 1]);
    }
    encode(Purpose::Media, bytes)
}

fn other_purpose(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    let (purpose, text, _) = pick(scene, dice);
    Some((other(purpose), text.to_owned()))
}

const fn other(purpose: Purpose) -> Purpose {
    match purpose {
        Purpose::Media => Purpose::Event,
        Purpose::Event => Purpose::Media,
    }
}

const fn label(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Media => MEDIA_LABEL,
        Purpose::Event => EVENT_LABEL,
    }
}

fn strange_key(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    let (purpose, _, bytes) = pick(scene, dice);
    let mut secret = [0; 32];
    if dice.below(2) == 0 {
        secret.iter_mut().for_each(|byte| *byte = dice.byte());
    }
    encode(purpose, sealed(&secret, label(purpose), &bytes[..BODY]))
}

fn other_label(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    let (purpose, _, bytes) = pick(scene, dice);
    let secret = common::secret(if bytes[1] == 1 { SECRET_1 } else { SECRET_2 });
    let wrong = ["", "antiphon pseudonym v1", "antiphon media v2", label(other(purpose))][dice.below(4)];
    encode(purpose, sealed(&secret, wrong, &bytes[..BODY]))
}

fn early_key(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    let (purpose, _, mut bytes) = pick(scene, dice);
    bytes[1] = 3;
    encode(purpose, sealed(&common::secret(SECRET_3), label(purpose), &bytes[..BODY]))
}

/// A genuine signature by the signing key over altered bytes, which no forger can make: what is not valid now is not accepted either.
fn signed(scene: &Scene, dice: &mut Dice, alter: impl FnOnce(&mut Dice, &mut [u8])) -> Option<(Purpose, String)> {
    let (purpose, _, mut bytes) = pick(scene, dice);
    bytes[1] = 2;
    alter(dice, &mut bytes);
    encode(purpose, sealed(&common::secret(SECRET_2), label(purpose), &bytes[..BODY]))
}

fn expired(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    signed(scene, dice, |dice, bytes| {
        let ago_s = 31 + dice.below(1_700_000_000);
        let expiry = u32::try_from(NOW.0 / 1000).unwrap() - u32::try_from(ago_s).unwrap();
        bytes[9..13].copy_from_slice(&expiry.to_be_bytes());
    })
}

fn from_the_future(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    signed(scene, dice, |dice, bytes| {
        let ahead_ms = 30_001 + i64::try_from(dice.below(1 << 40)).unwrap();
        bytes[17..33].copy_from_slice(PlayId::v7(NOW.plus_ms(ahead_ms), [7; 10]).0.as_bytes());
    })
}

fn meaningless(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    signed(scene, dice, |dice, bytes| match dice.below(5) {
        0 => bytes[0] = [0, 2, 255][dice.below(3)],
        1 => bytes[2] = [0, 3, 255][dice.below(3)],
        2 => bytes[3] = 2 + dice.byte() % 254,
        3 => bytes[4] = 16 + dice.byte() % 240,
        _ => bytes[5] = b'a' + dice.byte() % 26,
    })
}

fn other_alphabet(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    let (purpose, text, bytes) = pick(scene, dice);
    let altered = match dice.below(6) {
        0 => URL_SAFE.encode(&bytes),
        1 => STANDARD.encode(&bytes),
        2 => STANDARD_NO_PAD.encode(&bytes),
        3 => text.replacen('A', "%41", 1 + dice.below(3)),
        4 => format!("{text}{}", "=".repeat(1 + dice.below(3))),
        _ => text.to_ascii_lowercase(),
    };
    if altered == text { None } else { Some((purpose, altered)) }
}

/// 130 characters hold 780 bits, 97 bytes 776 of them: 15 other last characters would decode to the same bytes.
fn trailing_bits(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (purpose, text, _) = pick(scene, dice);
    let (head, last) = text.split_at(TOKEN_CHARS - 1);
    let value = ALPHABET.iter().position(|letter| *letter == last.as_bytes()[0]).unwrap();
    let altered = char::from(ALPHABET[value | (1 + dice.below(15))]);
    Some((purpose, format!("{head}{altered}")))
}

fn other_length(scene: &Scene, dice: &mut Dice) -> Option<(Purpose, String)> {
    let (purpose, text, bytes) = pick(scene, dice);
    let altered = match dice.below(7) {
        0 => text[..dice.below(TOKEN_CHARS)].to_owned(),
        1 => format!("{text}{text}"),
        2 => format!("{text}A"),
        3 => URL_SAFE_NO_PAD.encode(text),
        4 => format!(" {text}"),
        5 => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        _ => URL_SAFE_NO_PAD.encode([&bytes[..], &[0; 3][..dice.below(4)], &[dice.byte()]].concat()),
    };
    Some((purpose, altered))
}

/// Tries `attempts` with a generator of its own; answers how many each way made.
fn try_all(seed: u64, attempts: u64) -> BTreeMap<&'static str, u64> {
    let (scene, mut dice, mut made) = (scene(), Dice(seed), BTreeMap::new());
    let mut tried = 0;
    while tried < attempts {
        let (name, way) = WAYS[dice.below(WAYS.len())];
        let Some((purpose, token)) = way(&scene, &mut dice) else { continue };
        if let Ok(claims) = scene.keys.verify(&token, purpose, NOW) {
            panic!("accepted ({name}, seed {seed}, attempt {tried}): {token} as {claims:?}");
        }
        tried += 1;
        *made.entry(name).or_default() += 1;
    }
    made
}

#[test]
fn no_altered_crafted_or_outdated_token_is_accepted() {
    let attempts = std::env::var("ANTIPHON_TOKENS").map_or(ATTEMPTS, |count| count.parse().expect("ANTIPHON_TOKENS is a number"));
    let share = attempts.div_ceil(WORKERS);
    let workers: Vec<_> = (0..WORKERS).map(|worker| thread::spawn(move || try_all(0xA471_F09E + worker, share))).collect();
    let mut made = BTreeMap::new();
    for worker in workers {
        for (name, count) in worker.join().expect("a token was accepted") {
            *made.entry(name).or_insert(0) += count;
        }
    }
    for (name, count) in &made {
        println!("{count:>9}  {name}");
    }
    println!("{:>9}  refused", made.values().sum::<u64>());
    assert_eq!(made.len(), WAYS.len());
    assert!(made.values().all(|count| *count > attempts / 50), "every way is tried about equally often: {made:?}");
}

#[test]
fn the_material_of_the_attempts_is_accepted_untouched() {
    let scene = scene();
    for (purpose, token) in &scene.genuine {
        let said = scene.keys.verify(token, *purpose, NOW).unwrap();
        assert!((0..2).any(|n| said == claims(*purpose, n)));
    }
    // The test's own seal is the one of tokens, or the signed attempts would prove nothing.
    let bytes = URL_SAFE_NO_PAD.decode(&scene.genuine[7].1).unwrap();
    assert_eq!(sealed(&common::secret(SECRET_2), EVENT_LABEL, &bytes[..BODY]), bytes);
}

#[test]
fn no_field_can_be_exchanged_for_that_of_another_play() {
    let scene = scene();
    let [(_, ours), (_, theirs)] = &scene.genuine[4..6] else { panic!() };
    let (ours, theirs) = (URL_SAFE_NO_PAD.decode(ours).unwrap(), URL_SAFE_NO_PAD.decode(theirs).unwrap());
    for (name, field) in FIELDS.into_iter().filter(|(_, field)| ours[field.clone()] != theirs[field.clone()]) {
        let mut altered = ours.clone();
        altered[field.clone()].copy_from_slice(&theirs[field]);
        assert_eq!(refusal(&scene, &altered), Refusal::Tag, "{name}");
    }
    for (key_id, refused) in [(1, Refusal::Tag), (3, Refusal::KeyNotYet(3)), (4, Refusal::KeyEnded(4)), (9, Refusal::UnknownKey(9))] {
        let mut altered = ours.clone();
        altered[1] = key_id;
        assert_eq!(refusal(&scene, &altered), refused);
    }
    let mut event = ours;
    event[2] = Purpose::Event.code();
    assert_eq!(refusal(&scene, &event), Refusal::Tag);
}

fn refusal(scene: &Scene, bytes: &[u8]) -> Refusal {
    examine(&scene.keys, &URL_SAFE_NO_PAD.encode(bytes), Purpose::Media, NOW).unwrap_err()
}

#[test]
fn a_token_ends_thirty_seconds_after_its_expiry_and_begins_thirty_seconds_before_its_play() {
    let scene = scene();
    let (_, token) = &scene.genuine[4];
    let claims = Unverified::decode(token).unwrap().claims().unwrap();
    let judged = |now: UnixMs| scene.keys.verify(token, Purpose::Media, now).map(|_| ());
    assert_eq!(judged(claims.expires_at.plus_ms(30_000)), Ok(()));
    assert_eq!(judged(claims.expires_at.plus_ms(30_001)), Err(TokenError::Expired));
    assert_eq!(judged(claims.play.minted_at().plus_ms(-30_000)), Ok(()));
    assert_eq!(judged(claims.play.minted_at().plus_ms(-30_001)), Err(TokenError::Invalid));
}
