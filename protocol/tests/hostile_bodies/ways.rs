//! How a body is altered: as lines and noise would, as a broken player would, and as somebody would who knows what is read.

use super::{Kind, common::Dice};

/// Beyond it no other alteration makes a body longer.
const GROWS_TO: usize = 8 * 1024;

type Way = fn(&[(Kind, Vec<u8>)], &mut Vec<u8>, &mut Dice);

pub(super) const WAYS: [(&str, Way); 15] = [
    ("a bit flipped", flipped),
    ("a byte replaced", replaced),
    ("a number replaced", number),
    ("a number replaced", number),
    ("a word replaced", word),
    ("a word replaced", word),
    ("a member put in", member),
    ("a member put in", member),
    ("a piece cut out", cut_out),
    ("a piece repeated", repeated),
    ("a piece of another body", spliced),
    ("noise put in", noise),
    ("pieces exchanged at commas", exchanged),
    ("cut off", cut_off),
    ("nested or made long", inflated),
];

/// What readers of numbers stumble over, and the limits of a track of 200 s.
const NUMBERS: [&str; 28] = [
    "0",
    "-0",
    "-1",
    "1",
    "00",
    "0.5",
    "1e3",
    "1e999",
    "-1e999",
    "2147483648",
    "4294967295",
    "4294967296",
    "-4294967296",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "999999999999999",
    "1000000000000000",
    "-999999999999999",
    "599999",
    "600001",
    "202000",
    "202001",
    "0x10",
    "NaN",
    "",
    "1_000",
];

/// What means something to one of the readers.
const WORDS: [&str; 40] = [
    "null",
    "true",
    "?1",
    "?0",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\\"\"",
    "[]",
    "{}",
    "()",
    "(1 2;a 3;b)",
    "(\"a\";r=\"0-1\" \"b\")",
    ";a;b=1",
    "cid",
    "sid",
    "sn",
    "sta",
    "ts",
    "pt",
    "bg",
    "e",
    "v",
    "seq",
    "kind",
    "from_ms",
    "to_ms",
    "muted",
    "clock",
    "{\"at_ms\":1,\"playing\":true}",
    "receipts",
    "ticket",
    "sender",
    "progress",
    "dance",
    "e=t",
    "sta=p",
    "\n",
    "\r\n",
    "\u{feff}",
];

/// Whole members, of which some have no business where they are put.
const MEMBERS: [&str; 12] = [
    "\"clock\":{\"at_ms\":5,\"playing\":true},",
    "\"seq\":9,",
    "\"muted\":false,",
    "\"to_ms\":202001,",
    "\"extra\":1,",
    "\"receipts\":[\"x\",7],",
    "pt=202001,",
    "sta=e,",
    "e=rr,",
    "sn=4294967296,",
    "v=3,",
    "bg,",
];

#[expect(clippy::ptr_arg, reason = "others change the length")]
fn flipped(_: &[(Kind, Vec<u8>)], body: &mut Vec<u8>, dice: &mut Dice) {
    if !body.is_empty() {
        let bit = dice.below(body.len() * 8);
        body[bit / 8] ^= 1 << (bit % 8);
    }
}

#[expect(clippy::ptr_arg, reason = "others change the length")]
fn replaced(_: &[(Kind, Vec<u8>)], body: &mut Vec<u8>, dice: &mut Dice) {
    if !body.is_empty() {
        let at = dice.below(body.len());
        body[at] = dice.byte();
    }
}

/// The extent of the piece around a place drawn whose bytes all `belong`.
fn around(body: &[u8], dice: &mut Dice, belong: impl Fn(&u8) -> bool) -> Option<std::ops::Range<usize>> {
    let drawn = dice.below(body.len().max(1));
    let at = drawn + body.get(drawn..)?.iter().position(&belong)?;
    let start = body[..at].iter().rposition(|byte| !belong(byte)).map_or(0, |before| before + 1);
    let end = body[at..].iter().position(|byte| !belong(byte)).map_or(body.len(), |length| at + length);
    Some(start..end)
}

fn number(_: &[(Kind, Vec<u8>)], body: &mut Vec<u8>, dice: &mut Dice) {
    if let Some(place) = around(body, dice, u8::is_ascii_digit) {
        let number = if dice.below(4) == 0 { dice.draw().to_string() } else { NUMBERS[dice.below(NUMBERS.len())].to_owned() };
        body.splice(place, number.bytes());
    }
}

fn word(_: &[(Kind, Vec<u8>)], body: &mut Vec<u8>, dice: &mut Dice) {
    if let Some(place) = around(body, dice, |byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        body.splice(place, WORDS[dice.below(WORDS.len())].bytes());
    }
}

fn member(_: &[(Kind, Vec<u8>)], body: &mut Vec<u8>, dice: &mut Dice) {
    let drawn = dice.below(body.len().max(1));
    let opening = body.iter().skip(drawn).position(|byte| matches!(byte, b'{' | b','));
    let at = opening.map_or(0, |further| drawn + further + 1);
    body.splice(at..at, MEMBERS[dice.below(MEMBERS.len())].bytes());
}

fn piece(body: &[u8], dice: &mut Dice) -> std::ops::Range<usize> {
    let start = dice.below(body.len() + 1);
    let most = if dice.below(2) == 0 { 8 } else { 400 };
    start..start + dice.below(1 + most.min(body.len() - start))
}

fn cut_out(_: &[(Kind, Vec<u8>)], body: &mut Vec<u8>, dice: &mut Dice) {
    body.drain(piece(body, dice));
}

fn put_in(body: &mut Vec<u8>, bytes: Vec<u8>, dice: &mut Dice) {
    if body.len() < GROWS_TO {
        let at = dice.below(body.len() + 1);
        body.splice(at..at, bytes);
    }
}

fn repeated(_: &[(Kind, Vec<u8>)], body: &mut Vec<u8>, dice: &mut Dice) {
    let piece = body[piece(body, dice)].to_vec();
    put_in(body, piece, dice);
}

fn spliced(material: &[(Kind, Vec<u8>)], body: &mut Vec<u8>, dice: &mut Dice) {
    let (_, other) = &material[dice.below(material.len())];
    let piece = other[piece(other, dice)].to_vec();
    put_in(body, piece, dice);
}

fn noise(_: &[(Kind, Vec<u8>)], body: &mut Vec<u8>, dice: &mut Dice) {
    let noise = (0..dice.below(12)).map(|_| dice.byte()).collect();
    put_in(body, noise, dice);
}

fn exchanged(_: &[(Kind, Vec<u8>)], body: &mut Vec<u8>, dice: &mut Dice) {
    let mut pieces: Vec<&[u8]> = body.split(|byte| *byte == b',').collect();
    let (one, other) = (dice.below(pieces.len()), dice.below(pieces.len()));
    pieces.swap(one, other);
    *body = pieces.join(&b',');
}

fn cut_off(_: &[(Kind, Vec<u8>)], body: &mut Vec<u8>, dice: &mut Dice) {
    let length = dice.below(body.len() + 1);
    body.truncate(length);
}

/// Depth and length, up to beyond the limit of a body now and then.
fn inflated(_: &[(Kind, Vec<u8>)], body: &mut Vec<u8>, dice: &mut Dice) {
    let unit = ["[", "{\"a\":", "(", "\"", "\\", ",", "\n", "e=t,", "1", " ", "\u{e9}"][dice.below(11)];
    let times = if dice.below(400) == 0 { 70_000 / unit.len() } else { dice.below(300) };
    put_in(body, unit.repeat(times).into_bytes(), dice);
}
