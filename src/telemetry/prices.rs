//! Prices per million tokens of each model.

use std::collections::HashMap;

use super::token_counts::Tokens;

/// The number of tokens that a price is for.
const UNIT: f64 = 1e6;

/// The price of a million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Of input.
    pub input: f64,
    /// Of output.
    pub output: f64,
}

impl Rate {
    /// The cost of an answer.
    pub fn cost(self, used: &Tokens) -> f64 {
        let count = |tokens: Option<i32>| f64::from(tokens.unwrap_or(0).max(0));
        (count(used.input()) * self.input + count(used.output()) * self.output) / UNIT
    }
}

/// The rates of all models, in one currency.
#[derive(Clone, Debug, Default)]
pub struct RateCard {
    currency: String,
    rates: HashMap<String, Rate>,
}

impl RateCard {
    /// Rates by model: input and output.
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

    /// The currency of the prices.
    pub fn currency(&self) -> &str {
        &self.currency
    }
}
