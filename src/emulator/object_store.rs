//! The temporary storage: objects in memory, bounded in bytes, each for a limited time.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

/// An object that is kept.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// Its name.
    pub(super) key: String,
    /// Its bytes.
    pub(super) bytes: Bytes,
    /// The mark of the model that may read it. Empty if any may.
    pub(super) mark: String,
    /// Its media type.
    pub(super) mime: String,
    /// When it is dropped.
    pub(super) expires: Instant,
}

/// All objects, the oldest first.
#[derive(Debug)]
pub(super) struct Store {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: VecDeque<Object>,
    kept: usize,
    arriving: usize,
}

/// Why an object was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There is an object of that name, and it must not be replaced.
    Exists,
    /// There is no room, even without all older objects.
    Full,
}

impl Store {
    /// A store that holds so many bytes.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            state: Mutex::default(),
        }
    }

    /// Begins to take an object. Its bytes count from their arrival on.
    pub(super) fn arrive(&self) -> Arrival<'_> {
        Arrival {
            store: self,
            bytes: BytesMut::new(),
        }
    }

    /// Keeps an object.
    pub(super) fn keep(
        &self,
        key: &str,
        bytes: Bytes,
        mime: &str,
        lifetime: Duration,
    ) -> Result<(), Refused> {
        let mut arrival = self.arrive();
        arrival.push(&bytes)?;
        let object = Labels {
            key: key.to_owned(),
            mark: String::new(),
            mime: mime.to_owned(),
            lifetime,
        };
        arrival.keep(object, false)
    }

    /// The object of that name.
    pub(super) fn find(&self, key: &str) -> Option<Object> {
        let mut state = self.lock();
        state.expire();
        let mut objects = state.objects.iter();
        objects.find(|object| object.key == key).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is whole before it can panic: sums are made with saturating arithmetic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn expire(&mut self) {
        let now = Instant::now();
        let mut freed = 0_usize;
        self.objects.retain(|object| {
            let keep = object.expires > now;
            if !keep {
                freed = freed.saturating_add(object.bytes.len());
            }
            keep
        });
        self.kept = self.kept.saturating_sub(freed);
    }

    /// Drops the oldest objects until so many more bytes fit.
    fn make_room(&mut self, more: usize, capacity: usize) -> Result<(), Refused> {
        if self.arriving.saturating_add(more) > capacity {
            return Err(Refused::Full);
        }
        self.expire();
        let needed = |state: &Self| {
            let sum = state.kept.saturating_add(state.arriving);
            sum.saturating_add(more)
        };
        while needed(self) > capacity {
            let Some(oldest) = self.objects.pop_front() else {
                return Err(Refused::Full);
            };
            self.kept = self.kept.saturating_sub(oldest.bytes.len());
        }
        Ok(())
    }
}

/// What is written on an object.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    /// Its name.
    pub(super) key: String,
    /// The mark of the model that may read it. Empty if any may.
    pub(super) mark: String,
    /// Its media type.
    pub(super) mime: String,
    /// How long it is kept.
    pub(super) lifetime: Duration,
}

/// An object whose bytes arrive. Dropped before its end, it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    store: &'a Store,
    bytes: BytesMut,
}

impl Arrival<'_> {
    /// Takes more bytes.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let mut state = self.store.lock();
        state.make_room(piece.len(), self.store.capacity)?;
        state.arriving = state.arriving.saturating_add(piece.len());
        drop(state);
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Ends it: from now on it can be found.
    pub(super) fn keep(mut self, labels: Labels, forbid_overwrite: bool) -> Result<(), Refused> {
        let bytes = self.bytes.split().freeze();
        let mut state = self.store.lock();
        state.arriving = state.arriving.saturating_sub(bytes.len());
        state.expire();
        let old = state
            .objects
            .iter()
            .position(|object| object.key == labels.key);
        if let Some(old) = old {
            if forbid_overwrite {
                return Err(Refused::Exists);
            }
            if let Some(old) = state.objects.remove(old) {
                state.kept = state.kept.saturating_sub(old.bytes.len());
            }
        }
        state.kept = state.kept.saturating_add(bytes.len());
        state.objects.push_back(Object {
            expires: Instant::now() + labels.lifetime,
            key: labels.key,
            bytes,
            mark: labels.mark,
            mime: labels.mime,
        });
        Ok(())
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        let mut state = self.store.lock();
        state.arriving = state.arriving.saturating_sub(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn keep(store: &Store, key: &str, size: usize) -> Result<(), Refused> {
        store.keep(key, Bytes::from(vec![0; size]), "", HOUR)
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_objects_make_room() {
        let store = Store::new(10);
        keep(&store, "a", 6).unwrap();
        keep(&store, "b", 4).unwrap();
        keep(&store, "c", 1).unwrap();
        let there = |key| store.find(key).is_some();
        assert!(!there("a") && there("b") && there("c"));
        assert_eq!(keep(&store, "d", 11), Err(Refused::Full));
        assert!(there("b") && there("c"));
        assert_eq!(store.lock().arriving, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn objects_end_with_their_time() {
        let store = Store::new(10);
        keep(&store, "a", 6).unwrap();
        tokio::time::advance(HOUR - Duration::from_secs(1)).await;
        assert!(store.find("a").is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(store.find("a").is_none());
        assert_eq!(store.lock().kept, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_kept_apart_and_arrivals_are_counted() {
        let store = Store::new(10);
        let labels = Labels {
            key: "a".into(),
            mark: "m".into(),
            mime: String::new(),
            lifetime: HOUR,
        };
        let mut first = store.arrive();
        first.push(&[1; 4]).unwrap();
        let mut second = store.arrive();
        assert_eq!(second.push(&[2; 7]), Err(Refused::Full));
        second.push(&[2; 6]).unwrap();
        first.keep(labels.clone(), true).unwrap();
        assert_eq!(second.keep(labels.clone(), true), Err(Refused::Exists));
        assert_eq!(store.find("a").unwrap().bytes, vec![1; 4]);
        keep(&store, "a", 2).unwrap();
        assert_eq!(store.lock().kept, 2);
    }
}
