//! Parsers of values: durations, sizes, numbers, lists.

use std::net::SocketAddr;
use std::time::Duration;

use crate::secret::Secret;

use super::address::Address;

/// Why a text is invalid. Never quotes the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ValueError {
    /// The problem.
    pub(crate) problem: String,
    /// How to fix it.
    pub(crate) fix: String,
}

impl ValueError {
    /// Creates an error. Both texts are lower-case, without a full stop.
    pub(crate) fn new(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            fix: fix.into(),
        }
    }
}

/// `"250ms"`, `"30s"`, `"10m"`, `"24h"`.
pub(crate) fn duration(text: &str) -> Result<Duration, ValueError> {
    let wrong = || {
        let fix = "write a whole number and ms, s, m or h, as in \"30s\"";
        ValueError::new("it is not a duration", fix)
    };
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    milliseconds.map(Duration::from_millis).ok_or_else(wrong)
}

/// `"16MiB"`, `"512KiB"`, or plain bytes.
pub(crate) fn size(text: &str) -> Result<usize, ValueError> {
    let wrong = || {
        let fix = "write a whole number of bytes, or one with KiB, MiB or GiB, as in \"16MiB\"";
        ValueError::new("it is not a number of bytes", fix)
    };
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let bytes = match unit {
        "" | "B" => Some(number),
        "KiB" => number.checked_mul(1 << 10),
        "MiB" => number.checked_mul(1 << 20),
        "GiB" => number.checked_mul(1 << 30),
        _ => None,
    };
    bytes
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(wrong)
}

/// An integer.
pub(crate) fn count(text: &str) -> Result<u64, ValueError> {
    let wrong = |_| ValueError::new("it is not a whole number", "write digits only");
    text.parse().map_err(wrong)
}

/// `true` or `false`.
pub(crate) fn switch(text: &str) -> Result<bool, ValueError> {
    let wrong = |_| ValueError::new("it is neither true nor false", "write true or false");
    text.parse().map_err(wrong)
}

/// An IP address with a port, or a Unix socket.
pub(crate) fn address(text: &str) -> Result<Address, ValueError> {
    let wrong = |_| {
        let fix = "write an IP address and a port, as in 127.0.0.1:50051 or [::]:50051, \
                    or a Unix socket, as in unix:/run/dashgate.sock";
        ValueError::new("it is not an address", fix)
    };
    text.parse().map_err(wrong)
}

/// An IP address with a port, or nothing.
pub(crate) fn address_if_any(text: &str) -> Result<Option<SocketAddr>, ValueError> {
    if text.is_empty() {
        return Ok(None);
    }
    match address(text)? {
        Address::Tcp(address) => Ok(Some(address)),
        Address::Unix(_) => Err(ValueError::new(
            "it is not an IP address and port",
            "write it as in 127.0.0.1:9464",
        )),
    }
}

/// A text that is valid in a header and in a log line.
pub(crate) fn text(text: &str) -> Result<Option<String>, ValueError> {
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Ok((!text.is_empty()).then(|| text.to_owned()));
    }
    let problem = "it has characters that a header cannot contain";
    Err(ValueError::new(problem, "use printable ASCII only"))
}

/// `a,b*,c`.
pub(crate) fn names(text: &str) -> Result<Vec<String>, ValueError> {
    list(text, ',').ok_or_else(|| {
        let fix = "write names separated by commas, as in a,b*";
        ValueError::new("it has an empty name", fix)
    })
}

/// A text that is required.
pub(crate) fn name(text: &str) -> Result<String, ValueError> {
    match text.trim() {
        "" => Err(ValueError::new("it is empty", "write a name")),
        name => Ok(name.to_owned()),
    }
}

/// `old=new,...`.
pub(crate) fn aliases(text: &str) -> Result<Vec<(String, String)>, ValueError> {
    let fix = "write pairs separated by commas, as in old=new,older=new";
    let pairs = pairs(text, fix)?;
    match pairs.iter().find(|(old, new)| old == new) {
        Some((name, _)) => Err(ValueError::new(
            format!("{name:?} is an alias of itself"),
            "remove it",
        )),
        None => Ok(pairs),
    }
}

/// `model=next|next,...`.
pub(crate) fn fallbacks(text: &str) -> Result<Vec<(String, Vec<String>)>, ValueError> {
    let fix = "write a model and its fallbacks, as in a=b|c,d=e";
    let mut read = Vec::new();
    for (model, next) in pairs(text, fix)? {
        let next = list(&next, '|').ok_or_else(|| ValueError::new("it has an empty name", fix))?;
        let mut seen = vec![&model];
        for name in &next {
            if seen.contains(&name) {
                let problem = format!("{name:?} is listed twice for {model:?}");
                return Err(ValueError::new(problem, "name each model once"));
            }
            seen.push(name);
        }
        read.push((model, next));
    }
    Ok(read)
}

/// `model=30s,...`, at most a day.
pub(crate) fn durations(text: &str) -> Result<Vec<(String, Duration)>, ValueError> {
    const MOST: Duration = Duration::from_secs(24 * 3600);
    let fix = "write models and durations, as in qwen-image*=5m,qvq*=2m";
    let read = pairs(text, fix)?.into_iter().map(|(model, text)| {
        let duration = duration(&text)?;
        match duration.is_zero() || duration > MOST {
            true => Err(ValueError::new(
                format!("{text:?} is out of range"),
                "write 1ms to 24h",
            )),
            false => Ok((model, duration)),
        }
    });
    read.collect()
}

/// `model=64,...`.
pub(crate) fn counts(text: &str) -> Result<Vec<(String, usize)>, ValueError> {
    let fix = "write models and numbers, as in qwen-audio*=64,qvq*=8";
    let read = pairs(text, fix)?.into_iter().map(|(model, text)| {
        let number = text
            .parse()
            .ok()
            .filter(|number| (1..=1_000_000).contains(number));
        let wrong = || ValueError::new(format!("{text:?} is out of range"), "write 1 to 1000000");
        Ok((model, number.ok_or_else(wrong)?))
    });
    read.collect()
}

/// `model=16MiB,...`, from 64 KiB to 1 GiB.
pub(crate) fn sizes(text: &str) -> Result<Vec<(String, usize)>, ValueError> {
    const RANGE: std::ops::RangeInclusive<usize> = 64 << 10..=1 << 30;
    let fix = "write models and sizes, as in qwen-audio*=6MiB,qwen3-vl*=16MiB";
    let read = pairs(text, fix)?.into_iter().map(|(model, text)| {
        let size = size(&text)?;
        let wrong = || ValueError::new(format!("{text:?} is out of range"), "write 64KiB to 1GiB");
        match RANGE.contains(&size) {
            true => Ok((model, size)),
            false => Err(wrong()),
        }
    });
    read.collect()
}

/// `model=input|output,...`: prices, none negative.
pub(crate) fn rates(text: &str) -> Result<Vec<(String, [f64; 2])>, ValueError> {
    let fix = "write a model and two prices for a million tokens, as in a=0.8|2,b=1.5|4.5";
    let price = |text: &str| {
        let price: f64 = text.trim().parse().ok()?;
        (price.is_finite() && price >= 0.0).then_some(price)
    };
    let mut read = Vec::new();
    for (model, prices) in pairs(text, fix)? {
        let prices = prices.split_once('|');
        let prices = prices.and_then(|(input, output)| Some([price(input)?, price(output)?]));
        let wrong = || ValueError::new(format!("the prices of {model:?} cannot be read"), fix);
        let prices = prices.ok_or_else(wrong)?;
        read.push((model, prices));
    }
    Ok(read)
}

/// A number from 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, ValueError> {
    let wrong = || {
        ValueError::new(
            "it is not a share",
            "write a number from 0 to 1, as in 0.05",
        )
    };
    let share: f64 = text.parse().map_err(|_| wrong())?;
    (0.0..=1.0)
        .contains(&share)
        .then_some(share)
        .ok_or_else(wrong)
}

/// The URL of a trace receiver, or nothing.
pub(crate) fn receiver(text: &str) -> Result<Option<String>, ValueError> {
    if text.is_empty() {
        return Ok(None);
    }
    let fix = "write http://host:4318 or https://..., without user, query or /v1/traces";
    let wrong = || ValueError::new("it is not the address of an OTLP receiver", fix);
    let url = url::Url::parse(text).map_err(|_| wrong())?;
    let plain = url.username().is_empty() && url.password().is_none();
    let bare = url.query().is_none() && url.fragment().is_none();
    let http = matches!(url.scheme(), "http" | "https") && url.has_host();
    let whole = !url.path().trim_end_matches('/').ends_with("/v1/traces");
    if plain && bare && http && whole {
        Ok(Some(text.to_owned()))
    } else {
        Err(wrong())
    }
}

/// `name=value,...` for HTTP. Never quoted: a value may be a key.
pub(crate) fn headers(text: &str) -> Result<Secret, ValueError> {
    let fits = |pair: &str| {
        pair.split_once('=').is_some_and(|(name, value)| {
            let name = name.trim();
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !name.is_empty()
                && name.bytes().all(token)
                && value.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        })
    };
    if text.is_empty() || text.split(',').all(fits) {
        return Ok(Secret::new(text));
    }
    let fix = "write pairs separated by commas, as in authorization=Bearer x,tenant=y";
    Err(ValueError::new("it is not made of pairs", fix))
}

/// A log filter: levels, each alone or for a target.
pub(crate) fn filter(text: &str) -> Result<String, ValueError> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in text.split(',') {
        let (module, level) = match directive.rsplit_once('=') {
            Some((module, level)) => (Some(module.trim()), level),
            None => (None, directive),
        };
        let fix = "write modules and levels, as in info,dashgate::relay=debug";
        if module.is_some_and(|module| module.contains(['[', '='])) {
            return Err(ValueError::new("it filters by span or field", fix));
        }
        if module == Some("") {
            return Err(ValueError::new("it has a level for no module", fix));
        }
        let level = level.trim().to_ascii_lowercase();
        if !LEVELS.contains(&level.as_str()) {
            let fix = "write off, error, warn, info, debug or trace, \
                        alone or for a module, as in info,dashgate::relay=debug";
            return Err(ValueError::new("it has no valid level", fix));
        }
    }
    Ok(text.to_owned())
}

fn pairs(text: &str, fix: &str) -> Result<Vec<(String, String)>, ValueError> {
    let wrong = |problem: &str| ValueError::new(problem, fix);
    let mut read: Vec<(String, String)> = Vec::new();
    for pair in list(text, ',').ok_or_else(|| wrong("it has an empty pair"))? {
        let (left, right) = pair
            .split_once('=')
            .map(|(left, right)| (left.trim(), right.trim()))
            .filter(|(left, right)| !left.is_empty() && !right.is_empty())
            .ok_or_else(|| wrong("it is not made of pairs"))?;
        if read.iter().any(|(name, _)| name == left) {
            return Err(wrong("a name is set twice"));
        }
        read.push((left.to_owned(), right.to_owned()));
    }
    Ok(read)
}

fn list(text: &str, between: char) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(between)
        .map(|name| name.trim().to_owned())
        .map(|name| (!name.is_empty()).then_some(name))
        .collect()
}

/// The leading digits, and the rest.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, expected) in [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("10m", Some(600_000)),
            ("24h", Some(86_400_000)),
            ("5 s", Some(5_000)),
            ("30", None),
            ("1m30s", None),
            ("-1s", None),
            ("1.5s", None),
            ("", None),
            ("s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ] {
            let read = duration(text).ok();
            assert_eq!(read, expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        for (text, expected) in [
            ("16MiB", Some(16 << 20)),
            ("512 KiB", Some(512 << 10)),
            ("1GiB", Some(1 << 30)),
            ("10485760", Some(10_485_760)),
            ("7B", Some(7)),
            ("16MB", None),
            ("16mib", None),
            ("many", None),
            ("18446744073709551615GiB", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn lists_refuse_empty_and_duplicate_elements() {
        assert_eq!(names("a, b*").unwrap(), ["a", "b*"]);
        assert!(names("").unwrap().is_empty());
        assert!(names("a,,b").is_err());
        assert_eq!(aliases("a=b").unwrap(), [("a".into(), "b".into())]);
        for text in ["a", "a=", "=b", "a=a", "a=b,a=c"] {
            assert!(aliases(text).is_err(), "{text}");
        }
        let expected = [("a".to_owned(), vec!["b".to_owned(), "c".to_owned()])];
        assert_eq!(fallbacks("a=b|c").unwrap(), expected);
        for text in ["a=b|", "a=b|b", "a=a", "a=b,a=c"] {
            assert!(fallbacks(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tables_of_durations_and_numbers_have_ranges() {
        let minute = Duration::from_secs(60);
        assert_eq!(durations("a*=1m").unwrap(), [("a*".to_owned(), minute)]);
        assert_eq!(counts("a=64").unwrap(), [("a".to_owned(), 64)]);
        for text in ["a=0s", "a=25h", "a=soon", "a"] {
            assert!(durations(text).is_err(), "{text}");
        }
        for text in ["a=0", "a=1000001", "a=-1", "a=many"] {
            assert!(counts(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_two_prices() {
        let expected = [("a".to_owned(), [0.8, 2.0]), ("b".to_owned(), [0.0, 4.5])];
        assert_eq!(rates("a=0.8|2, b=0|4.5").unwrap(), expected);
        assert!(rates("").unwrap().is_empty());
        for text in [
            "a=1",
            "a=1|",
            "a=1|2|3",
            "a=-1|2",
            "a=NaN|1",
            "a=1|inf",
            "a=1|2,a=1|2",
        ] {
            assert!(rates(text).is_err(), "{text}");
        }
    }

    #[test]
    fn filters_name_levels() {
        for text in [
            "info",
            "WARN",
            "info,dashgate::relay=debug",
            "h2::proto=off",
        ] {
            assert!(filter(text).is_ok(), "{text}");
        }
        for text in [
            "inof",
            "dashgate=loud",
            "info,",
            "",
            "=debug",
            "info, =debug",
            "a[b{c=d}]=trace",
            "[span]=info",
        ] {
            assert!(filter(text).is_err(), "{text}");
        }
    }
}
