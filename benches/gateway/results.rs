//! What came out: by row, by number, by variant, one for each round.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::bench::Value;
use crate::row::Row;
use crate::subject::Variant;

/// One number of a row, of all variants and rounds.
pub(crate) struct Line {
    pub(crate) row: Row,
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) drawn: bool,
    numbers: BTreeMap<Variant, Vec<f64>>,
}

/// The middle, the least and the most of some numbers.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Line {
    /// The rounds of a variant.
    pub(crate) fn spread(&self, variant: Variant) -> Option<Spread> {
        let mut numbers = self.numbers.get(&variant)?.clone();
        numbers.sort_by(f64::total_cmp);
        let middle = numbers.len() / 2;
        let upper = *numbers.get(middle)?;
        let median = if numbers.len() % 2 == 1 {
            upper
        } else {
            f64::midpoint(upper, *numbers.get(middle.checked_sub(1)?)?)
        };
        Some(Spread {
            median,
            least: *numbers.first()?,
            most: *numbers.last()?,
        })
    }

    /// A variant divided by the bare gateway.
    pub(crate) fn ratio(&self, variant: Variant) -> Option<f64> {
        let bare = self.spread(Variant::Bare)?.median;
        let ratio = self.spread(variant)?.median / bare;
        // How many of something there were is no result.
        (bare > 0.0 && ratio > 0.0 && !self.unit.is_empty()).then_some(ratio)
    }

    /// Whether a variant cannot be told from the bare gateway: it differs from it by no more than
    /// that from itself, or rounds of one lie among the rounds of the other.
    pub(crate) fn is_noise(&self, variant: Variant) -> bool {
        let far = |variant| self.ratio(variant).map(|ratio| ratio.ln().abs());
        let spreads = self.spread(Variant::Bare).zip(self.spread(variant));
        let (Some(ours), Some((bare, other))) = (far(variant), spreads) else {
            return false;
        };
        let among = bare.least <= other.most && other.least <= bare.most;
        among || far(Variant::Again).is_some_and(|noise| ours <= noise)
    }
}

/// All that came out.
pub(crate) struct Results {
    /// The machine, the day, where processes ran.
    pub(crate) conditions: Vec<String>,
    /// What was asked for and did not go well.
    pub(crate) faults: Vec<String>,
    /// By row, in the order of the table.
    pub(crate) lines: Vec<Line>,
    pub(crate) rounds: usize,
    pub(crate) length: Duration,
}

impl Results {
    /// Nothing yet.
    pub(crate) fn new(conditions: Vec<String>, rounds: usize, length: Duration) -> Self {
        Self {
            conditions,
            faults: Vec::new(),
            lines: Vec::new(),
            rounds,
            length,
        }
    }

    /// Takes what one measurement of a row gave.
    pub(crate) fn take(&mut self, row: Row, variant: Variant, values: Vec<Value>) {
        for value in values {
            let known = self.lines.iter_mut();
            let mut known = known.filter(|line| line.row == row && line.what == value.what);
            if let Some(line) = known.next() {
                line.numbers.entry(variant).or_default().push(value.number);
            } else {
                self.lines.push(Line {
                    row,
                    what: value.what,
                    unit: value.unit,
                    drawn: value.drawn,
                    numbers: BTreeMap::from([(variant, vec![value.number])]),
                });
            }
        }
    }

    /// Adds what follows from the rest: how much latency a gateway adds to none, round by round.
    pub(crate) fn derive(&mut self) {
        let mut added = Vec::new();
        for line in &mut self.lines {
            // The tail of a difference is no difference of tails, except for what a goal is set
            // for.
            let is_median = line.row == Row::Low && line.what.ends_with("p50");
            if !is_median && line.row != Row::LiveLatency {
                continue;
            }
            line.drawn = false;
            let Some(direct) = line.numbers.get(&Variant::Direct) else {
                continue;
            };
            let of = |(variant, numbers): (&Variant, &Vec<f64>)| {
                let pairs = numbers.iter().zip(direct);
                (
                    *variant,
                    pairs.map(|(with, without)| with - without).collect(),
                )
            };
            let numbers = line
                .numbers
                .iter()
                .filter(|(variant, _)| **variant != Variant::Direct);
            added.push(Line {
                row: line.row,
                what: line.what.replace("latency", "added to direct,"),
                unit: line.unit,
                drawn: true,
                numbers: numbers.map(of).collect(),
            });
        }
        self.lines.extend(added);
        self.lines.sort_by_key(|line| line.row);
    }

    /// As JSON, with every round.
    pub(crate) fn json(&self) -> String {
        let lines: Vec<Json> = self.lines.iter().map(Line::json).collect();
        let all = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "conditions": self.conditions,
            "rounds": self.rounds,
            "seconds": self.length.as_secs_f64(),
            "faults": self.faults,
            "lines": lines,
        });
        format!("{all:#}\n")
    }
}

impl Line {
    fn json(&self) -> Json {
        let mut variants = serde_json::Map::new();
        for (variant, rounds) in &self.numbers {
            let Some(spread) = self.spread(*variant) else {
                continue;
            };
            // Null where there is nothing to compare with.
            let compared = *variant != Variant::Bare && self.spread(Variant::Bare).is_some();
            let told = json!({
                "median": spread.median,
                "least": spread.least,
                "most": spread.most,
                "rounds": rounds,
                "ratio_to_bare": self.ratio(*variant).filter(|_| compared),
                "within_noise": compared.then(|| self.is_noise(*variant)),
            });
            variants.insert(variant.name().to_owned(), told);
        }
        let (row, title) = self.row.title();
        json!({
            "row": row,
            "title": title,
            "what": self.what,
            "unit": self.unit,
            "variants": variants,
        })
    }
}
