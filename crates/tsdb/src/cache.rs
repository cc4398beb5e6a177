//! The cache: decoded blocks of parts, up to a budget.
//!
//! Two generations: what is used moves into the young one, and when that is half of the budget it becomes the old
//! one, whose own is dropped. That costs a hash table and no lists, and one large query can't push out what
//! many small ones need more than once.

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, Mutex},
};

use crate::store::lock;

/// Which block: the part's number and the block's place in it.
pub(crate) type BlockKey = (u64, u64);

type Entry = (Arc<dyn Any + Send + Sync>, usize);

#[derive(Debug)]
pub(crate) struct Cache {
    bytes_max: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<BlockKey, Entry>,
    old: HashMap<BlockKey, Entry>,
    young_bytes: usize,
}

/// What is decoded from a block.
pub(crate) trait Decoded: Any + Send + Sync {
    /// What it takes.
    fn bytes(&self) -> usize;
}

impl Cache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Cache {
            bytes_max,
            generations: Mutex::default(),
        }
    }

    /// What is decoded from a block, read by `load` when it isn't here.
    pub(crate) fn get<T: Decoded, E>(
        &self,
        key: BlockKey,
        load: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        if let Some(found) = self.find(key)
            && let Ok(found) = found.downcast()
        {
            return Ok(found);
        }
        // Two queries may load the same block at once: better than one waiting for the other's disk.
        let loaded = Arc::new(load()?);
        self.add(key, loaded.clone());
        Ok(loaded)
    }

    /// The same, but keeps what was loaded only if it is among the `left` bytes.
    pub(crate) fn get_within<T: Decoded, E>(
        &self,
        key: BlockKey,
        left: &mut usize,
        load: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        if let Some(found) = self.find(key)
            && let Ok(found) = found.downcast()
        {
            return Ok(found);
        }
        let loaded = Arc::new(load()?);
        if let Some(rest) = left.checked_sub(loaded.bytes()) {
            *left = rest;
            self.add(key, loaded.clone());
        }
        Ok(loaded)
    }

    fn add<T: Decoded>(&self, key: BlockKey, loaded: Arc<T>) {
        let bytes = loaded.bytes() + 64;
        lock(&self.generations).add(key, (loaded, bytes), self.bytes_max);
    }

    /// What one query may add at most: four of them don't push each other out.
    pub(crate) fn share_of_one(&self) -> usize {
        self.bytes_max / 8
    }

    fn find(&self, key: BlockKey) -> Option<Arc<dyn Any + Send + Sync>> {
        let mut generations = lock(&self.generations);
        if let Some((found, _)) = generations.young.get(&key) {
            return Some(found.clone());
        }
        let entry = generations.old.remove(&key)?;
        let found = entry.0.clone();
        generations.add(key, entry, self.bytes_max);
        Some(found)
    }
}

impl Generations {
    fn add(&mut self, key: BlockKey, entry: Entry, bytes_max: usize) {
        let bytes = entry.1;
        if self.young.insert(key, entry).is_none() {
            self.young_bytes += bytes;
        }
        if self.young_bytes > bytes_max / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Decoded for u64 {
        fn bytes(&self) -> usize {
            36
        }
    }

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let cache = Cache::new(1000);
        let get = |key: u64, expect_load: bool| {
            let mut loaded = false;
            let found = cache.get((0, key), || {
                loaded = true;
                Ok::<u64, ()>(key)
            });
            assert_eq!((*found.unwrap(), loaded), (key, expect_load), "{key}");
        };
        get(0, true);
        for key in 1..100 {
            get(key, true);
            get(0, false);
        }
        get(1, true);
    }
}
