//! Removes repeated parts: some models repeat annotations, images and other keys in each event.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};

/// The maximum number of items remembered. Further ones are emitted each time.
const MAX_REMEMBERED: usize = 1024;

/// Filters items that an earlier event had. Two equal items in one event are both kept.
#[derive(Debug, Default)]
pub(super) struct RepeatFilter {
    /// Counts by two hashes of an item, which may be large and is not kept.
    seen: HashMap<(u64, u64), Count>,
    hashers: (RandomState, RandomState),
    event: u64,
}

#[derive(Debug, Default)]
struct Count {
    given: u32,
    event: u64,
    in_event: u32,
}

impl RepeatFilter {
    /// Begins the next event.
    pub(super) fn next_event(&mut self) {
        self.event += 1;
    }

    /// Whether this item of the event is new.
    pub(super) fn is_new(&mut self, item: &impl Hash) -> bool {
        let key = (self.hashers.0.hash_one(item), self.hashers.1.hash_one(item));
        if self.seen.len() >= MAX_REMEMBERED && !self.seen.contains_key(&key) {
            return true;
        }
        let count = self.seen.entry(key).or_default();
        if count.event != self.event {
            (count.event, count.in_event) = (self.event, 0);
        }
        count.in_event += 1;
        let new = count.in_event > count.given;
        count.given = count.given.max(count.in_event);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_of_earlier_events_are_dropped_and_duplicates_in_one_event_kept() {
        let mut repeats = RepeatFilter::default();
        let mut event = |items: &[&str]| {
            repeats.next_event();
            let new = items.iter().map(|item| repeats.is_new(item));
            new.collect::<Vec<_>>()
        };
        assert_eq!(event(&["a", "a"]), [true, true]);
        assert_eq!(event(&["a", "b"]), [false, true]);
        assert_eq!(event(&["a", "a", "a"]), [false, false, true]);
    }

    #[test]
    fn items_beyond_the_limit_are_emitted_each_time() {
        let mut repeats = RepeatFilter::default();
        repeats.next_event();
        for n in 0..MAX_REMEMBERED + 10 {
            assert!(repeats.is_new(&n));
        }
        repeats.next_event();
        assert!(!repeats.is_new(&0_usize));
        assert!(repeats.is_new(&MAX_REMEMBERED));
        assert!(repeats.seen.len() <= MAX_REMEMBERED);
    }
}
