//! Parts of an answer that could not be kept, and their paths.

use std::fmt::{self, Arguments, Display};

use super::warning::{Code, Warning};

/// The maximum number of losses reported per answer. One is enough to notice them.
const MAX_LOSSES: usize = 16;

/// A value decreased.
pub(super) const LESS: &str = "a later event of the answer has a smaller value, which is kept";
/// A value changed its type.
pub(super) const OTHER_TYPE: &str =
    "a later event of the answer has a value of another type, which is kept";
/// Values were joined although some may be repetitions.
pub(super) const REPEATED: &str = "values of this key were joined; a repeated value may be missing";
/// The limit of unknown keys was reached.
pub(super) const TOO_MUCH: &str = "the answer has more unknown keys than can be kept; later ones \
                                   were dropped";

/// Values that could not be kept.
#[derive(Debug, Default)]
pub struct Losses(Vec<Warning>);

impl Losses {
    /// Adds a loss, one per path, up to [`MAX_LOSSES`].
    pub(super) fn add(&mut self, path: &Path<'_>, message: &str) {
        if self.0.len() < MAX_LOSSES {
            let field = path.to_string().trim_start_matches('.').to_owned();
            if self.0.iter().all(|known| known.field != field) {
                self.0
                    .push(Warning::new(Code::AnswerPartDropped, field, message));
            }
        }
    }

    /// Takes the losses as warnings.
    pub fn take(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.0)
    }
}

/// The path of a value. Formatted only for losses.
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
