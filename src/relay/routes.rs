//! The mapping of models: which model a call uses, and whether that model streams.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::chat::call::{Caller, Delivery};
pub(super) use crate::chat::glob::matches;
use crate::chat::message::LongAudio;
use crate::error::{Error, Kind, Reason, Sent};

/// The maximum number of models known to have a single delivery. There are some hundreds of models;
/// callers with invented names must not fill the memory.
const REMEMBERED_MODELS: usize = 1024;

/// How long that is remembered. A model that failed by chance is then tried as requested again, and
/// a changed one is detected.
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);

/// The configured mapping of models.
#[derive(Clone, Debug, Default)]
pub struct RoutesConfig {
    /// The model to use instead, by the requested name.
    pub aliases: HashMap<String, String>,
    /// The models to try next when one is unavailable, by the name of that model.
    pub fallbacks: HashMap<String, Vec<String>>,
    /// Models that only stream; `*` matches any characters.
    pub stream_only: Vec<String>,
    /// The maximum timeout per model. The first pattern that matches applies, as below.
    pub timeouts: Vec<(String, Duration)>,
    /// How long a model may take to begin a stream.
    pub first_event_timeouts: Vec<(String, Duration)>,
    /// The maximum request body per model.
    pub max_request_bytes: Vec<(String, usize)>,
    /// The maximum audio duration per model.
    pub audio_limits: Vec<(String, Duration)>,
    /// The handling of longer audio, if the call does not specify it.
    pub long_audio: LongAudio,
}

/// The mapping, and what was learned about models.
#[derive(Debug)]
pub struct Routes {
    settings: RoutesConfig,
    learned: Mutex<VecDeque<Learned>>,
}

/// The delivery that a model requires.
#[derive(Debug)]
struct Learned {
    model: String,
    delivery: Delivery,
    /// The caller that it applies to, if it was learned for that caller only.
    caller: Option<Caller>,
    until: Instant,
}

impl Routes {
    /// The configured mapping, with nothing learned.
    pub fn new(settings: RoutesConfig) -> Self {
        Self {
            settings,
            learned: Mutex::default(),
        }
    }

    /// The models to try, in order, for the requested name.
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

    /// The maximum timeout of a model, if configured.
    pub fn timeout(&self, model: &str) -> Option<Duration> {
        fitting(&self.settings.timeouts, model)
    }

    /// How long a model may take to begin a stream, if configured.
    pub fn first_event_timeout(&self, model: &str) -> Option<Duration> {
        fitting(&self.settings.first_event_timeouts, model)
    }

    /// The maximum audio duration of a model, if known.
    pub fn audio_limit(&self, model: &str) -> Option<Duration> {
        fitting(&self.settings.audio_limits, model)
    }

    /// The handling of longer audio, if the call does not specify it.
    pub fn long_audio(&self) -> LongAudio {
        self.settings.long_audio
    }

    /// The maximum request body of a model, if configured.
    pub fn max_request_bytes(&self, model: &str) -> Option<usize> {
        fitting(&self.settings.max_request_bytes, model)
    }

    /// The delivery to request from a model for this caller, given the delivery that the caller
    /// wants.
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

    /// Records that a model accepted this delivery after it had rejected the other one. That it
    /// requires streams applies to all callers, whose answers stay the same; that it does not
    /// stream would deprive them of streams, and may be due to one caller's request, so that
    /// applies to this caller only.
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

/// The other delivery, if a model rejected the requested one.
pub fn other_way(asked: Delivery, error: &Error) -> Option<Delivery> {
    match (error.reason(), asked) {
        (Reason::StreamOnly, Delivery::Whole) => Some(Delivery::Stream),
        (Reason::WholeOnly, Delivery::Stream) => Some(Delivery::Whole),
        _ => None,
    }
}

/// Whether the next model may be tried after this error: the model did not run, and another one may
/// succeed.
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
    fn a_refused_delivery_selects_the_other_one() {
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
    async fn the_learned_delivery_of_a_model_does_not_restrict_other_callers_and_is_bounded() {
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
