//! Handles outputs without a list of choices, and undocumented values in a choice.

use super::answer_json::{self, Output};
use super::choice::{ChoiceDecoder, delta};
use super::delta_detector::{TextForm, TextFormError};
use super::errors::unreadable;
use super::json_text::Text;
use super::lenient_end;
use super::reply::{MAX_CHOICES, Reply};
use crate::chat::document::{Document, Object, Real};
use crate::chat::event::Piece;
use crate::chat::warning::{Code, Warning};
use crate::error::Error;

impl Reply {
    /// Keeps the output of an event that is a string instead of an object.
    pub(super) fn keep_bare(&mut self, output: &Output<'_>) {
        // In a stream the meaning of such a text is unknown.
        let text = Text::or_empty(&output.text).to_owned();
        let kept = Object(vec![("output".to_owned(), Document::String(text))]);
        self.extra.add(kept, format_args!(""), &mut self.losses);
        let message = "the output of an event is a text, kept in extra";
        self.add_warning(Warning::new(Code::AnswerPartDropped, "output", message));
    }

    /// Handles the output of models that return no choices: a text, or audio.
    pub(super) fn without_choices<'a>(
        &mut self,
        output: &mut Output<'a>,
        streamed: bool,
    ) -> Result<Option<answer_json::Choice<'a>>, Error> {
        let reason = output.finish_reason.take();
        let odd_reason = lenient_end::take(output);
        self.has_reasons |= reason.is_some() || !odd_reason.is_empty();
        let mut text = output.text.take();
        // Sentences after the end of the answer are late content, like any other text.
        if streamed && !self.all_ended() {
            let ends = !matches!(Text::or_empty(&reason), "" | "null");
            let taken = self.take_sentences(text, &mut output.extra, ends);
            text = taken.map_err(|cause| unreadable(cause.what(), self.sent))?;
        }
        if text.is_some() && !self.has_reasons {
            // The form of speech recognition: the whole text so far, which may be revised.
            self.needs_no_reason = true;
            if self.form == TextForm::Unknown {
                self.form = TextForm::Revised;
            }
        }
        let has_content = text.is_some() || output.audio.is_some() || reason.is_some();
        let choice = (has_content || !odd_reason.is_empty()).then(|| answer_json::Choice {
            finish_reason: reason,
            message: text.map(answer_json::Message::from_text),
            extra: odd_reason,
            ..answer_json::Choice::default()
        });
        Ok(choice)
    }

    /// Takes the sentences of an event. Returns the text that is to be decoded now: that of an
    /// event without sentences, or of all sentences if the event ends the answer.
    fn take_sentences<'a>(
        &mut self,
        text: Option<Text<'a>>,
        extra: &mut Object,
        ends: bool,
    ) -> Result<Option<Text<'a>>, TextFormError> {
        let had_sentences = !self.sentences.is_empty();
        let taken = self.sentences.take(extra)?;
        if taken.is_none() && !had_sentences {
            return Ok(text);
        }
        self.needs_no_reason = true;
        if self.drafts.iter().any(ChoiceDecoder::has_text) {
            return Err(TextFormError::Changed);
        }
        let all = self.sentences.text();
        match (taken, text) {
            (_, None) => {}
            (_, Some(Text(text))) if text.is_empty() => {}
            // A text beside a sentence is usually its copy.
            (Some(own), Some(Text(text))) if own == text => {}
            (Some(_), Some(Text(text))) => {
                let text = Document::String(text.into_owned());
                extra.0.push(("text".to_owned(), text));
            }
            (None, text) if text == all => {}
            (None, Some(_)) => return Err(TextFormError::Changed),
        }
        if !ends {
            return Ok(None);
        }
        extra.0.extend(self.sentences.take_key().0);
        Ok(all)
    }

    /// Keeps an invalid index in the unknown keys, if the position identifies the choice.
    pub(super) fn check_index(
        &mut self,
        place: usize,
        choice: &mut answer_json::Choice<'_>,
        is_one_of_many: bool,
    ) -> Result<(), Error> {
        const INDEX: &str = "index";
        let is_index = |index: i32| usize::try_from(index).is_ok_and(|index| index < MAX_CHOICES);
        if let Some(odd) = choice.index.filter(|index| !is_index(*index)) {
            choice.index = None;
            let value = Document::Number(Real(f64::from(odd)));
            choice.extra.0.push((INDEX.to_owned(), value));
        }
        if choice.extra.value(INDEX).is_none() {
            return Ok(());
        }
        if is_one_of_many {
            return Err(unreadable("a choice has an impossible index", self.sent));
        }
        let field = format!("output.choices[{place}].index");
        let message = "invalid index, kept in extra";
        self.add_warning(Warning::new(Code::AnswerPartDropped, field, message));
        Ok(())
    }
}

impl ChoiceDecoder {
    /// Reports losses in the unknown keys of tool calls, log probabilities and audio.
    pub(super) fn report_keys(&mut self) {
        let (index, losses) = (self.index, &mut self.losses);
        self.calls.report(index, losses);
        self.audio.report(index, losses);
        self.tokens.report(index, losses);
    }

    /// Emits what is known of the audio and was withheld.
    pub(super) fn finish_audio(&mut self) {
        let rest = self.audio.rest().map(Piece::Audio);
        let file = self.audio.finish().map(Piece::AudioFile);
        let index = self.index;
        let new = rest.into_iter().chain(file);
        self.deltas.extend(new.map(|piece| delta(index, piece)));
    }

    /// Handles audio. Audio that cannot be decoded is kept, with a warning.
    pub(super) fn decode_audio(&mut self, audio: answer_json::Audio<'_>, starts_part: bool) {
        let at = (self.index, &mut self.losses);
        let taken = self.audio.take(audio, starts_part, at);
        for (starts_part, piece) in taken.new {
            let mut delta = delta(self.index, piece);
            delta.starts_part = starts_part;
            self.deltas.push(delta);
        }
        if taken.has_invalid_data {
            let field = format!("output.choices[{}].message.content.audio.data", self.index);
            let message = "audio is not base64, kept in extra";
            self.warnings
                .push(Warning::new(Code::AnswerPartDropped, field, message));
        }
    }
}
