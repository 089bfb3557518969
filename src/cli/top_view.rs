//! The view of `dashgate top`: as a value, as JSON and as lines.

use std::fmt::Write as _;

use serde::Serialize;

use crate::telemetry::in_flight::InFlight;
use crate::telemetry::metric_definitions;

use super::prometheus::Numbers;

/// The view. Rates and latencies are for the time since the previous sample, or since the start of
/// the gateway.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Board {
    /// Version of the gateway.
    pub(crate) version: String,
    /// The interval of the rates, in seconds.
    pub(crate) seconds: f64,
    /// Uptime of the gateway, in seconds.
    pub(crate) uptime_seconds: f64,
    /// Calls in flight.
    pub(crate) in_flight: f64,
    /// Limit of calls in flight.
    pub(crate) in_flight_limit: f64,
    /// Open connections.
    pub(crate) connections: f64,
    /// Resident memory.
    pub(crate) memory_bytes: f64,
    /// Completed calls per second.
    pub(crate) calls_per_second: f64,
    /// Failed calls per second, without cancelled ones.
    pub(crate) failed_per_second: f64,
    /// Calls per second refused because of a limit.
    pub(crate) shed_per_second: f64,
    /// Retries per second.
    pub(crate) retries_per_second: f64,
    /// Input tokens per second.
    pub(crate) input_tokens_per_second: f64,
    /// Output tokens per second.
    pub(crate) output_tokens_per_second: f64,
    /// Costs since the start.
    pub(crate) cost: f64,
    /// By model.
    pub(crate) models: Vec<Model>,
    /// The calls in flight, the oldest first.
    pub(crate) calls: Vec<InFlight>,
}

/// The view of one model.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Model {
    /// Its name.
    pub(crate) model: String,
    /// Completed calls per second.
    pub(crate) calls_per_second: f64,
    /// The share of them that failed.
    pub(crate) failed: f64,
    /// Median time to first token.
    pub(crate) ttft_p50_seconds: Option<f64>,
    /// 95th percentile of the time to first token.
    pub(crate) ttft_p95_seconds: Option<f64>,
    /// Median time between chunks.
    pub(crate) chunk_p50_seconds: Option<f64>,
    /// Output tokens per second.
    pub(crate) output_tokens_per_second: f64,
    /// Input tokens since the start.
    pub(crate) input_tokens: f64,
    /// Output tokens since the start.
    pub(crate) output_tokens: f64,
}

/// A sample of a gateway's metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// The metrics.
    pub(crate) numbers: Numbers,
    /// The calls in flight.
    pub(crate) calls: Vec<InFlight>,
    /// Time of the sample, in seconds since 1970.
    pub(crate) at: f64,
}

impl Board {
    /// The view of a sample, relative to the previous one.
    pub(crate) fn of(now: &Look, before: Option<&Look>) -> Self {
        let all = &now.numbers;
        let grown = before.map_or_else(|| all.clone(), |before| all.since(&before.numbers));
        let uptime = (now.at - all.sum(metric_definitions::PROCESS_START.name)).max(0.0);
        let seconds = before.map_or(uptime, |before| now.at - before.at).max(1e-3);
        let rate = |name: &str| grown.sum(name) / seconds;
        let tokens = |kind: &str| {
            let sum = grown.sum_where(metric_definitions::TOKENS.name, |labels| {
                labels.get("kind").is_some_and(|found| found == kind)
            });
            sum / seconds
        };
        let failed = grown.sum_where(metric_definitions::CALLS.name, |labels| {
            labels
                .get("outcome")
                .is_some_and(|outcome| is_fault(outcome))
        });
        let mut models: Vec<_> = all
            .values(metric_definitions::CALLS.name, "model")
            .into_iter()
            .map(|model| Model::of(model, all, &grown, seconds))
            .collect();
        models.sort_by(|one, other| other.output_tokens.total_cmp(&one.output_tokens));
        let version = all.values(metric_definitions::BUILD.name, "version");
        Self {
            version: version.into_iter().next().unwrap_or_default(),
            seconds,
            uptime_seconds: uptime,
            in_flight: all.sum(metric_definitions::IN_FLIGHT.name),
            in_flight_limit: all.sum(metric_definitions::LIMIT.name),
            connections: all.sum(metric_definitions::CONNECTIONS.name),
            memory_bytes: all.sum(metric_definitions::PROCESS_RESIDENT.name),
            calls_per_second: rate(metric_definitions::CALLS.name),
            failed_per_second: failed / seconds,
            shed_per_second: rate(metric_definitions::SHED.name),
            retries_per_second: rate(metric_definitions::RETRIES.name),
            input_tokens_per_second: tokens("input"),
            output_tokens_per_second: tokens("output"),
            cost: all.sum(metric_definitions::COST.name),
            models,
            calls: now.calls.clone(),
        }
    }

    /// The lines for a terminal of this size.
    pub(crate) fn lines(&self, width: usize, height: usize) -> Vec<String> {
        let mut lines = vec![
            format!(
                "dashgate {}   up {}   memory {:.1} MiB   connections {}",
                self.version,
                span(self.uptime_seconds),
                self.memory_bytes / f64::from(1 << 20),
                self.connections
            ),
            format!(
                "in flight {} of {}   calls {:.1}/s   failed {:.1}/s   shed {:.1}/s   \
                 retries {:.1}/s",
                self.in_flight,
                self.in_flight_limit,
                self.calls_per_second,
                self.failed_per_second,
                self.shed_per_second,
                self.retries_per_second
            ),
            format!(
                "tokens in {:.0}/s   out {:.0}/s   cost {:.4}",
                self.input_tokens_per_second, self.output_tokens_per_second, self.cost
            ),
            String::new(),
            format!(
                "{:<28} {:>8} {:>7} {:>9} {:>9} {:>9} {:>9} {:>11}",
                "MODEL", "CALLS/S", "FAILED", "TTFT P50", "TTFT P95", "CHUNK P50", "OUT/S", "OUT"
            ),
        ];
        lines.extend(self.models.iter().map(Model::line));
        lines.push(String::new());
        lines.push(format!(
            "{:>8} {:<9} {:<14} {:<28} {:<14} {:>6} {:>7} {:<}",
            "AGE", "STATE", "METHOD", "MODEL", "CALLER", "CHUNKS", "TOKENS", "CALL"
        ));
        lines.extend(self.calls.iter().map(call_line));
        let hidden = lines.len().saturating_sub(height.max(1));
        if hidden > 0 {
            lines.truncate(height.saturating_sub(1));
            lines.push(format!("... and {} more lines", hidden + 1));
        }
        lines.iter().map(|line| cut(line, width)).collect()
    }
}

impl Model {
    fn of(model: String, all: &Numbers, grown: &Numbers, seconds: f64) -> Self {
        let is_it = |label: Option<&String>| label == Some(&model);
        let calls = grown.sum_where(metric_definitions::CALLS.name, |labels| {
            is_it(labels.get("model"))
        });
        let failed = grown.sum_where(metric_definitions::CALLS.name, |labels| {
            is_it(labels.get("model")) && labels.get("outcome").is_some_and(|o| is_fault(o))
        });
        let tokens = |numbers: &Numbers, kind: &str| {
            numbers.sum_where(metric_definitions::TOKENS.name, |labels| {
                is_it(labels.get("model")) && labels.get("kind").is_some_and(|k| k == kind)
            })
        };
        let quantile = |name: &str, quantile| {
            grown.quantile(name, quantile, |labels| is_it(labels.get("model")))
        };
        Self {
            calls_per_second: calls / seconds,
            failed: if calls > 0.0 { failed / calls } else { 0.0 },
            ttft_p50_seconds: quantile(metric_definitions::FIRST_TOKEN.name, 0.5),
            ttft_p95_seconds: quantile(metric_definitions::FIRST_TOKEN.name, 0.95),
            chunk_p50_seconds: quantile(metric_definitions::CHUNK.name, 0.5),
            output_tokens_per_second: tokens(grown, "output") / seconds,
            input_tokens: tokens(all, "input"),
            output_tokens: tokens(all, "output"),
            model,
        }
    }

    fn line(&self) -> String {
        format!(
            "{:<28} {:>8.1} {:>6.1}% {:>9} {:>9} {:>9} {:>9.0} {:>11.0}",
            plain(&self.model, 28),
            self.calls_per_second,
            self.failed * 100.0,
            time(self.ttft_p50_seconds),
            time(self.ttft_p95_seconds),
            time(self.chunk_p50_seconds),
            self.output_tokens_per_second,
            self.output_tokens
        )
    }
}

fn call_line(call: &InFlight) -> String {
    let mut line = format!(
        "{:>8} {:<9} {:<14} {:<28} {:<14} {:>6} ",
        span(call.age_seconds),
        plain(&call.state, 9),
        plain(&call.method, 14),
        plain(&call.model, 28),
        plain(call.caller.as_deref().unwrap_or("-"), 14),
        call.chunks
    );
    let audio = call.input_audio_seconds + call.output_audio_seconds;
    let tokens = match call.output_tokens {
        Some(tokens) => tokens.to_string(),
        None if call.uploaded_bytes > 0 => format!("{} B", call.uploaded_bytes),
        // A live session: the audio in both directions.
        None if audio > 0.0 => format!("{audio:.0} s"),
        None => "-".to_owned(),
    };
    let _ = write!(line, "{tokens:>7} {}", plain(&call.request_id, 36));
    line
}

/// Whether a call with this outcome failed. A cancelled one did not.
fn is_fault(outcome: &str) -> bool {
    !matches!(outcome, "OK" | "CANCELLED")
}

/// A name without control characters, truncated to its column.
fn plain(name: &str, width: usize) -> String {
    let letters = name.chars().filter(|letter| !letter.is_control());
    letters.take(width).collect()
}

fn cut(line: &str, width: usize) -> String {
    line.chars().take(width).collect()
}

fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.2} s"),
    }
}

fn span(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.1}s")
    } else if seconds < 3600.0 {
        format!(
            "{:.0}m{:02.0}s",
            (seconds / 60.0).floor(),
            (seconds % 60.0).floor()
        )
    } else {
        let minutes = (seconds / 60.0).floor();
        format!("{:.0}h{:02.0}m", (minutes / 60.0).floor(), minutes % 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"process_start_time_seconds 1000
dashgate_build_info{version="9.9.9"} 1
dashgate_calls_total{model="m",outcome="OK"} 10
dashgate_tokens_total{caller="anonymous",kind="output",model="m"} 100
"#;
    const NOW: &str = r#"process_start_time_seconds 1000
dashgate_build_info{version="9.9.9"} 1
dashgate_calls_in_flight{method="Converse"} 1
dashgate_calls_in_flight_limit 1024
dashgate_calls_total{model="m",outcome="OK"} 25
dashgate_calls_total{model="m",outcome="CANCELLED"} 2
dashgate_calls_total{model="m",outcome="UPSTREAM_RATE"} 3
dashgate_shed_total{reason="OVERLOADED"} 4
dashgate_time_to_first_token_seconds_bucket{model="m",le="0.5"} 10
dashgate_time_to_first_token_seconds_bucket{model="m",le="1"} 20
dashgate_time_to_first_token_seconds_bucket{model="m",le="+Inf"} 20
dashgate_tokens_total{caller="anonymous",kind="output",model="m"} 600
dashgate_tokens_total{caller="team",kind="input",model="m"} 80
"#;

    fn look(page: &str, at: f64) -> Look {
        Look {
            numbers: Numbers::read(page),
            calls: Vec::new(),
            at,
        }
    }

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let board = Board::of(&look(NOW, 1070.0), Some(&look(BEFORE, 1060.0)));
        let close = |found: f64, expected: f64| (found - expected).abs() < 1e-9;
        assert!(close(board.calls_per_second, 2.0), "{board:?}");
        assert!(close(board.failed_per_second, 0.3), "{board:?}");
        assert!(close(board.shed_per_second, 0.4), "{board:?}");
        assert!(close(board.output_tokens_per_second, 50.0), "{board:?}");
        assert!(close(board.uptime_seconds, 70.0), "{board:?}");
        let [model] = &board.models[..] else {
            panic!("{board:?}")
        };
        assert!(close(model.failed, 0.15), "{model:?}");
        assert_eq!(model.ttft_p50_seconds, Some(0.5));
        assert!(close(model.output_tokens, 600.0), "{model:?}");
        let first = Board::of(&look(NOW, 1060.0), None);
        assert!(close(first.calls_per_second, 0.5), "{first:?}");
    }

    #[test]
    fn lines_fit_the_terminal_and_move_no_cursor() {
        let call = InFlight {
            request_id: "\u{1b}[2Jid".to_owned(),
            model: "字".repeat(50),
            age_seconds: 61.5,
            output_tokens: Some(7),
            ..InFlight::default()
        };
        let now = Look {
            calls: vec![call; 50],
            ..look(NOW, 1060.0)
        };
        let lines = Board::of(&now, None).lines(80, 20);
        assert_eq!(lines.len(), 20);
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
        assert!(lines.iter().all(|line| !line.contains(char::is_control)));
        assert_eq!(lines[19], "... and 39 more lines");
        let wide = Board::of(&now, None).lines(200, 100).join("\n");
        for word in [
            "dashgate 9.9.9",
            "up 1m00s",
            "in flight 1 of 1024",
            "1m01s",
            "500 ms",
        ] {
            assert!(wide.contains(word), "{word}\n{wide}");
        }
    }
}
