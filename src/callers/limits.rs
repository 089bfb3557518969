//! What a caller may use. Nothing said is no limit.

/// What one caller may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The models that it may name, with `*` for any characters; empty: all.
    pub models: Vec<String>,
    /// How often it may call in a minute; 0: as often as it likes.
    pub requests_per_minute: u64,
    /// How many tokens, in and out, it may use in a minute; 0: as many as it likes.
    pub tokens_per_minute: u64,
    /// How many calls it may have at the same time; 0: as many as it likes.
    pub max_streams: u64,
    /// How many tokens it may use in a day of UTC; 0: as many as it likes.
    pub tokens_per_day: u64,
}

/// What is said of one caller; what is not said is as for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Instead of [`Limits::models`].
    pub models: Option<Vec<String>>,
    /// Instead of [`Limits::requests_per_minute`].
    pub requests_per_minute: Option<u64>,
    /// Instead of [`Limits::tokens_per_minute`].
    pub tokens_per_minute: Option<u64>,
    /// Instead of [`Limits::max_streams`].
    pub max_streams: Option<u64>,
    /// Instead of [`Limits::tokens_per_day`].
    pub tokens_per_day: Option<u64>,
}

/// The largest number that can be said: what a sum of many still holds.
pub const LARGEST: u64 = 1_000_000_000_000;

impl Overrides {
    /// The limits of this caller.
    pub fn over(&self, all: &Limits) -> Limits {
        let models = self.models.as_ref().unwrap_or(&all.models);
        Limits {
            models: models.clone(),
            requests_per_minute: self.requests_per_minute.unwrap_or(all.requests_per_minute),
            tokens_per_minute: self.tokens_per_minute.unwrap_or(all.tokens_per_minute),
            max_streams: self.max_streams.unwrap_or(all.max_streams),
            tokens_per_day: self.tokens_per_day.unwrap_or(all.tokens_per_day),
        }
    }

    /// The numbers with their names, as the file writes them.
    pub fn numbers(&self) -> [(&'static str, Option<u64>); 4] {
        [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("max_streams", self.max_streams),
            ("tokens_per_day", self.tokens_per_day),
        ]
    }

    /// The place of a number, by its name.
    pub(super) fn number(&mut self, name: &str) -> Option<&mut Option<u64>> {
        match name {
            "requests_per_minute" => Some(&mut self.requests_per_minute),
            "tokens_per_minute" => Some(&mut self.tokens_per_minute),
            "max_streams" => Some(&mut self.max_streams),
            "tokens_per_day" => Some(&mut self.tokens_per_day),
            _ => None,
        }
    }
}

impl Limits {
    /// Whether the caller may name this model.
    pub(super) fn allow(&self, model: &str) -> bool {
        let fits = |pattern: &String| fits(pattern, model);
        self.models.is_empty() || self.models.iter().any(fits)
    }
}

/// Whether a text is one that a pattern means; `*` stands for any characters, none included.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    fits_where(pattern, text, |_| true)
}

/// The same where `*` stands for these bytes alone.
pub(super) fn fits_where(pattern: &str, text: &str, may: fn(u8) -> bool) -> bool {
    let may = |text: &str| text.bytes().all(may);
    let mut pieces = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    // The first place where a piece fits leaves the most for those after it.
    for piece in pieces {
        match rest.split_once(piece) {
            Some((star, after)) if may(star) => rest = after,
            Some(_) | None => return false,
        }
    }
    rest.strip_suffix(last).is_some_and(may)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_letters() {
        for (pattern, text, expected) in [
            ("qwen-vl", "qwen-vl", true),
            ("qwen-vl", "qwen-vl-max", false),
            ("qwen*", "qwen", true),
            ("qwen*", "qwen3-vl", true),
            ("*-vl", "qwen-vl", true),
            ("*-vl", "qwen-vl-max", false),
            ("q*-vl-*", "qwen3-vl-plus", true),
            ("q*-vl-*", "qwen3-plus", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*ab*ab", "abab", true),
            ("*ab*ab", "ab", false),
            ("*", "", true),
            ("**", "x", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_not_said_of_one_is_as_for_all_and_zero_is_no_limit() {
        let all = Limits {
            models: vec!["a*".to_owned()],
            requests_per_minute: 60,
            tokens_per_day: 1000,
            ..Limits::default()
        };
        let mut one = Overrides::default();
        assert_eq!(one.over(&all), all);
        assert!(all.allow("abc") && !all.allow("b"));
        *one.number("requests_per_minute").unwrap() = Some(0);
        one.models = Some(Vec::new());
        let limits = one.over(&all);
        assert_eq!(
            (limits.requests_per_minute, limits.tokens_per_day),
            (0, 1000)
        );
        assert!(limits.allow("b"));
        for (name, _) in one.numbers() {
            assert!(one.number(name).is_some(), "{name}");
        }
    }
}
