//! Writes JSON into one buffer, with media encoded in place.
//!
//! By hand, because a serializer would scan every byte of base64 media for characters to escape.

use super::json::Written;
use super::media_transfer::{MediaTransfer, write_data_uri};
use crate::chat::document::{Document, Object};
use crate::error::{Error, Reason};
use crate::quoted;

/// A buffer of JSON, and the media that are to be written.
pub(crate) struct JsonWriter<'a, 'w> {
    /// What was written.
    pub(crate) body: Vec<u8>,
    /// The next media, in the order of the conversation.
    pub(crate) transfers: std::slice::Iter<'w, MediaTransfer<'a>>,
}

impl<'a, 'w> JsonWriter<'a, 'w> {
    /// An empty buffer of this capacity.
    pub(crate) fn new(capacity: usize, transfers: &'w [MediaTransfer<'a>]) -> Self {
        Self {
            body: Vec::with_capacity(capacity),
            transfers: transfers.iter(),
        }
    }

    /// Appends JSON as it is.
    pub(crate) fn raw(&mut self, json: &str) {
        self.body.extend_from_slice(json.as_bytes());
    }

    /// Appends a value.
    pub(crate) fn value(&mut self, value: &impl serde::Serialize) -> Result<(), Error> {
        serde_json::to_writer(&mut self.body, value)
            .map_err(|_| Error::field("conversation", "every number must be finite"))
    }

    /// Appends a string.
    pub(crate) fn text(&mut self, text: &str) {
        quoted::push(text, &mut self.body);
    }

    /// Begins a key of an object.
    pub(crate) fn key(&mut self, key: &str) {
        if self.body.last() != Some(&b'{') {
            self.raw(",");
        }
        self.text(key);
        self.raw(":");
    }

    /// Appends a key and its value, if there is one.
    pub(crate) fn field(
        &mut self,
        key: &str,
        value: Option<impl serde::Serialize>,
    ) -> Result<(), Error> {
        let Some(value) = value else {
            return Ok(());
        };
        self.key(key);
        self.value(&value)
    }

    /// Appends the keys of an object, without nulls.
    pub(crate) fn extra(&mut self, extra: &Object) -> Result<(), Error> {
        self.extra_without(extra, |_| false)
    }

    /// As [`Self::extra`], without the keys that are written already.
    pub(crate) fn extra_without(
        &mut self,
        extra: &Object,
        is_written: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        for (key, value) in &extra.0 {
            if *value != Document::Null && !is_written(key) {
                self.field(key, Some(Written(value)))?;
            }
        }
        Ok(())
    }

    /// Appends a list.
    pub(crate) fn list<T>(
        &mut self,
        items: &[T],
        write: impl FnMut(&mut Self, &T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.joined(items, None, write)
    }

    /// A list, followed by items that could not be parsed, byte for byte.
    pub(crate) fn joined<T>(
        &mut self,
        items: &[T],
        rest: Option<&Document>,
        mut write: impl FnMut(&mut Self, &T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.raw("[");
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.raw(",");
            }
            write(self, item)?;
        }
        if let Some(Document::List(rest)) = rest {
            for (at, item) in rest.iter().enumerate() {
                if at > 0 || !items.is_empty() {
                    self.raw(",");
                }
                self.value(&Written(item))?;
            }
        }
        self.raw("]");
        Ok(())
    }

    /// Writes the next media item as its URL or `data:` URI.
    pub(crate) fn medium(&mut self) -> Result<(), Error> {
        match self.transfers.next() {
            Some(transfer) => self.transfer(transfer),
            None => Err(no_medium()),
        }
    }

    /// Writes a media item as its URL or `data:` URI.
    pub(crate) fn transfer(&mut self, transfer: &MediaTransfer<'_>) -> Result<(), Error> {
        match transfer {
            MediaTransfer::Address(address) => self.text(address),
            MediaTransfer::Data(uri, ..) => self.text(uri),
            MediaTransfer::Inline(mime_type, bytes) => {
                self.raw("\"");
                write_data_uri(mime_type, bytes, &mut self.body);
                self.raw("\"");
            }
            MediaTransfer::Store(..) => return Err(no_medium()),
        }
        Ok(())
    }
}

/// The error of a media item that is to be written and is not there.
pub(crate) fn no_medium() -> Error {
    let message = "a medium was not stored before it was named";
    Error::new(Reason::GatewayBug, message)
}
