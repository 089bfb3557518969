//! Which model a call goes to, and how that model likes to be asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::chat::call::Delivery;
use crate::error::{Error, Kind, Reason, Sent};

/// How many models are remembered to answer in one way only. There are some hundreds of models; a
/// caller who makes names up must not fill the memory.
const REMEMBERED_MODELS: usize = 1024;

/// The operator's mapping of models.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The model to ask instead, by the name that the caller used.
    pub aliases: HashMap<String, String>,
    /// The models to ask next when one cannot, by the name that was asked.
    pub fallbacks: HashMap<String, Vec<String>>,
    /// Models that answer by stream only; `*` stands for anything.
    pub stream_only: Vec<String>,
    /// The longest that a call of a model may take. The first pattern that fits holds, as below.
    pub timeouts: Vec<(String, Duration)>,
    /// How long a model may take to begin a stream.
    pub first_event_timeouts: Vec<(String, Duration)>,
}

/// The mapping, and what was learned about models.
#[derive(Debug)]
pub struct Routes {
    settings: Settings,
    learned: Mutex<VecDeque<(String, Delivery)>>,
}

impl Routes {
    /// The operator's mapping, with nothing learned.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            learned: Mutex::default(),
        }
    }

    /// The models to ask in their order, for the name that the caller used.
    pub fn candidates(&self, model: &Arc<str>) -> Vec<Arc<str>> {
        let alias = self.settings.aliases.get(&**model);
        let first = alias.map_or_else(|| Arc::clone(model), |alias| alias.as_str().into());
        let fallbacks = self.settings.fallbacks.get(&*first);
        let mut names = vec![first];
        for next in fallbacks.into_iter().flatten() {
            if !names.iter().any(|name| **name == **next) {
                names.push(next.as_str().into());
            }
        }
        names
    }

    /// The longest that a call of a model may take, if it has a limit of its own.
    pub fn timeout(&self, model: &str) -> Option<Duration> {
        fitting(&self.settings.timeouts, model)
    }

    /// How long a model may take to begin a stream, if it has a limit of its own.
    pub fn first_event_timeout(&self, model: &str) -> Option<Duration> {
        fitting(&self.settings.first_event_timeouts, model)
    }

    /// How to ask a model, for an answer that is wanted in this way.
    pub fn delivery(&self, model: &str, wanted: Delivery) -> Delivery {
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, delivery)) = learned.iter().find(|(name, _)| name == model) {
            return *delivery;
        }
        let stream_only = self
            .settings
            .stream_only
            .iter()
            .any(|glob| matches(glob, model));
        if stream_only {
            Delivery::Stream
        } else {
            wanted
        }
    }

    /// Learns from a refusal that a model answers in one way only. Says how to ask now, if that is
    /// another way than the one that was refused.
    pub fn learn(&self, model: &str, asked: Delivery, error: &Error) -> Option<Delivery> {
        let reason = error.reason();
        let only = if reason == Reason::StreamOnly && asked == Delivery::Whole {
            Delivery::Stream
        } else if reason == Reason::WholeOnly && asked == Delivery::Stream {
            Delivery::Whole
        } else {
            return None;
        };
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.retain(|(name, _)| name != model);
        if learned.len() >= REMEMBERED_MODELS {
            learned.pop_front();
        }
        learned.push_back((model.to_owned(), only));
        Some(only)
    }
}

/// Whether the next model may be asked after this fault: the model did nothing, and another one may
/// do better.
pub fn falls_back(error: &Error) -> bool {
    let unbilled = matches!(error.sent(), Sent::No | Sent::Refused);
    let model_is_the_matter = matches!(error.kind(), Kind::Unavailable | Kind::Exhausted)
        || matches!(
            error.reason(),
            Reason::ModelNotFound | Reason::UpstreamPermission
        );
    unbilled && model_is_the_matter
}

fn fitting<T: Copy>(list: &[(String, T)], model: &str) -> Option<T> {
    let mut fitting = list.iter().filter(|(glob, _)| matches(glob, model));
    fitting.next().map(|(_, value)| *value)
}

/// Whether a name fits a pattern in which `*` stands for anything.
pub(super) fn matches(glob: &str, name: &str) -> bool {
    let Some((head, rest)) = glob.split_once('*') else {
        return glob == name;
    };
    let Some(mut left) = name.strip_prefix(head) else {
        return false;
    };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return left.ends_with(piece);
        }
        match left.split_once(piece) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (glob, name, fits) in [
            ("qwen-omni*", "qwen-omni-turbo", true),
            ("qwen-omni*", "qwen-audio-turbo", false),
            ("*-omni-*", "qwen3-omni-flash", true),
            ("*omni", "qwen-omni-turbo", false),
            ("qvq-max", "qvq-max", true),
            ("qvq-max", "qvq-max-latest", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(glob, name), fits, "{glob} {name}");
        }
    }

    #[test]
    fn an_alias_comes_first_and_its_fallbacks_after_it() {
        let settings = Settings {
            aliases: [("old".to_owned(), "new".to_owned())].into(),
            fallbacks: [("new".to_owned(), vec!["next".to_owned(), "new".to_owned()])].into(),
            ..Settings::default()
        };
        let routes = Routes::new(settings);
        let names = |model: &str| routes.candidates(&model.into()).join(" ");
        assert_eq!(names("old"), "new next");
        assert_eq!(names("other"), "other");
    }

    #[test]
    fn a_model_that_refused_is_remembered_and_the_memory_is_bounded() {
        let routes = Routes::new(Settings::default());
        let refusal = Error::new(Reason::StreamOnly, "stream only");
        assert_eq!(
            routes.learn("m", Delivery::Whole, &refusal),
            Some(Delivery::Stream)
        );
        assert_eq!(routes.delivery("m", Delivery::Whole), Delivery::Stream);
        assert_eq!(routes.learn("m", Delivery::Stream, &refusal), None);
        for n in 0..2 * REMEMBERED_MODELS {
            routes.learn(&format!("m{n}"), Delivery::Whole, &refusal);
        }
        assert_eq!(routes.learned.lock().unwrap().len(), REMEMBERED_MODELS);
    }
}
