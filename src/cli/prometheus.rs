//! Parser of the Prometheus text format.

use std::collections::BTreeMap;

/// The samples of one scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers(Vec<Sample>);

/// A sample.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Numbers {
    /// Parses a page. Lines that are no samples are skipped.
    pub(crate) fn read(page: &str) -> Self {
        Self(page.lines().filter_map(sample).collect())
    }

    /// The sum of all series of a metric.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.sum_where(name, |_| true)
    }

    /// The sum of the series of a metric whose labels match.
    pub(crate) fn sum_where(
        &self,
        name: &str,
        fits: impl Fn(&BTreeMap<String, String>) -> bool,
    ) -> f64 {
        let samples = self.0.iter().filter(|sample| sample.name == name);
        // An empty sum is 0 here, and -0 in the standard library.
        samples
            .filter(|sample| fits(&sample.labels))
            .fold(0.0, |sum, sample| sum + sample.value)
    }

    /// The distinct values of a label of a metric.
    pub(crate) fn values(&self, name: &str, label: &str) -> Vec<String> {
        let samples = self.0.iter().filter(|sample| sample.name == name);
        let mut values: Vec<_> = samples
            .filter_map(|sample| sample.labels.get(label).cloned())
            .collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    /// The increase since `before`. A counter that decreased was reset.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let key = |sample: &Sample| (sample.name.clone(), sample.labels.clone());
        let old: BTreeMap<_, _> = before.0.iter().map(|s| (key(s), s.value)).collect();
        let grown = self.0.iter().map(|sample| {
            let old = old.get(&key(sample)).copied().unwrap_or(0.0);
            let value = match sample.value >= old {
                true => sample.value - old,
                false => sample.value,
            };
            Sample {
                value,
                ..sample.clone()
            }
        });
        Self(grown.collect())
    }

    /// A quantile of a histogram, as Prometheus estimates it: linear within each bucket.
    pub(crate) fn quantile(
        &self,
        name: &str,
        quantile: f64,
        fits: impl Fn(&BTreeMap<String, String>) -> bool,
    ) -> Option<f64> {
        let bucket = format!("{name}_bucket");
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for sample in self
            .0
            .iter()
            .filter(|s| s.name == bucket && fits(&s.labels))
        {
            let bound: f64 = sample.labels.get("le")?.parse().ok()?;
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += sample.value,
                None => buckets.push((bound, sample.value)),
            }
        }
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (_, all) = *buckets.last()?;
        if all <= 0.0 {
            return None;
        }
        let rank = quantile * all;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= rank && count > below {
                if bound.is_infinite() {
                    return Some(lower);
                }
                return Some(lower + (bound - lower) * (rank - below) / (count - below));
            }
            (lower, below) = (bound, count);
        }
        None
    }
}

/// `name{label="value",...} number`.
fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, self::labels(labels.strip_suffix('}')?)?),
        None => (series, BTreeMap::new()),
    };
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

fn labels(text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => match letters.next()?.1 {
                    'n' => value.push('\n'),
                    letter => value.push(letter),
                },
                (_, letter) => value.push(letter),
            }
        };
        labels.insert(name.to_owned(), value);
        rest = after.get(end + 1..)?;
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"# HELP x Words.
x_total{a="1",b="q\"},{\n"} 3
x_total{a="2",b=""} 4
h_bucket{le="1"} 2
h_bucket{le="2"} 6
h_bucket{le="+Inf"} 8
plain 1.5e3
broken{a="1 3
"#;

    #[test]
    fn a_page_is_read_with_its_odd_labels() {
        let numbers = Numbers::read(PAGE);
        assert_eq!(numbers.0.len(), 6);
        assert!((numbers.sum("x_total") - 7.0).abs() < 1e-9);
        let one = numbers.sum_where("x_total", |labels| labels["a"] == "1");
        assert!((one - 3.0).abs() < 1e-9);
        assert_eq!(numbers.values("x_total", "b"), ["", "q\"},{\n"]);
        assert!((numbers.sum("plain") - 1500.0).abs() < 1e-9);
        assert!(numbers.sum("nothing").abs() < 1e-9);
    }

    #[test]
    fn growth_and_quantiles_are_those_of_prometheus() {
        let numbers = Numbers::read(PAGE);
        let quantile = |q| numbers.quantile("h", q, |_| true);
        assert_eq!(quantile(0.5), Some(1.5));
        assert_eq!(quantile(0.25), Some(1.0));
        assert_eq!(quantile(0.99), Some(2.0));
        assert_eq!(numbers.quantile("none", 0.5, |_| true), None);
        let before = Numbers::read("x_total{a=\"2\",b=\"\"} 1\nplain 9999\n");
        let grown = numbers.since(&before);
        assert!((grown.sum("x_total") - 6.0).abs() < 1e-9);
        assert!((grown.sum("plain") - 1500.0).abs() < 1e-9);
    }
}
