//! One writer per key. A fixed number of locks, chosen by the key's hash, so that memory does not grow with the names.

use std::hash::{BuildHasher as _, RandomState};

use tokio::sync::{Mutex, MutexGuard};

use crate::disk::Place;

const STRIPES: usize = 256;

#[derive(Debug)]
pub(crate) struct Locks {
    stripes: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Default for Locks {
    fn default() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(), hasher: RandomState::new() }
    }
}

impl Locks {
    fn stripe(&self, place: &Place) -> Option<&Mutex<()>> {
        let hash = self.hasher.hash_one(place);
        self.stripes.get(usize::try_from(hash % STRIPES as u64).unwrap_or(0))
    }

    /// Waits for the key. `None` cannot happen; it would only mean that nobody is excluded.
    pub(crate) async fn hold(&self, place: &Place) -> Option<MutexGuard<'_, ()>> {
        match self.stripe(place) {
            Some(stripe) => Some(stripe.lock().await),
            None => None,
        }
    }

    /// The key, unless a writer has it.
    pub(crate) fn try_hold(&self, place: &Place) -> Option<MutexGuard<'_, ()>> {
        self.stripe(place)?.try_lock().ok()
    }
}
