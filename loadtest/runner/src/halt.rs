//! How a scenario is ended: first nothing new begins, then what still runs is cut off.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

const RUNNING: u8 = 0;
const ENDING: u8 = 1;
const CUT: u8 = 2;

/// Shared by a scenario's threads; those of the whole run are its parents.
#[derive(Debug, Default)]
pub(crate) struct Halt {
    state: AtomicU8,
    parent: Option<Arc<Halt>>,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Halt {
    /// Ends when `parent` does, or by itself.
    pub(crate) fn under(parent: &Arc<Self>) -> Self {
        Self { parent: Some(Arc::clone(parent)), ..Self::default() }
    }

    fn state(&self) -> u8 {
        let own = self.state.load(Ordering::Acquire);
        own.max(self.parent.as_ref().map_or(RUNNING, |parent| parent.state()))
    }

    fn set(&self, state: u8) {
        self.state.fetch_max(state, Ordering::AcqRel);
        self.changed.notify_all();
    }

    /// Nothing new begins.
    pub(crate) fn end(&self) {
        self.set(ENDING);
    }

    /// What runs is cut off.
    pub(crate) fn cut(&self) {
        self.set(CUT);
    }

    /// Whether nothing new may begin.
    pub(crate) fn is_ending(&self) -> bool {
        self.state() >= ENDING
    }

    /// Whether what runs must stop at once.
    pub(crate) fn is_cut(&self) -> bool {
        self.state() >= CUT
    }

    /// Sleeps until `instant`, or until `stop` says so; true when the whole time passed.
    pub(crate) fn sleep_until(&self, instant: Instant, stop: impl Fn(&Self) -> bool) -> bool {
        /// A parent's change is noticed within this.
        const SLICE: Duration = Duration::from_millis(50);
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if stop(self) {
                return false;
            }
            let Some(left) = instant.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else { return true };
            guard = self.changed.wait_timeout(guard, left.min(SLICE)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_ends_with_its_parent_and_not_the_other_way() {
        let parent = Arc::new(Halt::default());
        let (one, other) = (Halt::under(&parent), Halt::under(&parent));
        one.end();
        assert!(one.is_ending() && !one.is_cut() && !other.is_ending() && !parent.is_ending());
        parent.cut();
        assert!(one.is_cut() && other.is_cut());
        assert!(!other.sleep_until(Instant::now() + Duration::from_secs(60), Halt::is_cut));
        assert!(Halt::default().sleep_until(Instant::now() + Duration::from_millis(2), Halt::is_cut));
    }
}
