//! The Merkle sum tree of a settlement: a leaf per payee, and in every node the sum of what lies below it, hashed together with both
//! children's sums. A payee who holds the published root can check, with a path of a few hashes, that their line is in it and that
//! the lines add up to what was paid. It proves shares and sums; it does not prove that the counts behind them are true.
//!
//! ```text
//! leaf = SHA-256(0x00 ‖ salt ‖ kind ‖ payee ‖ micros)          salted, so that a path does not let its holder guess a neighbour
//! node = SHA-256(0x01 ‖ left ‖ left micros ‖ right ‖ right micros)
//! root = SHA-256(0x02 ‖ leaves ‖ top ‖ micros)                 names the number of leaves, so that a tree has one shape
//! ```
//! A node without a neighbour rises unchanged, as in RFC 6962 section 2.1: no leaf is ever counted twice. Numbers are 8 bytes, big-endian.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::settle::Payee;

/// A payee's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Kept from everyone but the payee.
    pub salt: [u8; 16],
    /// Who.
    pub payee: Payee,
    /// How much.
    pub micros: i64,
}

/// A hash and the sum below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// SHA-256.
    pub hash: [u8; 32],
    /// The sum of the leaves below.
    pub micros: i64,
}

/// On which side of the path a neighbour stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The neighbour is hashed first.
    Left,
    /// The neighbour is hashed second.
    Right,
}

impl Leaf {
    fn node(&self) -> Node {
        let (kind, name) = match self.payee {
            Payee::Account(account) => (0, account.uuid()),
            Payee::Unclaimed(track) => (1, track.uuid()),
        };
        let mut hash = Sha256::new();
        hash.update([0]);
        hash.update(self.salt);
        hash.update([kind]);
        hash.update(name.as_bytes());
        hash.update(self.micros.to_be_bytes());
        Node { hash: hash.finalize().into(), micros: self.micros }
    }
}

fn join(left: Node, right: Node) -> Node {
    let mut hash = Sha256::new();
    hash.update([1]);
    for child in [left, right] {
        hash.update(child.hash);
        hash.update(child.micros.to_be_bytes());
    }
    // Cannot overflow: amounts are not negative and add up to a pool, which is an i64. A forged path may say anything.
    Node { hash: hash.finalize().into(), micros: left.micros.saturating_add(right.micros) }
}

fn seal(leaves: usize, top: Node) -> Node {
    let mut hash = Sha256::new();
    hash.update([2]);
    hash.update(u64::try_from(leaves).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(top.hash);
    hash.update(top.micros.to_be_bytes());
    Node { hash: hash.finalize().into(), micros: top.micros }
}

fn level_up(level: &[Node]) -> Vec<Node> {
    level
        .chunks(2)
        .filter_map(|pair| match pair {
            [left, right] => Some(join(*left, *right)),
            [alone] => Some(*alone),
            _ => None,
        })
        .collect()
}

/// The root over `leaves`, in their order. Of no leaves it is the seal over zeros.
#[must_use]
pub fn root(leaves: &[Leaf]) -> Node {
    let mut level: Vec<Node> = leaves.iter().map(Leaf::node).collect();
    while level.len() > 1 {
        level = level_up(&level);
    }
    seal(leaves.len(), level.first().copied().unwrap_or(Node { hash: [0; 32], micros: 0 }))
}

/// The neighbours from leaf `index` up to the top.
#[must_use]
pub fn path(leaves: &[Leaf], index: usize) -> Vec<(Side, Node)> {
    let mut level: Vec<Node> = leaves.iter().map(Leaf::node).collect();
    let mut at = index;
    let mut path = Vec::new();
    while level.len() > 1 {
        let side = if at.is_multiple_of(2) { Side::Right } else { Side::Left };
        if let Some(neighbour) = level.get(at ^ 1) {
            path.push((side, *neighbour));
        }
        level = level_up(&level);
        at /= 2;
    }
    path
}

/// What anyone does with a path: the root it leads to. Equal to the published root, or the leaf was not in it with that amount.
#[must_use]
pub fn climb(leaf: &Leaf, path: &[(Side, Node)], leaves: usize) -> Node {
    let top = path.iter().fold(leaf.node(), |node, (side, neighbour)| match side {
        Side::Left => join(*neighbour, node),
        Side::Right => join(node, *neighbour),
    });
    seal(leaves, top)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use proptest::prelude::*;
    use protocol::{AccountId, TrackId};
    use uuid::Uuid;

    use super::*;

    fn leaves(amounts: &[i64]) -> Vec<Leaf> {
        amounts
            .iter()
            .zip(0u8..)
            .map(|(micros, n)| {
                let name = Uuid::from_bytes([n; 16]);
                let payee = if n % 5 == 4 { Payee::Unclaimed(TrackId(name)) } else { Payee::Account(AccountId(name)) };
                Leaf { salt: [n; 16], payee, micros: *micros }
            })
            .collect()
    }

    proptest! {
        #[test]
        fn every_payee_can_check_their_line_and_no_other_amount_passes(
            amounts in prop::collection::vec(0i64..1_000_000_000, 1..40),
            lie in 1i64..1_000_000,
        ) {
            let leaves = leaves(&amounts);
            let root = root(&leaves);
            prop_assert_eq!(root.micros, amounts.iter().sum::<i64>());
            for (index, leaf) in leaves.iter().enumerate() {
                let path = path(&leaves, index);
                prop_assert_eq!(climb(leaf, &path, leaves.len()), root);
                prop_assert_ne!(climb(&Leaf { micros: leaf.micros + lie, ..*leaf }, &path, leaves.len()), root);
                prop_assert_ne!(climb(leaf, &path, leaves.len() + 1), root);
            }
        }
    }
}
