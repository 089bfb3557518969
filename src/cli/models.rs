//! `dashgate models`: the models that a gateway can be asked for.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use dashgate_client::v1 as pb;
use tokio_stream::StreamExt as _;
use tonic::Code;

use super::error::Failure;
use super::exit::Exit;
use super::gateway::Gateway;
use super::gateway_flags::{Choices, timeout};
use super::gateway_output::{self, columns, line};
use super::message_json::{self, Fields, Shown};
use super::schema::Schema;
use super::terminal::Terminal;

/// Text below the help of `models`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  dashgate models
  dashgate models qwen-audio-turbo                  its limits, too
  dashgate models --server gateway.internal:50051   those that your key may use
  dashgate models --json | jq -r '.models[].name'
  dashgate models --json qwen-audio-turbo | jq .limits

Lists the aliases and models that the gateway knows, with their modalities and state. DashScope has
more models, and they can be used without being listed here. Nothing is sent to DashScope. A
self-hosted server is asked for its own list, unless the settings name its models.

The state is what the gateway learned from earlier calls: `available`; `limited`, when a limit is
reached or only a fallback answers; `unavailable`, when calls fail without being sent. The time
behind it is that until calls are sent again.

Without --server, a gateway in this process answers, with the settings of `serve`. With --json,
stdout has one JSON object with the field names of dashgate.v1.Model, on errors
{\"error\": {...}}.";

/// The text for a value that the gateway does not know.
const UNKNOWN: &str = "not known";

/// The most models that are listed: far above those of any gateway.
const MAX_MODELS: usize = 10_000;

/// Arguments of `models`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The model or alias to describe [default: list all]
    name: Option<String>,
    /// The gateway: host:port, http://host:port, https://host:port or unix:/path. Its key is
    /// DASHGATE_API_KEY [default: a gateway in this process] [env: DASHGATE_ADDR]
    #[arg(long, value_name = "ADDR")]
    server: Option<String>,
    /// The root certificates for https, as a PEM file [default: the system's]
    /// [env: DASHGATE_TLS_CA]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// The timeout of each call
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = timeout)]
    timeout: Duration,
    #[command(flatten)]
    choices: Choices,
}

/// Runs the command. With `--json`, a failure is also an object on stdout.
pub(crate) async fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let at = (arguments.server.as_deref(), arguments.tls_ca.as_deref());
    let flags = gateway_output::flags("models", &arguments.choices, at);
    let json = arguments.json;
    gateway_output::print(
        (flags, json, arguments.timeout),
        terminal,
        async |gateway, _| text(gateway, &arguments).await,
    )
    .await
}

/// The output: of one model, or of all.
async fn text(gateway: &Gateway, arguments: &Arguments) -> Result<String, Failure> {
    let schema = Schema::read();
    let json = |model: &pb::Model| message_json::fields(&schema, "Model", model);
    match &arguments.name {
        Some(name) => {
            let model = one(gateway, name, arguments.timeout).await?;
            match arguments.json {
                true => line(&json(&model)),
                false => Ok(description(&model)),
            }
        }
        None => {
            let models = all(gateway, arguments.timeout).await?;
            match arguments.json {
                true => {
                    let models = models.iter().map(|model| Shown::Object(json(model)));
                    let models = Shown::List(models.collect());
                    line(&Fields(vec![("models".to_owned(), models)]))
                }
                false => Ok(table(&models)),
            }
        }
    }
}

async fn one(gateway: &Gateway, name: &str, timeout: Duration) -> Result<pb::Model, Failure> {
    let model = gateway.client.get_model(name).timeout(timeout).await;
    model.map_err(|error| {
        let is_missing = error.code() == Code::NotFound;
        let failure = Failure::from(error);
        match is_missing {
            true => failure.with_advice("`dashgate models` lists those that are known"),
            false => failure,
        }
    })
}

async fn all(gateway: &Gateway, timeout: Duration) -> Result<Vec<pb::Model>, Failure> {
    let list = gateway.client.list_models().timeout(timeout);
    Ok(list.take(MAX_MODELS).collect::<Result<_, _>>().await?)
}

/// One line for each model.
fn table(models: &[pb::Model]) -> String {
    let head = ["NAME", "MODEL", "INPUT", "OUTPUT", "STATE"];
    let rows = models.iter().map(|model| {
        let upstream = match model.upstream_model == model.name {
            true => "-".to_owned(),
            false => model.upstream_model.clone(),
        };
        let modalities = |list: String| {
            if list.is_empty() {
                "-".to_owned()
            } else {
                list
            }
        };
        [
            model.name.clone(),
            upstream,
            modalities(names(model.input_modalities(), ",")),
            modalities(names(model.output_modalities(), ",")),
            state(model),
        ]
    });
    columns(head, rows)
}

/// One line for each property.
fn description(model: &pb::Model) -> String {
    let known = |text: String| match text.is_empty() {
        true => UNKNOWN.to_owned(),
        false => text,
    };
    let limits = model.limits.unwrap_or_default();
    let span = |span: Option<prost_types::Duration>| span.map_or(String::new(), |s| s.to_string());
    let tokens = limits.max_context_tokens;
    let calls = limits.max_calls_in_flight;
    let rows = [
        ("name", model.name.clone()),
        ("model", model.upstream_model.clone()),
        (
            "fallbacks",
            match model.fallbacks.is_empty() {
                true => "none".to_owned(),
                false => model.fallbacks.join(", "),
            },
        ),
        ("upstream", known(names(model.upstream_kinds(), ", "))),
        ("input", known(names(model.input_modalities(), ", "))),
        ("output", known(names(model.output_modalities(), ", "))),
        (
            "streams only",
            if model.stream_only { "yes" } else { "no" }.to_owned(),
        ),
        ("state", state(model)),
        ("max call duration", known(span(limits.max_call_duration))),
        (
            "first event timeout",
            known(span(limits.first_event_timeout)),
        ),
        ("idle timeout", known(span(limits.idle_timeout))),
        ("max audio duration", known(span(limits.max_audio_duration))),
        ("max request", format!("{} bytes", limits.max_request_bytes)),
        (
            "max calls in flight",
            calls.map_or("no limit of its own".to_owned(), |calls| calls.to_string()),
        ),
        (
            "max context",
            known(tokens.map_or(String::new(), |tokens| format!("{tokens} tokens"))),
        ),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        let _ = writeln!(text, "{name:<19}  {value}");
    }
    text
}

/// The state, with the time until calls are sent again.
fn state(model: &pb::Model) -> String {
    let health = model.health.unwrap_or_default();
    let name = short(&health.state());
    match health.retry_after {
        Some(wait) => format!("{name} ({wait})"),
        None => name,
    }
}

/// An enumeration of the schema with short names.
trait Named {
    /// The name in the schema, and the prefix of all its names.
    fn full(&self) -> (&'static str, &'static str);
}

impl Named for pb::Modality {
    fn full(&self) -> (&'static str, &'static str) {
        (self.as_str_name(), "MODALITY_")
    }
}

impl Named for pb::UpstreamKind {
    fn full(&self) -> (&'static str, &'static str) {
        (self.as_str_name(), "UPSTREAM_KIND_")
    }
}

impl Named for pb::ModelState {
    fn full(&self) -> (&'static str, &'static str) {
        (self.as_str_name(), "MODEL_STATE_")
    }
}

/// The name in lower case, without the prefix. A value of a newer schema is `unspecified`.
fn short(value: &impl Named) -> String {
    let (name, prefix) = value.full();
    let name = name.strip_prefix(prefix).unwrap_or(name);
    name.to_lowercase().replace('_', "-")
}

fn names<T: Named>(values: impl Iterator<Item = T>, separator: &str) -> String {
    let names: Vec<_> = values.map(|value| short(&value)).collect();
    names.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> pb::Model {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        pb::Model {
            name: "voice".to_owned(),
            upstream_model: "qwen-audio-turbo".to_owned(),
            fallbacks: vec!["a".to_owned(), "b".to_owned()],
            upstream_kinds: vec![
                pb::UpstreamKind::Dashscope.into(),
                pb::UpstreamKind::DashscopeCompatible.into(),
            ],
            input_modalities: vec![pb::Modality::Text.into(), pb::Modality::Audio.into()],
            limits: Some(pb::ModelLimits {
                max_call_duration: seconds(600),
                max_request_bytes: 6_291_456,
                max_context_tokens: Some(8000),
                ..pb::ModelLimits::default()
            }),
            health: Some(pb::ModelHealth {
                state: pb::ModelState::Limited.into(),
                retry_after: seconds(40),
            }),
            ..pb::Model::default()
        }
    }

    #[test]
    fn a_list_has_a_line_for_each_model_in_columns() {
        let plain = pb::Model {
            name: "m".to_owned(),
            upstream_model: "m".to_owned(),
            ..pb::Model::default()
        };
        assert_eq!(
            table(&[model(), plain]),
            "NAME   MODEL             INPUT       OUTPUT  STATE\n\
             voice  qwen-audio-turbo  text,audio  -       limited (40s)\n\
             m      -                 -           -       unspecified\n"
        );
    }

    #[test]
    fn a_description_names_what_is_unknown() {
        let text = description(&model());
        for line in [
            "model                qwen-audio-turbo",
            "fallbacks            a, b",
            "upstream             dashscope, dashscope-compatible",
            "input                text, audio",
            "output               not known",
            "max call duration    600s",
            "max audio duration   not known",
            "max request          6291456 bytes",
            "max calls in flight  no limit of its own",
            "max context          8000 tokens",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
