//! A bounded memory of an isolate, oldest out first: what is popular is in the colo's cache anyway.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// The memory.
pub(crate) struct Remembered<K, V> {
    by_key: HashMap<K, V>,
    order: VecDeque<K>,
    entries_max: usize,
}

impl<K: Clone + Eq + Hash, V: Clone> Remembered<K, V> {
    /// An empty one for `entries_max` entries.
    pub(crate) fn of(entries_max: usize) -> Self {
        Self { by_key: HashMap::new(), order: VecDeque::new(), entries_max }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.by_key.get(key).cloned()
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.by_key.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.entries_max {
            if let Some(oldest) = self.order.pop_front() {
                self.by_key.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_memory_is_bounded() {
        let mut remembered = Remembered::of(2);
        for (key, value) in [(1, 'a'), (2, 'b'), (1, 'c'), (3, 'd')] {
            remembered.insert(key, value);
        }
        assert_eq!([1, 2, 3].map(|key| remembered.get(&key)), [None, Some('b'), Some('d')]);
        assert_eq!((remembered.by_key.len(), remembered.order.len()), (2, 2));
    }
}
