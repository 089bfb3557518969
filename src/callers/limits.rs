//! Limits of a caller.

use crate::chat::glob;

/// Limits of a caller. Zero or empty is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The models that it may use, with `*` for any characters. Empty: all.
    pub models: Vec<String>,
    /// Calls per minute.
    pub requests_per_minute: u64,
    /// Input and output tokens per minute.
    pub tokens_per_minute: u64,
    /// Concurrent calls.
    pub max_streams: u64,
    /// Input and output tokens per day in UTC.
    pub tokens_per_day: u64,
    /// Seconds of audio of live sessions, input and output, per day in UTC.
    pub audio_seconds_per_day: u64,
}

/// Limits of one caller that override the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Overrides [`Limits::models`].
    pub models: Option<Vec<String>>,
    /// Overrides [`Limits::requests_per_minute`].
    pub requests_per_minute: Option<u64>,
    /// Overrides [`Limits::tokens_per_minute`].
    pub tokens_per_minute: Option<u64>,
    /// Overrides [`Limits::max_streams`].
    pub max_streams: Option<u64>,
    /// Overrides [`Limits::tokens_per_day`].
    pub tokens_per_day: Option<u64>,
    /// Overrides [`Limits::audio_seconds_per_day`].
    pub audio_seconds_per_day: Option<u64>,
}

/// The highest limit: sums of many still fit into 64 bits.
pub const MAX_LIMIT: u64 = 1_000_000_000_000;

impl Overrides {
    /// Applies the overrides to the defaults.
    pub fn apply_to(&self, all: &Limits) -> Limits {
        let models = self.models.as_ref().unwrap_or(&all.models);
        Limits {
            models: models.clone(),
            requests_per_minute: self.requests_per_minute.unwrap_or(all.requests_per_minute),
            tokens_per_minute: self.tokens_per_minute.unwrap_or(all.tokens_per_minute),
            max_streams: self.max_streams.unwrap_or(all.max_streams),
            tokens_per_day: self.tokens_per_day.unwrap_or(all.tokens_per_day),
            audio_seconds_per_day: self
                .audio_seconds_per_day
                .unwrap_or(all.audio_seconds_per_day),
        }
    }

    /// The numeric limits with their names in the file.
    pub fn numbers(&self) -> [(&'static str, Option<u64>); 5] {
        [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("max_streams", self.max_streams),
            ("tokens_per_day", self.tokens_per_day),
            ("audio_seconds_per_day", self.audio_seconds_per_day),
        ]
    }

    /// The numeric limit with this name.
    pub(super) fn number(&mut self, name: &str) -> Option<&mut Option<u64>> {
        match name {
            "requests_per_minute" => Some(&mut self.requests_per_minute),
            "tokens_per_minute" => Some(&mut self.tokens_per_minute),
            "max_streams" => Some(&mut self.max_streams),
            "tokens_per_day" => Some(&mut self.tokens_per_day),
            "audio_seconds_per_day" => Some(&mut self.audio_seconds_per_day),
            _ => None,
        }
    }
}

impl Limits {
    /// Whether the caller may use this model.
    pub(super) fn allows(&self, model: &str) -> bool {
        let matches = |pattern: &String| glob::matches(pattern, model);
        self.models.is_empty() || self.models.iter().any(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_overrides_are_the_defaults_and_zero_is_no_limit() {
        let all = Limits {
            models: vec!["a*".to_owned()],
            requests_per_minute: 60,
            tokens_per_day: 1000,
            ..Limits::default()
        };
        let mut one = Overrides::default();
        assert_eq!(one.apply_to(&all), all);
        assert!(all.allows("abc") && !all.allows("b"));
        *one.number("requests_per_minute").unwrap() = Some(0);
        one.models = Some(Vec::new());
        let limits = one.apply_to(&all);
        assert_eq!(
            (limits.requests_per_minute, limits.tokens_per_day),
            (0, 1000)
        );
        assert!(limits.allows("b"));
        for (name, _) in one.numbers() {
            assert!(one.number(name).is_some(), "{name}");
        }
    }
}
