//! A list of objects that are observed from outside while they exist.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use slab::Slab;

type List<T> = Mutex<Slab<Weak<T>>>;

/// The list.
pub(super) struct LiveList<T> {
    list: Arc<List<T>>,
}

/// An entry of the list until this is dropped. It is dropped with the object itself, whose memory
/// is then still in the processor's caches.
pub(super) struct LiveEntry<T> {
    list: Arc<List<T>>,
    key: usize,
}

impl<T> Default for LiveList<T> {
    fn default() -> Self {
        Self {
            list: Arc::default(),
        }
    }
}

impl<T> LiveList<T> {
    /// Adds an object.
    pub(super) fn add(&self, one: &Arc<T>) -> LiveEntry<T> {
        let list = Arc::clone(&self.list);
        let key = lock(&self.list).insert(Arc::downgrade(one));
        LiveEntry { list, key }
    }

    /// The objects that exist. A copy, so that none is used under the list's lock.
    pub(super) fn live(&self) -> Vec<Arc<T>> {
        let list = lock(&self.list);
        list.iter().filter_map(|(_, one)| one.upgrade()).collect()
    }
}

impl<T> Drop for LiveEntry<T> {
    fn drop(&mut self) {
        lock(&self.list).try_remove(self.key);
    }
}

fn lock<T>(list: &List<T>) -> MutexGuard<'_, Slab<Weak<T>>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_takes_no_place() {
        let entries = LiveList::default();
        for number in 0..1_000 {
            let one = Arc::new(number);
            let _entry = entries.add(&one);
            assert_eq!(entries.live(), [one]);
        }
        assert!(entries.live().is_empty());
        assert!(lock(&entries.list).capacity() < 10);
    }
}
