//! Rule 3, one pair of ears: what the plays of an account may be credited together.

use super::SLACK_MS;
use crate::UnixMs;

/// The time of a play already judged, and what it was credited.
pub(super) struct Span {
    pub(super) from: UnixMs,
    pub(super) to: UnixMs,
    pub(super) credited_ms: i64,
}

/// What a play from `from` to `to` may still be credited beside the plays judged before it, which began no later.
///
/// Only stretches that begin at some play's mint and end at some play's last receipt can bind. Starts are swept backwards, and what
/// the plays met so far have taken is kept for all ends at once: a play costs `n log n` where trying every stretch would cost `n`
/// cubed, and how many plays there are is the listener's choice.
pub(super) fn room(earlier: &[Span], from: UnixMs, to: UnixMs) -> i64 {
    let mut ends: Vec<UnixMs> = earlier.iter().map(|span| span.to).filter(|end| *end > to).chain([to]).collect();
    ends.sort_unstable();
    ends.dedup();
    // In twentieths of a millisecond, where 1.05 is the whole number 21 and nothing is rounded before the end.
    let mut free = Suffixes::of(ends.iter().map(|end| 21 * end.since(to)));
    let mut least = 21 * to.since(from) + free.least();
    let mut spans = earlier.iter().rev().peekable();
    while let Some(span) = spans.next() {
        free.take(ends.partition_point(|end| *end < span.to), 20 * span.credited_ms);
        // Plays of one mint are one start: the stretch contains them all.
        if spans.peek().is_none_or(|next| next.from < span.from) {
            least = least.min(21 * to.since(span.from.min(from)) + free.least());
        }
    }
    (least.div_euclid(20) + SLACK_MS).max(0)
}

/// Numbers of which all from some place on can be lowered at once, and whose least is known: a tree over their differences, each node
/// with the sum and the least prefix sum of what lies below it.
struct Suffixes {
    /// The root is at 1, the children of `n` at `2n` and `2n + 1`, the leaves in the second half.
    nodes: Vec<(i64, i64)>,
}

impl Suffixes {
    /// Beyond every number that occurs, and far from overflow.
    const NEVER: i64 = i64::MAX / 4;

    fn of(numbers: impl ExactSizeIterator<Item = i64>) -> Self {
        let leaves = numbers.len().next_power_of_two();
        let mut tree = Self { nodes: vec![(0, Self::NEVER); 2 * leaves] };
        let mut before = 0;
        for (leaf, number) in tree.nodes.iter_mut().skip(leaves).zip(numbers) {
            *leaf = (number - before, number - before);
            before = number;
        }
        (1..leaves).rev().for_each(|node| tree.join(node));
        tree
    }

    /// Lowers every number from the place `at` on.
    fn take(&mut self, at: usize, amount: i64) {
        let mut node = self.nodes.len() / 2 + at;
        if let Some((sum, least)) = self.nodes.get_mut(node) {
            *sum -= amount;
            *least -= amount;
        }
        while node > 1 {
            node /= 2;
            self.join(node);
        }
    }

    fn join(&mut self, node: usize) {
        if let (Some(&left), Some(&right)) = (self.nodes.get(2 * node), self.nodes.get(2 * node + 1))
            && let Some(parent) = self.nodes.get_mut(node)
        {
            *parent = (left.0 + right.0, left.1.min(left.0 + right.1));
        }
    }

    fn least(&self) -> i64 {
        self.nodes.get(1).map_or(Self::NEVER, |(_, least)| *least)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::speed_limit, *};

    /// Rule 3 as it is told: every stretch tried.
    fn room_by_trying(earlier: &[Span], from: UnixMs, to: UnixMs) -> i64 {
        let mut room_ms = i64::MAX;
        for start in earlier.iter().map(|span| span.from).filter(|start| *start <= from).chain([from]) {
            for end in earlier.iter().map(|span| span.to).filter(|end| *end >= to).chain([to]) {
                let taken: i64 = earlier.iter().filter(|span| span.from >= start && span.to <= end).map(|span| span.credited_ms).sum();
                room_ms = room_ms.min(speed_limit(end.since(start)) + SLACK_MS - taken);
            }
        }
        room_ms.max(0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn the_fast_room_is_the_room_of_the_rule(plays in prop::collection::vec((0i64..60_000, 0i64..60_000, 0i64..90_000), 1..14)) {
            let mut plays = plays;
            plays.sort_unstable();
            let mut earlier: Vec<Span> = Vec::new();
            for (from, length, wanted_ms) in plays {
                let (from, to) = (UnixMs(from), UnixMs(from + length));
                let room_ms = room(&earlier, from, to);
                prop_assert_eq!(room_ms, room_by_trying(&earlier, from, to));
                earlier.push(Span { from, to, credited_ms: wanted_ms.min(room_ms) });
            }
        }
    }
}
