//! Merges the values of one unknown key over the events of an answer: see `extra.rs`.

use super::document::{Document, Keyed, Object, Real};
use super::dropped_parts::{LESS, Losses, OTHER_TYPE, Path, REPEATED, TOO_MUCH};

/// The maximum number of bytes added to the first event's value: enough for any known key; it
/// bounds the memory of endless answers.
pub(super) const MAX_ADDED_BYTES: usize = 1024 * 1024;

/// A merged value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Plain(Document),
    Text(Text),
    List(List),
    Object(Keyed<Value>),
}

/// A string; of joined ones, the last one too.
#[derive(Clone, Debug)]
pub(super) struct Text {
    last: String,
    /// How many times it came consecutively.
    times: usize,
    /// Whether it replaced a shorter one, which is its prefix.
    grew: bool,
    pieces: Option<Box<Pieces>>,
}

#[derive(Clone, Debug)]
struct Pieces {
    /// All values, joined.
    all: String,
    /// All values, joined, without consecutive repetitions.
    once: String,
    values: usize,
    repeated: usize,
    /// Whether a value was considered a prefix of another, and is not included.
    unsure: bool,
}

#[derive(Clone, Debug)]
pub(super) struct List {
    items: Vec<Document>,
    /// The number of items that came last.
    last: usize,
}

/// The effect of the next value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No change.
    Same,
    /// It replaced the value.
    Replaced,
    /// It was joined to the value.
    Joined,
}

/// The context in which an event is merged.
pub(super) struct Adding<'a> {
    pub(super) losses: &'a mut Losses,
    pub(super) added: &'a mut usize,
    /// Whether the limit was reached.
    pub(super) is_full: bool,
}

impl Adding<'_> {
    /// Whether this many bytes may be added.
    pub(super) fn has_room(&mut self, bytes: usize, path: &Path<'_>) -> bool {
        if self.is_full {
            self.losses.add(path, TOO_MUCH);
        } else {
            *self.added += bytes;
        }
        !self.is_full
    }
}

impl From<Document> for Value {
    fn from(document: Document) -> Self {
        match document {
            Document::String(last) => Self::Text(Text {
                last,
                times: 1,
                grew: false,
                pieces: None,
            }),
            Document::List(items) => {
                let last = items.len();
                Self::List(List { items, last })
            }
            Document::Object(object) => {
                let mut keys = Keyed::default();
                for (key, value) in object.0 {
                    keys.add(key, Self::from(value));
                }
                Self::Object(keys)
            }
            plain @ (Document::Null | Document::Bool(_) | Document::Number(_)) => {
                Self::Plain(plain)
            }
        }
    }
}

impl Value {
    /// Merges the next value.
    pub(super) fn add(
        &mut self,
        next: Document,
        path: &Path<'_>,
        adding: &mut Adding<'_>,
    ) -> Outcome {
        match (&mut *self, next) {
            (_, Document::Null) => Outcome::Same,
            (Self::Text(text), Document::String(next)) => text.add(next, path, adding),
            (Self::List(list), Document::List(next)) => list.add(next, path, adding),
            (Self::Object(keys), Document::Object(next)) => add_keys(keys, next, path, adding),
            (Self::Plain(known), next) => {
                if *known == next {
                    return Outcome::Same;
                }
                match (&*known, &next) {
                    (Document::Null, _) => {}
                    (Document::Bool(before), Document::Bool(after)) if before <= after => {}
                    (Document::Number(Real(before)), Document::Number(Real(after)))
                        if before <= after => {}
                    (Document::Bool(_), Document::Bool(_))
                    | (Document::Number(_), Document::Number(_)) => adding.losses.add(path, LESS),
                    _ => adding.losses.add(path, OTHER_TYPE),
                }
                *self = Self::from(next);
                Outcome::Replaced
            }
            (Self::Text(_) | Self::List(_) | Self::Object(_), next) => {
                adding.losses.add(path, OTHER_TYPE);
                *self = Self::from(next);
                Outcome::Replaced
            }
        }
    }

    /// Whether it equals this value.
    pub(super) fn is(&self, other: &Document) -> bool {
        match (self, other) {
            (Self::Plain(plain), other) => plain == other,
            (Self::Text(text), Document::String(other)) => {
                text.pieces.is_none() && text.last == *other
            }
            (Self::List(list), Document::List(other)) => list.items == *other,
            (Self::Object(keys), Document::Object(other)) => {
                let is = |(key, other): &(String, Document)| {
                    keys.value(key).is_some_and(|value| value.is(other))
                };
                keys.entries().len() == other.0.len() && other.0.iter().all(is)
            }
            (Self::Text(_) | Self::List(_) | Self::Object(_), _) => false,
        }
    }

    /// The merged value so far.
    pub(super) fn document(&self) -> Document {
        self.clone().into_document()
    }

    /// The merged value.
    pub(super) fn into_document(self) -> Document {
        match self {
            Self::Plain(plain) => plain,
            Self::Text(text) => Document::String(text.whole()),
            Self::List(list) => Document::List(list.items),
            Self::Object(mut keys) => {
                let entries = keys.take().into_iter();
                let entries = entries.map(|(key, value)| (key, value.into_document()));
                Document::Object(Object(entries.collect()))
            }
        }
    }

    /// Reports possible losses in joined values.
    pub(super) fn report(&self, path: &Path<'_>, losses: &mut Losses) {
        match self {
            Self::Text(Text {
                pieces: Some(pieces),
                ..
            }) if pieces.unsure || pieces.are_repeated() => losses.add(path, REPEATED),
            Self::Object(keys) => {
                for (key, value) in keys.entries() {
                    value.report(&Path::Key(path, key), losses);
                }
            }
            Self::Plain(_) | Self::Text(_) | Self::List(_) => {}
        }
    }
}

fn add_keys(
    keys: &mut Keyed<Value>,
    next: Object,
    path: &Path<'_>,
    adding: &mut Adding<'_>,
) -> Outcome {
    let mut outcome = Outcome::Same;
    for (key, next) in next.0 {
        let path = Path::Key(path, &key);
        let changed = if let Some(known) = keys.value_mut(&key) {
            known.add(next, &path, adding) != Outcome::Same
        } else if adding.has_room(size(&next), &path) {
            keys.add(key, Value::from(next));
            true
        } else {
            false
        };
        if changed {
            outcome = Outcome::Joined;
        }
    }
    outcome
}

impl Text {
    fn add(&mut self, next: String, path: &Path<'_>, adding: &mut Adding<'_>) -> Outcome {
        if next.is_empty() {
            return Outcome::Same;
        }
        let is_same = next == self.last;
        if self.pieces.is_none() {
            if is_same {
                self.times += 1;
                return Outcome::Same;
            }
            if next.starts_with(&self.last) {
                self.grew |= !self.last.is_empty();
                self.times = 1;
                self.last = next;
                return Outcome::Replaced;
            }
        }
        if !adding.has_room(2 * next.len(), path) {
            return Outcome::Same;
        }
        let pieces = self.pieces.get_or_insert_with(|| {
            // A string repeated this often does not come in deltas.
            let fits = self.last.len().saturating_mul(self.times) <= MAX_ADDED_BYTES;
            let times = if fits { self.times } else { 1 };
            Box::new(Pieces {
                all: self.last.repeat(times),
                once: self.last.clone(),
                values: self.times,
                repeated: self.times - 1,
                unsure: self.grew,
            })
        });
        pieces.values += 1;
        pieces.all.push_str(&next);
        if is_same {
            pieces.repeated += 1;
        } else {
            pieces.once.push_str(&next);
        }
        self.last = next;
        Outcome::Joined
    }

    fn whole(self) -> String {
        match self.pieces {
            None => self.last,
            Some(pieces) if pieces.are_repeated() => pieces.once,
            Some(pieces) => pieces.all,
        }
    }
}

impl Pieces {
    /// Whether most values repeat the previous one.
    fn are_repeated(&self) -> bool {
        self.repeated > 0 && 2 * self.repeated >= self.values
    }
}

impl List {
    fn add(&mut self, next: Vec<Document>, path: &Path<'_>, adding: &mut Adding<'_>) -> Outcome {
        if next.is_empty() || self.items.ends_with(&next) && self.last == next.len() {
            // Equal items after others may have been deltas.
            if !next.is_empty() && self.items.len() > self.last {
                adding.losses.add(path, REPEATED);
            }
            return Outcome::Same;
        }
        let is_one = self.items.len() == self.last;
        self.last = next.len();
        if is_one && next.starts_with(&self.items) {
            self.items = next;
            return Outcome::Replaced;
        }
        if !adding.has_room(next.iter().map(size).sum(), path) {
            self.last = self.last.min(self.items.len());
            return Outcome::Same;
        }
        self.items.extend(next);
        Outcome::Joined
    }
}

/// The approximate memory of a value.
pub(super) fn size(document: &Document) -> usize {
    let inner = match document {
        Document::Null | Document::Bool(_) | Document::Number(_) => 0,
        Document::String(text) => text.len(),
        Document::List(items) => items.iter().map(size).sum(),
        Document::Object(object) => {
            let entries = object.0.iter();
            entries.map(|(key, value)| key.len() + size(value)).sum()
        }
    };
    inner + size_of::<Document>()
}
