//! The results of models that transcribe and translate speech at once.

use serde_json::{Map, Value, json};

use super::task_event::invalid;
use crate::emulator::script::wildcard;
use crate::emulator::templates::Language;
use crate::emulator::websocket::session::SocketError;

/// The models that translate.
const MODELS: &str = "gummy*";
/// Those of them that take a single sentence.
const CHAT_MODELS: &str = "gummy-chat*";
/// The most languages of one task.
const MAX_TARGETS: usize = 16;

/// What a task reports of each sentence.
pub(super) struct Translation {
    transcribes: bool,
    targets: Vec<String>,
    /// Whether audio after the first sentence is ignored.
    pub(super) has_one_sentence: bool,
    /// The language of the speech.
    pub(super) source: Language,
}

/// A sentence, or the beginning of one that goes on.
pub(super) struct SentenceText<'a> {
    /// Its number, from 0.
    pub(super) id: usize,
    /// Where it begins, in milliseconds.
    pub(super) begin: u64,
    /// Where it ends, if it has.
    pub(super) end: Option<u64>,
    /// The position in the audio.
    pub(super) now: u64,
    /// Its words, in a language.
    pub(super) text: &'a dyn Fn(Language) -> String,
    /// The words of a text between two times.
    pub(super) words: fn(u64, u64, &str) -> Vec<Value>,
}

impl Translation {
    /// What a task with these parameters reports. `None` if its model does not translate.
    ///
    /// # Errors
    ///
    /// If a parameter is invalid.
    pub(super) fn of(
        model: &str,
        parameters: &Map<String, Value>,
    ) -> Result<Option<Self>, SocketError> {
        if !wildcard(MODELS, model) {
            return Ok(None);
        }
        let flag = |name: &str, default| match parameters.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(invalid(format!("Invalid parameter: {name}."))),
        };
        let transcribes = flag("transcription_enabled", true)?;
        let translates = flag("translation_enabled", false)?;
        let targets = parameters.get("translation_target_languages");
        let targets = targets.and_then(Value::as_array);
        let targets: Vec<String> = targets
            .into_iter()
            .flatten()
            .filter_map(|target| target.as_str().map(str::to_owned))
            .collect();
        if translates && (targets.is_empty() || targets.len() > MAX_TARGETS) {
            return Err(invalid("Invalid parameter: translation_target_languages."));
        }
        if !transcribes && !translates {
            let message = "transcription_enabled and translation_enabled are both false";
            return Err(invalid(message));
        }
        let source = parameters.get("source_language").and_then(Value::as_str);
        Ok(Some(Self {
            transcribes,
            targets: if translates { targets } else { Vec::new() },
            has_one_sentence: wildcard(CHAT_MODELS, model),
            source: language(source.unwrap_or("zh")),
        }))
    }

    /// Whether texts in this language are reported.
    pub(super) fn reports(&self, wanted: Language) -> bool {
        let is_target = |target: &String| language(target) == wanted;
        (self.transcribes && self.source == wanted) || self.targets.iter().any(is_target)
    }

    /// The result of a sentence.
    pub(super) fn output(&self, sentence: &SentenceText<'_>) -> Value {
        let mut output = Map::new();
        if self.transcribes {
            let transcription = part(sentence, self.source, None);
            output.insert("transcription".into(), transcription);
        }
        if !self.targets.is_empty() {
            let translation = |target: &String| part(sentence, language(target), Some(target));
            let translations = self.targets.iter().map(translation).collect();
            output.insert("translations".into(), translations);
        }
        Value::Object(output)
    }
}

fn part(sentence: &SentenceText<'_>, language: Language, target: Option<&str>) -> Value {
    let text = (sentence.text)(language);
    let end = sentence.end.unwrap_or(sentence.now);
    let mut words = (sentence.words)(sentence.begin, end, &text);
    for word in words.iter_mut().filter_map(Value::as_object_mut) {
        word.insert("fixed".into(), json!(sentence.end.is_some()));
    }
    let mut part = json!({"sentence_id": sentence.id, "begin_time": sentence.begin,
        "end_time": sentence.end, "current_time": sentence.now, "text": text, "words": words,
        "sentence_end": sentence.end.is_some()});
    if let (Some(target), Some(part)) = (target, part.as_object_mut()) {
        part.insert("lang".into(), json!(target));
    }
    part
}

/// The language of texts: Chinese, also where the language is detected, or English for all others.
fn language(code: &str) -> Language {
    match code {
        "zh" | "auto" | "" | "yue" => Language::Chinese,
        _ => Language::English,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(model: &str, parameters: &Value) -> Result<Option<Translation>, SocketError> {
        Translation::of(model, parameters.as_object().unwrap())
    }

    #[test]
    fn parameters_decide_what_is_reported() {
        let both = json!({"source_language": "zh", "transcription_enabled": true,
            "translation_enabled": true, "translation_target_languages": ["en"]});
        let both = of("gummy-realtime-v1", &both).unwrap().unwrap();
        assert!(both.reports(Language::Chinese) && both.reports(Language::English));
        assert!(!both.has_one_sentence);
        let sentence = SentenceText {
            id: 0,
            begin: 100,
            end: None,
            now: 600,
            text: &|language| match language {
                Language::Chinese => "你好".to_owned(),
                Language::English => "Hello".to_owned(),
            },
            words: |_, _, _| vec![json!({"text": "w"})],
        };
        let part = |text: &str| {
            json!({"sentence_id": 0, "begin_time": 100, "end_time": null, "current_time": 600,
                "text": text, "words": [{"text": "w", "fixed": false}], "sentence_end": false})
        };
        let mut translation = part("Hello");
        translation["lang"] = json!("en");
        let expected = json!({"transcription": part("你好"), "translations": [translation]});
        assert_eq!(both.output(&sentence), expected);

        let plain = of("gummy-chat-v1", &json!({"source_language": null}));
        let plain = plain.unwrap().unwrap();
        assert!(plain.has_one_sentence && !plain.reports(Language::English));
        let expected = json!({"transcription": part("你好")});
        assert_eq!(plain.output(&sentence), expected);
        assert!(of("fun-asr-realtime", &json!({})).unwrap().is_none());
    }

    #[test]
    fn invalid_parameters_are_refused() {
        for parameters in [
            json!({"translation_enabled": true}),
            json!({"translation_enabled": true, "translation_target_languages": []}),
            json!({"transcription_enabled": false}),
            json!({"transcription_enabled": "yes"}),
        ] {
            let refused = of("gummy-realtime-v1", &parameters);
            assert!(refused.is_err(), "{parameters}");
        }
    }
}
