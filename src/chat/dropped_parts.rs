//! What of an answer could not be kept, and where it stood.

use std::fmt::{self, Arguments, Display};

use super::warning::{Code, Warning};

/// The most losses of one answer that are reported. One is enough to know that something is odd.
const MAX_LOSSES: usize = 16;

/// A smaller value came.
pub(super) const LESS: &str = "a later event of the answer has a smaller value, which is kept";
/// A value of another type came.
pub(super) const OTHER_TYPE: &str =
    "a later event of the answer has a value of another type, which is kept";
/// Values were joined that may not all be pieces.
pub(super) const REPEATED: &str = "values of this key were joined; a repeated value may be missing";
/// Nothing more can be kept.
pub(super) const TOO_MUCH: &str = "the answer has more unknown keys than can be kept; later ones \
                                   were dropped";

/// What could not be kept.
#[derive(Debug, Default)]
pub struct Losses(Vec<Warning>);

impl Losses {
    /// Adds one, up to a bound, and one for each place.
    pub(super) fn add(&mut self, path: &Path<'_>, message: &str) {
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
pub(super) enum Path<'a> {
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
