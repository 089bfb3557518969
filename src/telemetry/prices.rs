//! The operator's rate card: what a million tokens of each model cost.

use std::collections::HashMap;

use super::token_counts::Tokens;

/// The tokens that a price is for.
const UNIT: f64 = 1e6;

/// What a million tokens cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Of the question.
    pub input: f64,
    /// Of the answer.
    pub output: f64,
}

impl Rate {
    /// What an answer costs.
    pub fn cost(self, used: &Tokens) -> f64 {
        let count = |tokens: Option<i32>| f64::from(tokens.unwrap_or(0).max(0));
        (count(used.input()) * self.input + count(used.output()) * self.output) / UNIT
    }
}

/// The rates of all models, in one currency.
#[derive(Clone, Debug, Default)]
pub struct Card {
    currency: String,
    rates: HashMap<String, Rate>,
}

impl Card {
    /// A card of these rates: by model, of the question and of the answer.
    pub fn new(currency: String, rates: &[(String, [f64; 2])]) -> Self {
        let rates = rates.iter().map(|(model, [input, output])| {
            let (input, output) = (*input, *output);
            (model.clone(), Rate { input, output })
        });
        Self {
            currency,
            rates: rates.collect(),
        }
    }

    /// The rate of a model, if there is one.
    pub fn rate(&self, model: &str) -> Option<Rate> {
        self.rates.get(model).copied()
    }

    /// What the prices are in.
    pub fn currency(&self) -> &str {
        &self.currency
    }
}
