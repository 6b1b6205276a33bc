//! Least recently used, bounded by bytes: the bookkeeping of both tiers.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// A map that forgets what was not asked for longest, so that the sum of the sizes stays within `bytes_max`.
pub(crate) struct Lru<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// By the moment of the last use; moments are unique.
    order: BTreeMap<u64, K>,
    moment: u64,
    bytes: u64,
    bytes_max: u64,
}

struct Entry<V> {
    value: V,
    bytes: u64,
    used: u64,
}

impl<K: Hash + Eq + Copy, V> Lru<K, V> {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), moment: 0, bytes: 0, bytes_max }
    }

    /// The bytes held.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The value, which is now the most recently used.
    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        let entry = self.entries.get_mut(key)?;
        self.moment += 1;
        self.order.remove(&entry.used);
        self.order.insert(self.moment, *key);
        entry.used = self.moment;
        Some(&entry.value)
    }

    /// Puts a value in and says which keys had to leave for it; a value larger than the whole leaves at once.
    pub(crate) fn insert(&mut self, key: K, value: V, bytes: u64) -> Vec<K> {
        self.remove(&key);
        self.moment += 1;
        self.order.insert(self.moment, key);
        self.entries.insert(key, Entry { value, bytes, used: self.moment });
        self.bytes += bytes;
        let mut left = Vec::new();
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.order.first_key_value().map(|(_, key)| *key) else { break };
            self.remove(&oldest);
            left.push(oldest);
        }
        debug_assert_eq!(self.entries.len(), self.order.len());
        left
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.used);
        self.bytes -= entry.bytes;
        Some(entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_longest_leaves_first() {
        let mut lru = Lru::new(30);
        for key in [1, 2, 3] {
            assert!(lru.insert(key, key, 10).is_empty());
        }
        assert_eq!(lru.get(&1), Some(&1));
        assert_eq!(lru.insert(4, 4, 15), vec![2, 3]);
        assert_eq!((lru.get(&1).copied(), lru.get(&4).copied(), lru.bytes()), (Some(1), Some(4), 25));
    }

    #[test]
    fn the_bound_holds_whatever_is_put_in() {
        let mut lru = Lru::new(30);
        assert_eq!(lru.insert(1, (), 31), vec![1]);
        assert_eq!(lru.insert(2, (), 30), Vec::<i32>::new());
        assert_eq!(lru.insert(2, (), 20), Vec::<i32>::new());
        assert_eq!(lru.bytes(), 20);
        lru.remove(&2);
        assert_eq!(lru.bytes(), 0);
    }
}
