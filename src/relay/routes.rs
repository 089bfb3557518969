//! Which model a call goes to, and how that model likes to be asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::chat::call::{Caller, Delivery};
pub(super) use crate::chat::glob::matches;
use crate::chat::message::LongAudio;
use crate::error::{Error, Kind, Reason, Sent};

/// How many models are remembered to answer in one way only. There are some hundreds of models; a
/// caller who makes names up must not fill the memory.
const REMEMBERED_MODELS: usize = 1024;

/// How long that is remembered. A model that failed by chance when it was asked whole is asked so
/// again then, and one that changed its ways is found out.
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);

/// The operator's mapping of models.
#[derive(Clone, Debug, Default)]
pub struct RoutesConfig {
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
    /// The largest request body of a model.
    pub max_request_bytes: Vec<(String, usize)>,
    /// How much of one audio a model hears.
    pub audio_limits: Vec<(String, Duration)>,
    /// What happens to audio that is longer, where the call does not say.
    pub long_audio: LongAudio,
}

/// The mapping, and what was learned about models.
#[derive(Debug)]
pub struct Routes {
    settings: RoutesConfig,
    learned: Mutex<VecDeque<Learned>>,
}

/// How a model wants to be asked.
#[derive(Debug)]
struct Learned {
    model: String,
    delivery: Delivery,
    /// Who found it out, if it is for that caller alone.
    caller: Option<Caller>,
    until: Instant,
}

impl Routes {
    /// The operator's mapping, with nothing learned.
    pub fn new(settings: RoutesConfig) -> Self {
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

    /// How much of one audio a model hears, if that is known.
    pub fn audio_limit(&self, model: &str) -> Option<Duration> {
        fitting(&self.settings.audio_limits, model)
    }

    /// What happens to audio that is longer, where the call does not say.
    pub fn long_audio(&self) -> LongAudio {
        self.settings.long_audio
    }

    /// The largest request body that a model takes, if it has a limit of its own.
    pub fn max_request_bytes(&self, model: &str) -> Option<usize> {
        fitting(&self.settings.max_request_bytes, model)
    }

    /// How to ask a model for this caller, for an answer that is wanted in this way.
    pub fn delivery(&self, model: &str, caller: Caller, wanted: Delivery) -> Delivery {
        if let Some(delivery) = self.learned(model, caller) {
            return delivery;
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

    fn learned(&self, model: &str, caller: Caller) -> Option<Delivery> {
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        if learned.is_empty() {
            return None;
        }
        let now = Instant::now();
        let mut fitting = learned.iter().filter(|learned| {
            let for_caller = learned.caller.is_none_or(|own| own == caller);
            learned.model == model && for_caller && now < learned.until
        });
        fitting.next().map(|learned| learned.delivery)
    }

    /// Remembers that a model answered in this way after it had refused the other one. That it
    /// streams holds for all callers, whose answers stay the same; that it does not stream would
    /// take their streams away, and a refusal may be due to what one caller asked, so that holds
    /// for this caller alone.
    pub fn learn(&self, model: &str, caller: Caller, delivery: Delivery) {
        let caller = (delivery == Delivery::Whole).then_some(caller);
        let now = Instant::now();
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.retain(|old| now < old.until && (old.model != model || old.caller != caller));
        if learned.len() >= REMEMBERED_MODELS {
            learned.pop_front();
        }
        learned.push_back(Learned {
            model: model.to_owned(),
            delivery,
            caller,
            until: now + REMEMBERED_FOR,
        });
    }
}

/// The other way to ask a model, if it refused the way that it was asked in.
pub fn other_way(asked: Delivery, error: &Error) -> Option<Delivery> {
    match (error.reason(), asked) {
        (Reason::StreamOnly, Delivery::Whole) => Some(Delivery::Stream),
        (Reason::WholeOnly, Delivery::Stream) => Some(Delivery::Whole),
        _ => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_comes_first_and_its_fallbacks_after_it() {
        let settings = RoutesConfig {
            aliases: [("old".to_owned(), "new".to_owned())].into(),
            fallbacks: [("new".to_owned(), vec!["next".to_owned(), "new".to_owned()])].into(),
            ..RoutesConfig::default()
        };
        let routes = Routes::new(settings);
        let names = |model: &str| routes.candidates(&model.into()).join(" ");
        assert_eq!(names("old"), "new next");
        assert_eq!(names("other"), "other");
    }

    #[test]
    fn a_refusal_by_form_names_the_other_way() {
        let refusal = |reason| Error::new(reason, "no");
        for (reason, asked, other) in [
            (Reason::StreamOnly, Delivery::Whole, Some(Delivery::Stream)),
            (Reason::StreamOnly, Delivery::Stream, None),
            (Reason::WholeOnly, Delivery::Stream, Some(Delivery::Whole)),
            (Reason::UpstreamInternal, Delivery::Whole, None),
        ] {
            assert_eq!(other_way(asked, &refusal(reason)), other);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_learned_of_a_model_takes_nothing_from_other_callers_and_is_bounded() {
        let routes = Routes::new(RoutesConfig::default());
        let (one, other) = (Caller(1), Caller(2));
        routes.learn("s", one, Delivery::Stream);
        assert_eq!(
            routes.delivery("s", other, Delivery::Whole),
            Delivery::Stream
        );
        routes.learn("w", one, Delivery::Whole);
        assert_eq!(routes.delivery("w", one, Delivery::Stream), Delivery::Whole);
        assert_eq!(
            routes.delivery("w", other, Delivery::Stream),
            Delivery::Stream
        );
        tokio::time::advance(REMEMBERED_FOR).await;
        assert_eq!(routes.delivery("s", one, Delivery::Whole), Delivery::Whole);
        for n in 0..2 * REMEMBERED_MODELS {
            routes.learn(&format!("m{n}"), one, Delivery::Stream);
        }
        assert_eq!(routes.learned.lock().unwrap().len(), REMEMBERED_MODELS);
    }
}
