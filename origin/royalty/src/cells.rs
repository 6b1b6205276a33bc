//! Cells: the shares of all accounts that collectors divide among themselves. An account's cell is a pure function of its pseudonym, which
//! every ticket carries, so that nobody has to ask where an account lives.
//!
//! A log has `partitions`, a multiple of the number of cells: partition `p` belongs to cell `p mod cells`. An account's partition taken
//! modulo the number of cells is then its cell, and the buffers at the edge, which divide accounts by the same number
//! ([`Pseudonym::shard`](protocol::token::Pseudonym::shard)), send batches that lie in one partition whole where partitions divide buffers.

use std::collections::BTreeSet;

use protocol::token::{Purpose, Unverified};
use sha2::{Digest as _, Sha256};

/// Cells and partitions at most; a ticket's pseudonym is divided by 16 bits of it.
pub const SLOTS_MAX: u16 = 4_096;

/// Which cells there are and which of them this process merges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells {
    count: u16,
    own: BTreeSet<u16>,
}

/// Why cells are not a fleet's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CellsError {
    /// Too few or too many.
    #[error("royalty.cells.count = {0}: a fleet has 1 to {SLOTS_MAX} cells")]
    Count(u32),
    /// Nothing to do.
    #[error("royalty.cells.own is empty: a collector merges at least one cell")]
    NoneOwned,
    /// Not a cell.
    #[error(
        "royalty.cells.own names cell {cell}, but cells are numbered 0 to {last}: royalty.cells.count is the fleet's, not this process's"
    )]
    NotACell {
        /// What is named.
        cell: u32,
        /// The last there is.
        last: u16,
    },
    /// The same cell twice.
    #[error("royalty.cells.own names cell {0} twice")]
    Twice(u16),
    /// Partitions that cells cannot share.
    #[error(
        "royalty.intake.partitions = {partitions} is not a multiple of royalty.cells.count = {cells} (at most {SLOTS_MAX}): \
         each partition belongs to one cell"
    )]
    Partitions {
        /// How many of a log.
        partitions: u32,
        /// How many cells.
        cells: u16,
    },
    /// Nowhere to put batches.
    #[error("royalty.intake.brokers is empty, and royalty.intake.kind is \"kafka\": name some brokers, host:port each")]
    NoBrokers,
    /// A batch holds accounts of all cells, and nothing else takes them to their collectors.
    #[error(
        "royalty.cells.own leaves out cells, and royalty.intake.kind is \"postgres\": a batch holds accounts of many cells, so collectors \
         apart need a log between the buffers and themselves (royalty.intake.kind = \"kafka\")"
    )]
    ApartWithoutLog,
}

impl Cells {
    /// `own` out of `count` cells.
    ///
    /// # Errors
    /// [`CellsError`].
    pub fn new(count: u32, own: &[u32]) -> Result<Self, CellsError> {
        let slots = u16::try_from(count).ok().filter(|count| (1..=SLOTS_MAX).contains(count)).ok_or(CellsError::Count(count))?;
        let mut cells = BTreeSet::new();
        for &cell in own {
            let known = u16::try_from(cell).ok().filter(|cell| *cell < slots);
            let known = known.ok_or(CellsError::NotACell { cell, last: slots - 1 })?;
            if !cells.insert(known) {
                return Err(CellsError::Twice(known));
            }
        }
        if cells.is_empty() { Err(CellsError::NoneOwned) } else { Ok(Self { count: slots, own: cells }) }
    }

    /// Whether no other process merges any.
    #[must_use]
    pub fn all_owned(&self) -> bool {
        self.own.len() == usize::from(self.count)
    }

    /// The partitions of a log of `partitions` that this process merges.
    ///
    /// # Errors
    /// [`CellsError::Partitions`].
    pub fn partitions(&self, partitions: u32) -> Result<(u16, Vec<u16>), CellsError> {
        let shared = |count: &u16| (1..=SLOTS_MAX).contains(count) && count.is_multiple_of(self.count);
        let wrong = CellsError::Partitions { partitions, cells: self.count };
        let count = u16::try_from(partitions).ok().filter(shared).ok_or(wrong)?;
        Ok((count, (0..count).filter(|partition| self.own.contains(&(partition % self.count))).collect()))
    }
}

/// Which of `slots` the account of a ticket is in. The ticket need not be valid, and no key is asked: a batch that is sent again while
/// keys are being changed must fall into the same slots. What is no ticket goes by its hash.
#[must_use]
pub fn slot(ticket: &str, slots: u16) -> u16 {
    match Unverified::decode(ticket).and_then(|ticket| ticket.claims()).filter(|claims| claims.purpose == Purpose::Event) {
        Some(claims) => claims.pseudonym.shard(slots),
        None => {
            let [high, low, ..]: [u8; 32] = Sha256::digest(ticket.as_bytes()).into();
            u16::from_be_bytes([high, low]) % slots.max(1)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_partition_belongs_to_one_cell_and_an_accounts_partition_to_its_own() {
        for (cells, partitions) in [(1, 1), (1, 8), (4, 4), (3, 12), (5, 4_000)] {
            let mut seen = Vec::new();
            for cell in 0..cells {
                let (count, own) = Cells::new(cells, &[cell]).unwrap().partitions(partitions).unwrap();
                assert!(own.iter().all(|partition| u32::from(*partition) % cells == cell));
                assert_eq!(u32::from(count), partitions);
                seen.extend(own);
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..u16::try_from(partitions).unwrap()).collect::<Vec<_>>());
            for ticket in ["a", "b", "c", "not a ticket"] {
                let (cells, partitions) = (u16::try_from(cells).unwrap(), u16::try_from(partitions).unwrap());
                assert_eq!(slot(ticket, partitions) % cells, slot(ticket, cells));
            }
        }
    }

    #[test]
    fn cells_that_are_no_fleet_are_refused_and_the_refusal_names_the_setting() {
        assert_eq!(Cells::new(0, &[0]), Err(CellsError::Count(0)));
        assert_eq!(Cells::new(5_000, &[0]), Err(CellsError::Count(5_000)));
        assert_eq!(Cells::new(4, &[]), Err(CellsError::NoneOwned));
        assert_eq!(Cells::new(4, &[4]), Err(CellsError::NotACell { cell: 4, last: 3 }));
        assert_eq!(Cells::new(4, &[1, 1]), Err(CellsError::Twice(1)));
        let partitions = Cells::new(4, &[0]).unwrap().partitions(6).unwrap_err();
        assert!(partitions.to_string().contains("royalty.intake.partitions = 6"), "{partitions}");
        assert!(Cells::new(2, &[0, 1]).unwrap().all_owned());
        assert!(!Cells::new(2, &[1]).unwrap().all_owned());
    }
}
