//! What a collector believes of the receipts it is sent: the same stretches of a track, whatever came along with the true ones, and in whatever
//! order, repetition and batches.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::sync::LazyLock;

use proptest::prelude::*;
use protocol::{
    PlayId, UnixMs,
    keys::TokenKeys,
    receipt::{Proven, Segment, examine},
};

const NOW: UnixMs = UnixMs(1_795_556_280_000);

static OURS: LazyLock<TokenKeys> = LazyLock::new(|| keys('1'));
static THEIRS: LazyLock<TokenKeys> = LazyLock::new(|| keys('2'));

fn keys(digit: char) -> TokenKeys {
    TokenKeys::parse(&format!(r#"{{"current":1,"keys":{{"1":"{}"}}}}"#, digit.to_string().repeat(64))).unwrap()
}

fn play(n: u8) -> PlayId {
    PlayId::v7(NOW, [n; 10])
}

/// Segments of 6 s.
const fn segment(n: u32) -> Segment {
    Segment { n, start_ms: n * 6_000, end_ms: (n + 1) * 6_000 }
}

/// What somebody who holds true receipts of his own plays, and no key, may send for one of `play(1)`.
#[derive(Debug, Clone)]
enum Sent {
    True(u32),
    OtherPlay(u32),
    OtherKey(u32),
    /// The numbers of one segment with the tag of another.
    OtherSegment(u32, u32),
    Truncated(u32, usize),
    Altered(u32, usize, u8),
    MadeUp(String),
}

impl Sent {
    fn text(&self) -> String {
        let sealed = |keys: &TokenKeys, of, n| segment(n).seal(keys, play(of), NOW).unwrap();
        match self {
            Self::True(n) => sealed(&OURS, 1, *n),
            Self::OtherPlay(n) => sealed(&OURS, 2, *n),
            Self::OtherKey(n) => sealed(&THEIRS, 1, *n),
            Self::OtherSegment(n, other) => {
                let (fields, _) = sealed(&OURS, 1, *n).rsplit_once('.').map(|(fields, tag)| (fields.to_owned(), tag.to_owned())).unwrap();
                format!("{fields}.{}", sealed(&OURS, 1, n + 1 + other).rsplit_once('.').unwrap().1)
            }
            Self::Truncated(n, left) => {
                let text = sealed(&OURS, 1, *n);
                text[..left % text.len()].to_owned()
            }
            Self::Altered(n, place, to) => {
                let mut text = sealed(&OURS, 1, *n).into_bytes();
                let place = place % text.len();
                text[place] = if text[place] == *to { b'~' } else { *to };
                String::from_utf8(text).unwrap()
            }
            Self::MadeUp(text) => text.clone(),
        }
    }
}

fn sent() -> impl Strategy<Value = Sent> {
    let n = 0u32..40;
    prop_oneof![
        6 => n.clone().prop_map(Sent::True),
        1 => n.clone().prop_map(Sent::OtherPlay),
        1 => n.clone().prop_map(Sent::OtherKey),
        1 => (n.clone(), 0u32..5).prop_map(|(n, other)| Sent::OtherSegment(n, other)),
        1 => (n.clone(), any::<usize>()).prop_map(|(n, left)| Sent::Truncated(n, left)),
        1 => (n, any::<usize>(), b'!'..b'~').prop_map(|(n, place, to)| Sent::Altered(n, place, to)),
        1 => "[0-9.A-Za-z_-]{0,60}".prop_map(Sent::MadeUp),
    ]
}

fn believed(texts: &[String]) -> Proven {
    let judged = texts.iter().filter_map(|text| examine(&OURS, play(1), text, NOW).ok());
    judged.map(|segment| (segment.start_ms, segment.end_ms)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn only_true_receipts_of_the_play_prove_anything_in_any_order_and_any_batches(
        (sent, order) in prop::collection::vec(sent(), 0..24).prop_flat_map(|sent| {
            let again = prop::sample::subsequence(sent.clone(), 0..=sent.len());
            let twice = again.prop_flat_map({
                let sent = sent.clone();
                move |again| Just([sent.clone(), again].concat()).prop_shuffle()
            });
            (Just(sent), twice)
        }),
        batch in 1usize..9,
    ) {
        let expected: Proven = sent.iter().filter_map(|sent| match sent {
            Sent::True(n) => Some((n * 6_000, (n + 1) * 6_000)),
            _ => None,
        }).collect();
        let texts = |sent: &[Sent]| -> Vec<String> { sent.iter().map(Sent::text).collect() };
        prop_assert_eq!(&believed(&texts(&sent)), &expected);
        // Each batch by itself, and then what the batches prove together.
        let together: Proven = order.chunks(batch).flat_map(|some| believed(&texts(some)).parts().collect::<Vec<_>>()).collect();
        prop_assert_eq!(together, expected);
    }
}
