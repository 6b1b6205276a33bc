//! Segment receipts: evidence that a player which says it heard a song also fetched it.
//!
//! ```text
//! edge or gateway ──`Antiphon-Receipt` beside a segment──► player ──`receipts` in a heartbeat──► buffer ──► royalty ──► listen rule
//! ```
//!
//! A receipt says: whoever holds this play's media token asked for all of the segment that is heard from `start_ms` to `end_ms`. It is bound to
//! the play, so another play's is worthless, and it carries its interval, so whoever judges it needs no sheet. It proves that the bytes were
//! asked for, not that anybody listened, nor when. `docs/token.md` has the layout and vectors.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{PlayId, UnixMs, keys::TokenKeys, media_path::MediaObject, sheet::Sheet, token::Refusal};

/// The header that carries one.
pub const HEADER: &str = "antiphon-receipt";
/// Receipts in one post.
pub const RECEIPTS_MAX: usize = 64;
/// No text of more characters is looked at; a receipt of this format has at most 50.
pub const CHARS_MAX: usize = 96;

const FORMAT: u8 = 1;
/// 96 bits: nobody can try many, since each costs a heartbeat.
const TAG_BYTES: usize = 12;
const SIGNED_BYTES: usize = 30;
/// As a segment's path allows; a track of 12 h has 7,200.
const SEGMENTS_MAX: u32 = 100_000;

/// A segment as it is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// Its number, the same in every rung.
    pub n: u32,
    /// Where in the track it begins to be heard.
    pub start_ms: u32,
    /// Where the next one does.
    pub end_ms: u32,
}

impl Segment {
    /// The segment that `object` brings: init section and first segment in one bring the first. `None` where nothing is heard from it.
    #[must_use]
    pub fn of(object: MediaObject, sheet: &Sheet) -> Option<Self> {
        let n = match object {
            MediaObject::First(_) => 0,
            MediaObject::Segment(_, n) => n,
            MediaObject::Index | MediaObject::Steering | MediaObject::Playlist(_) | MediaObject::Init(_) => return None,
        };
        let (start_ms, end_ms) = sheet.heard_ms(n)?;
        Some(Self { n: u32::try_from(n).ok()?, start_ms, end_ms }).filter(|segment| segment.is_whole())
    }

    /// The receipt for it in `play`, by the key that signs at `now`; `None` before any key signs.
    #[must_use]
    pub fn seal(self, keys: &TokenKeys, play: PlayId, now: UnixMs) -> Option<String> {
        let key = keys.signer(now).ok()?;
        let tag: [u8; TAG_BYTES] = keys.sign_receipt(key, &self.signed(key, play))?;
        let Self { n, start_ms, end_ms } = self;
        Some(format!("{FORMAT}.{key}.{n}.{start_ms}.{end_ms}.{}", URL_SAFE_NO_PAD.encode(tag)))
    }

    const fn is_whole(&self) -> bool {
        self.n < SEGMENTS_MAX && self.start_ms < self.end_ms
    }

    /// What is signed: every field, and the play, which the text does not repeat.
    fn signed(&self, key: u8, play: PlayId) -> [u8; SIGNED_BYTES] {
        let [n, start, end] = [self.n, self.start_ms, self.end_ms].map(u32::to_be_bytes);
        let (head, play) = ([FORMAT, key], play.uuid());
        let parts = [head.as_slice(), play.as_bytes(), &n, &start, &end];
        let mut signed = [0; SIGNED_BYTES];
        signed.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        signed
    }
}

/// The receipt for `object` of `play`; `None` for an object that is no segment, and before any key signs.
#[must_use]
pub fn issue(keys: &TokenKeys, play: PlayId, object: MediaObject, sheet: &Sheet, now: UnixMs) -> Option<String> {
    Segment::of(object, sheet)?.seal(keys, play, now)
}

/// The segment that `text` proves to have been asked for in `play`, judged at `at`.
///
/// # Errors
/// [`Refusal::Encoding`] for what is not written as [`issue`] writes it, [`Refusal::UnknownKey`], [`Refusal::KeyNotYet`], [`Refusal::KeyEnded`],
/// and [`Refusal::Tag`] for what is forged, altered, or another play's.
pub fn examine(keys: &TokenKeys, play: PlayId, text: &str, at: UnixMs) -> Result<Segment, Refusal> {
    let (key, segment, tag) = parse(text).ok_or(Refusal::Encoding)?;
    keys.check_receipt(key, &segment.signed(key, play), &tag, at)?;
    Ok(segment)
}

fn parse(text: &str) -> Option<(u8, Segment, [u8; TAG_BYTES])> {
    if text.len() > CHARS_MAX {
        return None;
    }
    let mut parts = text.split('.');
    let mut number = || parts.next().and_then(decimal);
    let (format, key, n, start_ms, end_ms) = (number()?, number()?, number()?, number()?, number()?);
    let tag = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?.try_into().ok()?;
    let segment = Segment { n, start_ms, end_ms };
    let is_good = parts.next().is_none() && format == u32::from(FORMAT) && segment.is_whole();
    is_good.then_some((u8::try_from(key).ok()?, segment, tag))
}

/// A number in its one spelling.
fn decimal(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if digits { text.parse().ok() } else { None }
}

/// The parts of a track that receipts prove to have been fetched: the same whatever their order, repetition and grouping. What touches is one part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proven {
    /// The end of each part by its start; none of them touch.
    parts: BTreeMap<u32, u32>,
}

impl Proven {
    /// Adds `[from_ms, to_ms)`.
    pub fn add(&mut self, from_ms: u32, to_ms: u32) {
        if from_ms >= to_ms {
            return;
        }
        let (mut from, mut to) = (from_ms, to_ms);
        while let Some((&start, &end)) = self.parts.range(..=to).next_back().filter(|(_, end)| **end >= from) {
            self.parts.remove(&start);
            (from, to) = (from.min(start), to.max(end));
        }
        self.parts.insert(from, to);
    }

    /// The parts `(from_ms, to_ms)` in order.
    pub fn parts(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.parts.iter().map(|(from, to)| (*from, *to))
    }

    /// Whether nothing is proven.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// How much of `other` is among these.
    #[must_use]
    pub fn shared_ms(&self, other: &Self) -> i64 {
        let (mut ours, mut theirs) = (self.parts().peekable(), other.parts().peekable());
        let mut shared = 0;
        while let (Some(one), Some(two)) = (ours.peek().copied(), theirs.peek().copied()) {
            shared += i64::from(one.1.min(two.1).saturating_sub(one.0.max(two.0)));
            if one.1 <= two.1 {
                ours.next()
            } else {
                theirs.next()
            };
        }
        shared
    }
}

impl FromIterator<(u32, u32)> for Proven {
    fn from_iter<I: IntoIterator<Item = (u32, u32)>>(parts: I) -> Self {
        let mut proven = Self::default();
        parts.into_iter().for_each(|(from, to)| proven.add(from, to));
        proven
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Rung, sheet::tests::sheet};

    const NOW: UnixMs = UnixMs(1_795_556_280_000);
    const KEYS: &str = r#"{"current":1,"keys":{
        "1":{"secret":"1111111111111111111111111111111111111111111111111111111111111111","verifies_until_ms":1795560000000},
        "2":{"secret":"2222222222222222222222222222222222222222222222222222222222222222","signs_from_ms":1795556400000}},
        "pseudonym":"5555555555555555555555555555555555555555555555555555555555555555"}"#;

    fn keys() -> TokenKeys {
        TokenKeys::parse(KEYS).unwrap()
    }

    fn play(n: u8) -> PlayId {
        PlayId::v7(NOW, [n; 10])
    }

    fn receipt(n: usize) -> String {
        issue(&keys(), play(1), MediaObject::Segment(Rung::Aac64, n), &sheet(), NOW).unwrap()
    }

    #[test]
    fn a_receipt_proves_its_segment_of_its_play_and_no_other() {
        let proven = examine(&keys(), play(1), &receipt(1), NOW).unwrap();
        assert_eq!(proven, Segment { n: 1, start_ms: 1996, end_ms: 7987 });
        assert_eq!(examine(&keys(), play(2), &receipt(1), NOW), Err(Refusal::Tag));
        let altered = [(".1.1996.", ".0.1996."), (".1996.", ".0."), (".7987.", ".7988."), ("1.1.", "1.2.")];
        for (from, to) in altered {
            let text = receipt(1).replacen(from, to, 1);
            assert_ne!(text, receipt(1), "{from}");
            let judged = examine(&keys(), play(1), &text, UnixMs(1_795_556_400_000));
            assert_eq!(judged, Err(Refusal::Tag), "{text}");
        }
    }

    #[test]
    fn the_rung_does_not_matter_and_the_joined_first_object_is_segment_0() {
        let of = |object| issue(&keys(), play(1), object, &sheet(), NOW);
        assert_eq!(of(MediaObject::Segment(Rung::Aac128, 1)), Some(receipt(1)));
        assert_eq!(of(MediaObject::First(Rung::Aac128)), Some(receipt(0)));
        let none = [
            MediaObject::Index,
            MediaObject::Steering,
            MediaObject::Playlist(Rung::Aac64),
            MediaObject::Init(Rung::Aac64),
            MediaObject::Segment(Rung::Aac64, 3),
        ];
        for object in none {
            assert_eq!(of(object), None, "{object}");
        }
    }

    #[test]
    fn both_live_keys_are_believed_until_the_older_ends() {
        let (before, after, end) = (NOW, UnixMs(1_795_556_400_000), UnixMs(1_795_560_000_000));
        let by = |at| issue(&keys(), play(1), MediaObject::Segment(Rung::Aac64, 1), &sheet(), at).unwrap();
        assert_eq!((by(before).get(..4), by(after).get(..4)), (Some("1.1."), Some("1.2.")));
        for text in [by(before), by(after)] {
            assert!(examine(&keys(), play(1), &text, after).is_ok(), "{text}");
        }
        assert_eq!(examine(&keys(), play(1), &by(before), end), Err(Refusal::KeyEnded(1)));
        assert_eq!(examine(&keys(), play(1), &by(after), after.plus_ms(-60_000)), Err(Refusal::KeyNotYet(2)));
        assert_eq!(examine(&keys(), play(1), &by(after).replacen("1.2.", "1.7.", 1), after), Err(Refusal::UnknownKey(7)));
    }

    #[test]
    fn there_is_one_spelling() {
        let good = receipt(1);
        let (head, tag) = good.rsplit_once('.').unwrap();
        let wrong = [
            String::new(),
            head.to_owned(),
            good[..good.len() - 1].to_owned(),
            format!("{good}."),
            format!("{good}=="),
            format!(" {good}"),
            good.replacen("1.", "01.", 1),
            good.replacen("1.", "+1.", 1),
            good.replacen("1.", "2.", 1),
            good.replacen(".1996.", ".4294967296.", 1),
            format!("1.1.1.7987.1996.{tag}"),
            format!("1.1.100000.1996.7987.{tag}"),
            format!("{head}.{}", "A".repeat(22)),
            "1.".repeat(100),
        ];
        for text in wrong {
            assert_eq!(examine(&keys(), play(1), &text, NOW), Err(Refusal::Encoding), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_nothing_made_up_is_believed(text in "[0-9A-Za-z.=_-]{0,110}", any in any::<String>()) {
            prop_assert!(examine(&keys(), play(1), &text, NOW).is_err());
            prop_assert!(examine(&keys(), play(1), &any, NOW).is_err());
        }

        #[test]
        fn a_receipt_with_one_character_changed_proves_nothing(place in any::<prop::sample::Index>(), put in "[0-9A-Za-z._-]") {
            let mut text = receipt(1);
            let place = place.index(text.len());
            prop_assume!(text.get(place..=place) != Some(put.as_str()));
            text.replace_range(place..=place, &put);
            prop_assert!(examine(&keys(), play(1), &text, NOW).is_err(), "{}", text);
        }

        #[test]
        fn parts_are_the_set_of_their_milliseconds_in_any_order_and_grouping(
            parts in prop::collection::vec((0u32..200, 0u32..40), 0..12),
            others in prop::collection::vec((0u32..200, 0u32..40), 0..12),
        ) {
            let marked = |parts: &[(u32, u32)]| -> Vec<bool> {
                (0..240).map(|ms| parts.iter().any(|(from, length)| (*from..from + length).contains(&ms))).collect()
            };
            let proven = |parts: &[(u32, u32)]| -> Proven { parts.iter().map(|(from, length)| (*from, from + length)).collect() };
            let (one, two) = (proven(&parts), proven(&others));
            let told: Vec<(u32, u32)> = one.parts().map(|(from, to)| (from, to - from)).collect();
            prop_assert_eq!(marked(&told), marked(&parts));
            prop_assert!(told.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0), "parts that touch are one");
            let backwards: Proven = parts.iter().rev().chain(&parts).map(|(from, length)| (*from, from + length)).collect();
            prop_assert_eq!(&backwards, &one);
            let shared = marked(&parts).iter().zip(marked(&others)).filter(|(one, two)| **one && *two).count();
            prop_assert_eq!(one.shared_ms(&two), i64::try_from(shared).unwrap());
        }
    }
}
