//! What a client has uploaded.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use crate::large_files::Attached;

/// How many uploads are remembered; the oldest is forgotten first.
const MAX_UPLOADS: usize = 1000;
/// A file as it was when it was attached, and what is uploaded with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) file: Attached,
    pub(crate) mime_type: String,
    pub(crate) model: String,
}

/// The upload of a file. It is locked while the file is uploaded, so that calls at the same time
/// upload it once: if that fails, the next of them does.
pub(crate) type Slot = Arc<tokio::sync::Mutex<Option<Stored>>>;

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) uri: String,
    /// `None` if only calls that wait for the upload may use it.
    pub(crate) until: Option<SystemTime>,
    pub(crate) ended: Instant,
}

impl Stored {
    /// Whether a call that came at this time may use the upload.
    pub(crate) fn is_for(&self, came: Instant) -> bool {
        self.ended >= came || self.until.is_some_and(|until| SystemTime::now() < until)
    }
}

/// What a client has uploaded.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    slots: HashMap<Key, Slot>,
    oldest: VecDeque<Key>,
}

impl Uploads {
    pub(crate) fn slot(&self, key: Key) -> Slot {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = remembered.slots.get(&key) {
            return Arc::clone(slot);
        }
        if remembered.oldest.len() >= MAX_UPLOADS
            && let Some(oldest) = remembered.oldest.pop_front()
        {
            remembered.slots.remove(&oldest);
        }
        let slot = Slot::default();
        remembered.oldest.push_back(key.clone());
        remembered.slots.insert(key, Arc::clone(&slot));
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Identity;
    use crate::large_files;

    #[test]
    fn an_upload_is_remembered_by_file_mime_type_and_model() {
        let uploads = Uploads::default();
        let uri = large_files::register("a.wav".as_ref(), identity()).unwrap();
        let file = large_files::find(&uri).unwrap();
        let key = |mime_type: &str, model: &str| Key {
            file: file.clone(),
            mime_type: mime_type.to_owned(),
            model: model.to_owned(),
        };
        let first = uploads.slot(key("1", "m"));
        assert!(Arc::ptr_eq(&first, &uploads.slot(key("1", "m"))));
        assert!(!Arc::ptr_eq(&first, &uploads.slot(key("2", "m"))));
        assert!(!Arc::ptr_eq(&first, &uploads.slot(key("1", "n"))));
        for number in 3..=999 {
            uploads.slot(key(&number.to_string(), "m"));
        }
        // A thousand.
        assert!(Arc::ptr_eq(&first, &uploads.slot(key("1", "m"))));
        uploads.slot(key("1001", "m"));
        assert!(!Arc::ptr_eq(&first, &uploads.slot(key("1", "m"))));
    }

    fn identity() -> Identity {
        let path = std::env::current_exe().unwrap();
        Identity::of(&path.metadata().unwrap())
    }
}
