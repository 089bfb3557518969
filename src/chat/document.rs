//! A document of JSON's shape, for what no typed field covers. Not JSON text: the rooms at the
//! edges turn it into theirs.

/// A number that can be compared and hashed by its bits, as settings and documents need it.
#[derive(Clone, Copy, Debug)]
pub struct Real(pub f64);

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Real {}

impl std::hash::Hash for Real {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// A value of JSON's shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Document {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A number.
    Number(Real),
    /// A text.
    String(String),
    /// Values in order.
    List(Vec<Document>),
    /// Values by key.
    Object(Object),
}

/// Values by key, in the order in which they came. Keys are unique.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Object(pub Vec<(String, Document)>);

impl Object {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&Document> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// Adds all of another object; where both have a key, the other's value stays.
    pub fn merge(&mut self, other: Object) {
        for (key, value) in other.0 {
            match self.0.iter_mut().find(|(name, _)| *name == key) {
                Some((_, old)) => *old = value,
                None => self.0.push((key, value)),
            }
        }
    }
}
