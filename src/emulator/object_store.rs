//! The temporary object store: in memory, bounded in bytes, with expiry.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

/// A stored object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// Its key.
    pub(super) key: String,
    /// Its bytes.
    pub(super) bytes: Bytes,
    /// The tag of the model that may read it. Empty if every model may.
    pub(super) mark: String,
    /// Its media type.
    pub(super) mime: String,
    /// When it expires.
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
    pending: usize,
}

/// Why an object was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreError {
    /// The key exists and must not be overwritten.
    Exists,
    /// The object does not fit, even without all older ones.
    Full,
}

impl Store {
    /// A store with a capacity in bytes.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            state: Mutex::default(),
        }
    }

    /// Starts an upload. Its bytes count from their arrival on.
    pub(super) fn begin_upload(&self) -> PendingObject<'_> {
        PendingObject {
            store: self,
            bytes: BytesMut::new(),
        }
    }

    /// Stores an object.
    pub(super) fn keep(
        &self,
        key: &str,
        bytes: Bytes,
        mime: &str,
        lifetime: Duration,
    ) -> Result<(), StoreError> {
        let mut pending_object = self.begin_upload();
        pending_object.push(&bytes)?;
        let object = ObjectMetadata {
            key: key.to_owned(),
            mark: String::new(),
            mime: mime.to_owned(),
            lifetime,
        };
        pending_object.keep(object, false)
    }

    /// Returns the object with this key.
    pub(super) fn find(&self, key: &str) -> Option<Object> {
        let mut state = self.lock();
        state.expire();
        let mut objects = state.objects.iter();
        objects.find(|object| object.key == key).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic leaves a change half done: sums use saturating arithmetic.
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

    /// Removes the oldest objects until `more` bytes fit.
    fn evict(&mut self, more: usize, capacity: usize) -> Result<(), StoreError> {
        if self.pending.saturating_add(more) > capacity {
            return Err(StoreError::Full);
        }
        self.expire();
        let needed = |state: &Self| {
            let sum = state.kept.saturating_add(state.pending);
            sum.saturating_add(more)
        };
        while needed(self) > capacity {
            let Some(oldest) = self.objects.pop_front() else {
                return Err(StoreError::Full);
            };
            self.kept = self.kept.saturating_sub(oldest.bytes.len());
        }
        Ok(())
    }
}

/// The metadata of an object.
#[derive(Clone, Debug)]
pub(super) struct ObjectMetadata {
    /// Its key.
    pub(super) key: String,
    /// The tag of the model that may read it. Empty if every model may.
    pub(super) mark: String,
    /// Its media type.
    pub(super) mime: String,
    /// How long it is kept.
    pub(super) lifetime: Duration,
}

/// An object that is being uploaded. Dropping it discards the bytes.
#[derive(Debug)]
pub(super) struct PendingObject<'a> {
    store: &'a Store,
    bytes: BytesMut,
}

impl PendingObject<'_> {
    /// Appends bytes.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        let mut state = self.store.lock();
        state.evict(piece.len(), self.store.capacity)?;
        state.pending = state.pending.saturating_add(piece.len());
        drop(state);
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// Bytes received so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Completes the upload; the object can be read from now on.
    pub(super) fn keep(
        mut self,
        metadata: ObjectMetadata,
        forbid_overwrite: bool,
    ) -> Result<(), StoreError> {
        let bytes = self.bytes.split().freeze();
        let mut state = self.store.lock();
        state.pending = state.pending.saturating_sub(bytes.len());
        state.expire();
        let old = state
            .objects
            .iter()
            .position(|object| object.key == metadata.key);
        if let Some(old) = old {
            if forbid_overwrite {
                return Err(StoreError::Exists);
            }
            if let Some(old) = state.objects.remove(old) {
                state.kept = state.kept.saturating_sub(old.bytes.len());
            }
        }
        state.kept = state.kept.saturating_add(bytes.len());
        state.objects.push_back(Object {
            expires: Instant::now() + metadata.lifetime,
            key: metadata.key,
            bytes,
            mark: metadata.mark,
            mime: metadata.mime,
        });
        Ok(())
    }
}

impl Drop for PendingObject<'_> {
    fn drop(&mut self) {
        let mut state = self.store.lock();
        state.pending = state.pending.saturating_sub(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn keep(store: &Store, key: &str, size: usize) -> Result<(), StoreError> {
        store.keep(key, Bytes::from(vec![0; size]), "", HOUR)
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_objects_are_evicted() {
        let store = Store::new(10);
        keep(&store, "a", 6).unwrap();
        keep(&store, "b", 4).unwrap();
        keep(&store, "c", 1).unwrap();
        let there = |key| store.find(key).is_some();
        assert!(!there("a") && there("b") && there("c"));
        assert_eq!(keep(&store, "d", 11), Err(StoreError::Full));
        assert!(there("b") && there("c"));
        assert_eq!(store.lock().pending, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn objects_expire() {
        let store = Store::new(10);
        keep(&store, "a", 6).unwrap();
        tokio::time::advance(HOUR - Duration::from_secs(1)).await;
        assert!(store.find("a").is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(store.find("a").is_none());
        assert_eq!(store.lock().kept, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn existing_keys_are_kept_and_uploads_in_flight_count() {
        let store = Store::new(10);
        let metadata = ObjectMetadata {
            key: "a".into(),
            mark: "m".into(),
            mime: String::new(),
            lifetime: HOUR,
        };
        let mut first = store.begin_upload();
        first.push(&[1; 4]).unwrap();
        let mut second = store.begin_upload();
        assert_eq!(second.push(&[2; 7]), Err(StoreError::Full));
        second.push(&[2; 6]).unwrap();
        first.keep(metadata.clone(), true).unwrap();
        assert_eq!(second.keep(metadata.clone(), true), Err(StoreError::Exists));
        assert_eq!(store.find("a").unwrap().bytes, vec![1; 4]);
        keep(&store, "a", 2).unwrap();
        assert_eq!(store.lock().kept, 2);
    }
}
