//! Keys that no field covers, added up over the events of one answer.
//!
//! A key may come with each event, and nothing says what its values are to each other. One rule
//! holds for all, and it loses nothing in silence:
//!
//! | the next value | what is kept |
//! |---|---|
//! | equals the one before, or is empty | the one before |
//! | a text or list that begins with the one before | the next |
//! | another text or list | all of them, joined: they are pieces |
//! | an object | key by key, each by this rule |
//! | a number, or true or false | the next; with a warning if it is less than before |
//! | of another type | the next, with a warning |
//!
//! When a text is known to come in pieces, equal pieces next to each other are pieces too, unless
//! they are the most: then they are one value that is repeated with each event, and a warning says
//! that it is kept once.

use std::fmt::{self, Arguments, Display};

use super::document::{Document, Keyed, Object, Real};
use super::warning::{Code, Warning};

/// How many bytes may be added to what the first event had. More than anybody reads; it only bounds
/// the memory of an answer without end.
const MAX_ADDED_BYTES: usize = 1024 * 1024;

/// The most losses of one answer that are reported. One is enough to know that something is odd.
const MAX_LOSSES: usize = 16;

const LESS: &str = "a later event of the answer has a smaller value, which is the one that is kept";
const OTHER_TYPE: &str =
    "a later event of the answer has a value of another type, which is the one that is kept";
const REPEATED: &str = "values of this key were joined; one that came again, or began with an earlier one, may be \
     missing";
const TOO_MUCH: &str = "the events of the answer have more than can be kept under keys without a \
                        field; what came later is left out";

/// What could not be kept.
#[derive(Debug, Default)]
pub struct Losses(Vec<Warning>);

impl Losses {
    fn add(&mut self, path: &Path<'_>, message: &str) {
        if self.0.len() < MAX_LOSSES {
            let field = path.to_string().trim_start_matches('.').to_owned();
            if self.0.iter().all(|known| known.field != field) {
                self.0
                    .push(Warning::new(Code::AnswerPartDropped, field, message));
            }
        }
    }

    /// Takes them as warnings.
    pub fn take(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.0)
    }
}

/// Where a value stands. Written down for losses alone.
enum Path<'a> {
    Root(Arguments<'a>),
    Key(&'a Path<'a>, &'a str),
}

impl Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(root) => f.write_fmt(*root),
            Self::Key(before, key) => write!(f, "{before}.{key}"),
        }
    }
}

/// The keys without a field of one object of an answer, added up.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    keys: Keyed<Entry>,
    added: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    value: Value,
    /// Whether it is not what any event had, and was not shown yet.
    waits: bool,
}

#[derive(Clone, Debug)]
enum Value {
    Plain(Document),
    Text(Text),
    List(List),
    Object(Keyed<Value>),
}

/// A text; of several that are joined, the last one too.
#[derive(Clone, Debug)]
struct Text {
    last: String,
    /// How often it came in a row.
    times: usize,
    /// Whether it took the place of a shorter one that it begins with.
    grew: bool,
    pieces: Option<Box<Pieces>>,
}

#[derive(Clone, Debug)]
struct Pieces {
    /// All values.
    all: String,
    /// All values, but of equal ones in a row only the first.
    once: String,
    values: usize,
    repeated: usize,
    /// Whether a value was taken for the beginning of another, and is not in them.
    unsure: bool,
}

#[derive(Clone, Debug)]
struct List {
    items: Vec<Document>,
    /// How many of the items came last.
    last: usize,
}

/// What became of a value when the next one came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing.
    Same,
    /// It is the next one.
    Replaced,
    /// It is more than the next one.
    Joined,
}

/// What an event is added with.
struct Adding<'a> {
    losses: &'a mut Losses,
    added: &'a mut usize,
    /// Whether nothing more may be added.
    is_full: bool,
}

impl Adding<'_> {
    /// Whether so much may be added.
    fn has_room(&mut self, bytes: usize, path: &Path<'_>) -> bool {
        if self.is_full {
            self.losses.add(path, TOO_MUCH);
        } else {
            *self.added += bytes;
        }
        !self.is_full
    }
}

impl Extra {
    /// Adds the keys of an event. `at` is the path of their object.
    pub fn add(&mut self, event: Object, at: Arguments<'_>, losses: &mut Losses) {
        self.add_each(event, at, losses, |_, _| {});
    }

    /// Adds the keys of an event, and gives those that have a new value which this event had. A
    /// value that is more than any event had waits, see [`Extra::waiting`].
    pub fn show(&mut self, event: Object, at: Arguments<'_>, losses: &mut Losses) -> Object {
        let mut shown = Object::default();
        self.add_each(event, at, losses, |key, value| {
            shown.0.push((key.to_owned(), value.document()));
        });
        shown
    }

    fn add_each(
        &mut self,
        event: Object,
        at: Arguments<'_>,
        losses: &mut Losses,
        mut is_new: impl FnMut(&str, &Value),
    ) {
        let root = Path::Root(at);
        let is_full = self.added > MAX_ADDED_BYTES;
        let added = &mut self.added;
        let mut adding = Adding {
            losses,
            added,
            is_full,
        };
        for (key, next) in event.0 {
            let path = Path::Key(&root, &key);
            if let Some(entry) = self.keys.value_mut(&key) {
                match entry.value.add(next, &path, &mut adding) {
                    Outcome::Same => {}
                    Outcome::Replaced => {
                        entry.waits = false;
                        is_new(&key, &entry.value);
                    }
                    Outcome::Joined => entry.waits = true,
                }
            } else if adding.has_room(size(&next), &path) {
                let value = Value::from(next);
                is_new(&key, &value);
                let waits = false;
                self.keys.add(key, Entry { value, waits });
            }
        }
    }

    /// The values that are more than any event had and were not shown yet, as they stand.
    pub fn waiting(&mut self) -> Object {
        let mut waiting = Object::default();
        for (key, entry) in self.keys.entries_mut() {
            if std::mem::take(&mut entry.waits) {
                waiting.0.push((key.clone(), entry.value.document()));
            }
        }
        waiting
    }

    /// Whether a key of an event would take the place of another value, or be joined to it.
    pub fn differs(&self, event: &Object) -> bool {
        let differs = |(key, next): &(String, Document)| {
            let known = self.keys.value(key);
            known.is_some_and(|known| !known.value.is(next))
        };
        event.0.iter().any(differs)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What all events add up to; nothing is left. `at` is the path of the object.
    pub fn take(&mut self, at: Arguments<'_>, losses: &mut Losses) -> Object {
        self.report(at, losses);
        self.added = 0;
        let entries = self.keys.take().into_iter();
        Object(
            entries
                .map(|(key, entry)| (key, entry.value.into_document()))
                .collect(),
        )
    }

    /// Reports what may be missing of values that were joined.
    pub fn report(&self, at: Arguments<'_>, losses: &mut Losses) {
        let root = Path::Root(at);
        for (key, entry) in self.keys.entries() {
            entry.value.report(&Path::Key(&root, key), losses);
        }
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
    fn add(&mut self, next: Document, path: &Path<'_>, adding: &mut Adding<'_>) -> Outcome {
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

    /// Whether it is this value.
    fn is(&self, other: &Document) -> bool {
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

    fn document(&self) -> Document {
        self.clone().into_document()
    }

    fn into_document(self) -> Document {
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

    fn report(&self, path: &Path<'_>, losses: &mut Losses) {
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
            // What is repeated so often is no text that comes in pieces.
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
    /// Whether most values are those that came before them.
    fn are_repeated(&self) -> bool {
        self.repeated > 0 && 2 * self.repeated >= self.values
    }
}

impl List {
    fn add(&mut self, next: Vec<Document>, path: &Path<'_>, adding: &mut Adding<'_>) -> Outcome {
        if next.is_empty() || self.items.ends_with(&next) && self.last == next.len() {
            // Equal ones after others may have been pieces.
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

/// About how much memory a value takes.
fn size(document: &Document) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Document {
        Document::String(text.to_owned())
    }

    fn number(number: f64) -> Document {
        Document::Number(Real(number))
    }

    fn object(key: &str, value: Document) -> Object {
        Object(vec![(key.to_owned(), value)])
    }

    fn added(values: Vec<Document>) -> (Document, Vec<String>) {
        let (mut extra, mut losses) = (Extra::default(), Losses::default());
        for value in values {
            extra.add(object("k", value), format_args!("at"), &mut losses);
        }
        let whole = extra.take(format_args!("at"), &mut losses);
        let fields = losses.take().into_iter().map(|warning| warning.field);
        (whole.value("k").unwrap().clone(), fields.collect())
    }

    #[test]
    fn texts_are_joined_unless_one_goes_on_from_the_other() {
        for (values, expected, is_lossy) in [
            (&["I ", "think", ""][..], "I think", false),
            (&["a", "ab", "abc"], "abc", false),
            (&["id", "id", "id"], "id", false),
            (&["ha", "ha", "!"], "haha!", false),
            (&["x", "a", "a", "b"], "xaab", false),
            (&["busy", "busy", "busy", "done", "done"], "busydone", true),
            (&["1", "10", "x"], "10x", true),
        ] {
            let (whole, fields) = added(values.iter().map(|value| text(value)).collect());
            assert_eq!(whole, text(expected), "{values:?}");
            assert_eq!(fields == ["at.k"], is_lossy, "{values:?}");
        }
    }

    #[test]
    fn lists_are_joined_and_objects_key_by_key() {
        let list = |items: &[f64]| Document::List(items.iter().copied().map(number).collect());
        for (values, expected, is_lossy) in [
            (vec![list(&[1.0]), list(&[2.0])], list(&[1.0, 2.0]), false),
            (
                vec![list(&[1.0]), list(&[1.0, 2.0])],
                list(&[1.0, 2.0]),
                false,
            ),
            (
                vec![list(&[1.0]), list(&[1.0]), list(&[])],
                list(&[1.0]),
                false,
            ),
            (
                vec![list(&[1.0]), list(&[2.0]), list(&[2.0])],
                list(&[1.0, 2.0]),
                true,
            ),
        ] {
            let (whole, fields) = added(values);
            assert_eq!(whole, expected);
            assert_eq!(!fields.is_empty(), is_lossy, "{whole:?}");
        }
        let first = Document::Object(Object(vec![
            ("a".to_owned(), text("x")),
            ("n".to_owned(), number(2.0)),
        ]));
        let second = Document::Object(Object(vec![
            ("a".to_owned(), text("y")),
            ("n".to_owned(), number(1.0)),
            ("b".to_owned(), Document::Bool(true)),
        ]));
        let (whole, fields) = added(vec![first, second]);
        let expected = Object(vec![
            ("a".to_owned(), text("xy")),
            ("n".to_owned(), number(1.0)),
            ("b".to_owned(), Document::Bool(true)),
        ]);
        assert_eq!(whole, Document::Object(expected));
        assert_eq!(fields, ["at.k.n"]);
    }

    #[test]
    fn what_takes_the_place_of_another_is_reported() {
        for (values, is_lossy) in [
            (vec![number(1.0), number(2.0)], false),
            (vec![number(2.0), number(1.0)], true),
            (vec![Document::Bool(false), Document::Bool(true)], false),
            (vec![Document::Bool(true), Document::Bool(false)], true),
            (vec![number(1.0), text("1")], true),
            (vec![text("1"), number(1.0)], true),
            (vec![number(1.0), Document::Null], false),
        ] {
            let (_, fields) = added(values.clone());
            assert_eq!(fields == ["at.k"], is_lossy, "{values:?}");
        }
    }

    #[test]
    fn what_is_shown_at_once_and_what_waits() {
        let (mut extra, mut losses) = (Extra::default(), Losses::default());
        let mut show = |extra: &mut Extra, value: &str| {
            extra.show(object("k", text(value)), format_args!("at"), &mut losses)
        };
        assert_eq!(show(&mut extra, "a"), object("k", text("a")));
        assert_eq!(show(&mut extra, "a"), Object::default());
        assert_eq!(show(&mut extra, "ab"), object("k", text("ab")));
        assert_eq!(extra.waiting(), Object::default());
        assert_eq!(show(&mut extra, "c"), Object::default());
        assert_eq!(extra.waiting(), object("k", text("abc")));
        assert_eq!(extra.waiting(), Object::default());
    }

    #[test]
    fn what_is_added_is_bounded() {
        let (mut extra, mut losses) = (Extra::default(), Losses::default());
        let at = format_args!("");
        let large = "x".repeat(2 * MAX_ADDED_BYTES);
        extra.add(object("k", text(&large)), at, &mut losses);
        assert!(losses.take().is_empty());
        extra.add(object("k", text("y")), at, &mut losses);
        extra.add(object("l", text("y")), at, &mut losses);
        let fields: Vec<_> = losses.take().into_iter().map(|loss| loss.field).collect();
        assert_eq!(fields, ["k", "l"]);
        assert_eq!(extra.take(at, &mut losses), object("k", text(&large)));
    }

    fn any_value() -> impl Strategy<Value = Document> {
        let leaf = prop_oneof![
            "[ab]{0,3}".prop_map(Document::String),
            (0..4_u8).prop_map(|n| number(f64::from(n))),
            any::<bool>().prop_map(Document::Bool),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Document::List),
                proptest::collection::btree_map("[xyz]", inner, 0..3)
                    .prop_map(|map| Document::Object(Object(map.into_iter().collect()))),
            ]
        })
    }

    /// Whether all that a value says is in another one.
    fn holds(whole: &Document, value: &Document) -> bool {
        match (whole, value) {
            (_, Document::Null) => true,
            (Document::String(whole), Document::String(value)) => whole.contains(value.as_str()),
            (Document::Number(Real(whole)), Document::Number(Real(value))) => value <= whole,
            (Document::Bool(whole), Document::Bool(value)) => value <= whole,
            (Document::List(whole), Document::List(value)) => {
                value.is_empty() || whole.windows(value.len()).any(|part| part == value)
            }
            (Document::Object(whole), Document::Object(value)) => value
                .0
                .iter()
                .all(|(key, value)| whole.value(key).is_some_and(|whole| holds(whole, value))),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_in_silence(
            values in proptest::collection::vec(any_value(), 1..6),
        ) {
            let (whole, fields) = added(values.clone());
            if fields.is_empty() {
                for value in &values {
                    prop_assert!(holds(&whole, value), "{value:?} is not in {whole:?}");
                }
            }
        }

        /// What is shown at once and what waited, one replacing the other, is the whole.
        #[test]
        fn what_is_shown_adds_up_to_the_whole(
            values in proptest::collection::vec(any_value(), 1..6),
        ) {
            let (mut extra, mut losses) = (Extra::default(), Losses::default());
            let mut seen = Object::default();
            for value in values {
                seen.merge(extra.show(object("k", value), format_args!(""), &mut losses));
            }
            seen.merge(extra.waiting());
            prop_assert_eq!(seen, extra.take(format_args!(""), &mut losses));
        }
    }
}
