//! Merges unknown keys over the events of one answer.
//!
//! A key may come with each event, and nothing states how its values relate. One rule applies to
//! all, and nothing is lost without a warning:
//!
//! | the next value | what is kept |
//! |---|---|
//! | equals the previous one, or is empty | the previous one |
//! | a string or list that begins with the previous one | the next |
//! | another string or list | all of them, joined: they are deltas |
//! | an object | key by key, each by this rule |
//! | a number or boolean | the next; with a warning if it is less than before |
//! | of another type | the next, with a warning |
//!
//! If a string is known to come in deltas, equal consecutive values are deltas too, unless they are
//! the majority: then they are one value that is repeated with each event, and a warning states
//! that it is kept once.

use std::fmt::Arguments;

use super::document::{Document, Keyed, Object};
use super::dropped_parts::{Losses, Path};
use super::merge::{Adding, MAX_ADDED_BYTES, Outcome, Value, size};

/// The merged unknown keys of one object of an answer.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    keys: Keyed<Entry>,
    added: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    value: Value,
    /// Whether it differs from the value of every event, and was not emitted yet.
    waits: bool,
}

impl Extra {
    /// Merges the keys of an event. `at` is the path of their object.
    pub fn add(&mut self, event: Object, at: Arguments<'_>, losses: &mut Losses) {
        self.add_each(event, at, losses, |_, _| {});
    }

    /// Merges the keys of an event, and returns those whose new value equals this event's. A value
    /// that combines several events is withheld, see [`Extra::waiting`].
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

    /// The withheld values, as merged so far.
    pub fn waiting(&mut self) -> Object {
        let mut waiting = Object::default();
        for (key, entry) in self.keys.entries_mut() {
            if std::mem::take(&mut entry.waits) {
                waiting.0.push((key.clone(), entry.value.document()));
            }
        }
        waiting
    }

    /// All values, as merged so far.
    pub fn whole(&self) -> Object {
        let entries = self.keys.entries().iter();
        let entries = entries.map(|(key, entry)| (key.clone(), entry.value.document()));
        Object(entries.collect())
    }

    /// Whether a key of an event would replace another value, or be joined to it.
    pub fn differs(&self, event: &Object) -> bool {
        let differs = |(key, next): &(String, Document)| {
            let known = self.keys.value(key);
            known.is_some_and(|known| !known.value.is(next))
        };
        event.0.iter().any(differs)
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes the merged keys and leaves none. `at` is the path of the object.
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

    /// Reports possible losses in joined values.
    pub fn report(&self, at: Arguments<'_>, losses: &mut Losses) {
        let root = Path::Root(at);
        for (key, entry) in self.keys.entries() {
            entry.value.report(&Path::Key(&root, key), losses);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::Real;
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
    fn strings_are_joined_unless_one_continues_the_other() {
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
    fn lists_are_joined_and_objects_merged_by_key() {
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
    fn replaced_values_are_reported() {
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
    fn values_are_emitted_or_withheld() {
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
    fn merged_values_are_bounded() {
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

    /// Whether a value is contained in another one.
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
        fn every_loss_is_reported(
            values in proptest::collection::vec(any_value(), 1..6),
        ) {
            let (whole, fields) = added(values.clone());
            if fields.is_empty() {
                for value in &values {
                    prop_assert!(holds(&whole, value), "{value:?} is not in {whole:?}");
                }
            }
        }

        /// Emitted and withheld values, one replacing the other, add up to the whole.
        #[test]
        fn emitted_and_withheld_values_add_up(
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
