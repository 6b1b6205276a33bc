//! Posts on their way to disk. A commit waits for the disk as long for a hundred rows as for one, so posts that are there at the same moment are
//! written together and share it.
//!
//! Nobody is in charge: on a busy shard every post waits for a moment, and the first whose moment is over writes all that wait, its own too.
//! The others find theirs written. A request that is given up therefore holds up nobody, and its post is written like any other.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use worker::Delay;

use super::{store::Store, tally::Told};

/// How long a post of a busy shard waits for others. Long enough that what is in the sockets arrives; a fsync takes several times as long.
const GATHER: Duration = Duration::from_millis(1);

/// What became of a post's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waits,
    Written,
    Failed,
}

struct Row {
    body: String,
    told: Told,
    fate: Rc<Cell<Fate>>,
}

/// The posts that wait for the next commit.
#[derive(Default)]
pub(crate) struct Commits {
    waiting: RefCell<Vec<Row>>,
    bytes: Cell<usize>,
}

impl Commits {
    /// Bytes that wait.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Writes `body` as a row and counts what was `told` of it, with whatever else waits; `gather` when others are about to arrive. The row is on disk after the next
    /// `sync`.
    pub(crate) async fn write(&self, store: &Store, shard: u16, body: String, told: Told, gather: bool) -> worker::Result<()> {
        let fate = Rc::new(Cell::new(Fate::Waits));
        self.bytes.set(self.bytes.get() + body.len());
        self.waiting.borrow_mut().push(Row { body, told, fate: Rc::clone(&fate) });
        if gather {
            Delay::from(GATHER).await;
        }
        if fate.get() == Fate::Waits {
            self.write_all(store, shard);
        }
        match fate.get() {
            Fate::Written => Ok(()),
            Fate::Waits | Fate::Failed => Err(worker::Error::RustError("a row could not be written".to_owned())),
        }
    }

    /// Statements that follow each other without an await are one transaction (the platform's rule), and so one commit.
    fn write_all(&self, store: &Store, shard: u16) {
        self.bytes.set(0);
        let mut counted = Vec::new();
        for Row { body, told, fate } in self.waiting.take() {
            fate.set(match store.append(shard, body) {
                Ok(()) => {
                    counted.push(told);
                    Fate::Written
                }
                Err(error) => {
                    super::failed("writing a row", &error);
                    Fate::Failed
                }
            });
        }
        if let Err(error) = store.count(counted) {
            super::failed("counting posts", &error);
        }
    }
}
