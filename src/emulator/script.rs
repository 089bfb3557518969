//! Scripts: rules that replace the emulator's own answers.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::script_duplicates::duplicate_keys;
use super::script_reader::{MAX_ERRORS, read_rules};
use super::script_rule::{Reply, Rule};

/// Rules for testing a client. The format is documented in `docs/emulator.md`.
#[derive(Clone, Debug, Default)]
pub struct Script {
    rules: Arc<[Rule]>,
}

/// All errors in a script, each with its path and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    lines: Vec<String>,
}

impl Script {
    /// Parses a script. An empty one is `{"rules": []}`.
    ///
    /// # Errors
    ///
    /// Every error in the document, not only the first.
    pub fn parse(json: &str) -> Result<Self, ScriptError> {
        let document: Value = serde_json::from_str(json).map_err(|error| ScriptError {
            lines: vec![format!(
                "line {}, column {}: not JSON ({}); fix the syntax first",
                error.line(),
                error.column(),
                message(&error)
            )],
        })?;
        match read_rules(document, duplicate_keys(json, MAX_ERRORS)) {
            Ok(rules) => Ok(Self {
                rules: rules.into(),
            }),
            Err(lines) => Err(ScriptError { lines }),
        }
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// serde's message without its own position.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((message, _)) => message.to_owned(),
        None => text,
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.lines.len();
        let noun = if count == 1 { "error" } else { "errors" };
        write!(f, "{count} {noun} in the script")?;
        for line in &self.lines {
            write!(f, "\n- {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ScriptError {}

/// The properties of a call that rules match.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    /// The path without the query.
    pub(super) path: &'a str,
    /// The model in the request.
    pub(super) model: &'a str,
    /// The text and the media URLs of the last message.
    pub(super) text: &'a str,
    /// Whether a stream is requested.
    pub(super) stream: bool,
}

/// A rule that matched a call.
#[derive(Clone, Debug)]
pub(super) struct MatchedRule {
    /// Name of the rule, or its index in the script.
    pub(super) name: String,
    /// What it replies.
    pub(super) reply: Reply,
}

/// A script that is being run: it counts the calls for its rules, and can be replaced.
#[derive(Debug, Default)]
pub(super) struct ActiveScript {
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    script: Script,
    counts: Vec<u64>,
}

impl ActiveScript {
    /// Starts a script.
    pub(super) fn new(script: Script) -> Self {
        let active = Self::default();
        active.change(script);
        active
    }

    /// Replaces the script and resets all counts.
    pub(super) fn change(&self, script: Script) {
        let counts = vec![0; script.len()];
        *self.lock() = Running { script, counts };
    }

    /// The first rule that matches a call. A rule counts the calls that reach it and match it
    /// except for its count.
    pub(super) fn matching_rule(&self, call: Call<'_>) -> Option<MatchedRule> {
        let mut running = self.lock();
        let Running { script, counts } = &mut *running;
        for (index, (rule, count)) in script.rules.iter().zip(counts).enumerate() {
            if !matches(rule, call) {
                continue;
            }
            *count = count.saturating_add(1);
            let counted = rule.when.count;
            if counted.is_none_or(|counted| counted.range().contains(count)) {
                let name = rule.name.clone();
                return Some(MatchedRule {
                    name: name.unwrap_or_else(|| format!("rules[{index}]")),
                    reply: rule.reply.clone().unwrap_or_default(),
                });
            }
        }
        None
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Running> {
        // The counts are plain numbers: a panic elsewhere cannot leave them half written.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Paths of the generation endpoints, the default of a rule.
const GENERATION_PATHS: [&str; 3] = [GENERATION, COMPATIBLE_CHAT, OPENAI_CHAT];
/// Paths of the WebSockets, the default of a rule that has fields of them.
const SOCKET_PATHS: [&str; 2] = [REALTIME, INFERENCE];
/// Path of the WebSocket of realtime sessions.
pub(super) const REALTIME: &str = "/api-ws/v1/realtime";
/// Path of the WebSocket of tasks.
pub(super) const INFERENCE: &str = "/api-ws/v1/inference";
/// Path of chat completions in DashScope's compatible mode.
pub(super) const COMPATIBLE_CHAT: &str = "/compatible-mode/v1/chat/completions";
/// Path of chat completions of OpenAI-style servers.
pub(super) const OPENAI_CHAT: &str = "/v1/chat/completions";
/// Path of DashScope's native generation endpoint.
pub(super) const GENERATION: &str = "/api/v1/services/aigc/multimodal-generation/generation";

fn matches(rule: &Rule, call: Call<'_>) -> bool {
    let when = &rule.when;
    let is_about_sockets = rule
        .reply
        .as_ref()
        .is_some_and(|reply| reply.socket.is_some());
    let path = match &when.path {
        Some(pattern) => wildcard(pattern, call.path),
        None if is_about_sockets => SOCKET_PATHS.contains(&call.path),
        None => GENERATION_PATHS.contains(&call.path),
    };
    let model = |pattern: &String| wildcard(pattern, call.model);
    let said = |part: &String| call.text.contains(part.as_str());
    path && when.model.as_ref().is_none_or(model)
        && when.text.iter().all(said)
        && when.stream.is_none_or(|stream| stream == call.stream)
}

/// Whether a text matches a pattern, in which `*` is any text and `?` any one character.
pub(super) fn wildcard(pattern: &str, text: &str) -> bool {
    // Backtracking to one position: the time is bounded by the product of the lengths.
    let (mut pattern, mut text) = (pattern, text);
    let mut again: Option<(&str, &str)> = None;
    loop {
        let mut rest = pattern.chars();
        match (rest.next(), text.chars().next()) {
            (Some('*'), _) => {
                pattern = rest.as_str();
                again = Some((pattern, text));
                continue;
            }
            (Some(wanted), Some(found)) if wanted == found || wanted == '?' => {
                pattern = rest.as_str();
                text = skip(text);
                continue;
            }
            (None, None) => return true,
            (Some(_) | None, Some(_)) => {}
            (Some(_), None) => return false,
        }
        let Some((after_star, from)) = again else {
            return false;
        };
        text = skip(from);
        pattern = after_star;
        again = Some((after_star, text));
    }
}

fn skip(text: &str) -> &str {
    let mut rest = text.chars();
    rest.next();
    rest.as_str()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CALL: Call<'_> = Call {
        path: GENERATION,
        model: "qwen-audio-turbo",
        text: "what is said in this audio?",
        stream: false,
    };

    fn matching_rules(script: &str, call: Call<'_>, times: usize) -> Vec<Option<String>> {
        let script = ActiveScript::new(Script::parse(script).unwrap());
        (0..times)
            .map(|_| {
                script
                    .matching_rule(call)
                    .map(|matching_rule| matching_rule.name)
            })
            .collect()
    }

    #[test]
    fn patterns_match_with_wildcards() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("qwen-audio*", "qwen-audio-turbo", true),
            ("qwen-audio*", "qwen2-audio", false),
            ("qwen*-omni*", "qwen3-omni-flash", true),
            ("qwen*-omni*", "qwen3-vl", false),
            ("a?c", "a声c", true),
            ("a?c", "ac", false),
            ("*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaac", false),
            ("a", "ab", false),
        ] {
            assert_eq!(wildcard(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn rules_match_if_all_conditions_hold() {
        for (when, expected) in [
            ("{}", true),
            (r#"{"model":"qwen-audio*"}"#, true),
            (r#"{"model":"qwen-vl*"}"#, false),
            (r#"{"text":"said in"}"#, true),
            (r#"{"text":"sung in"}"#, false),
            (r#"{"text":["audio","what"]}"#, true),
            (r#"{"text":["audio","sung"]}"#, false),
            (r#"{"stream":true}"#, false),
            (r#"{"path":"/api/v1/uploads"}"#, false),
            (r#"{"path":"/api/*"}"#, true),
            (r#"{"count":2}"#, false),
        ] {
            let script = format!(r#"{{"rules":[{{"match":{when},"reply":{{}}}}]}}"#);
            assert_eq!(
                matching_rules(&script, CALL, 1)[0].is_some(),
                expected,
                "{when}"
            );
        }
        let upload = Call {
            path: "/oss",
            ..CALL
        };
        assert_eq!(
            matching_rules(r#"{"rules":[{"reply":{}}]}"#, upload, 1),
            [None]
        );
    }

    #[test]
    fn rules_count_the_calls_that_reach_them() {
        let script = r#"{"rules":[
            {"name":"second","match":{"count":2},"reply":{}},
            {"name":"third on","match":{"count":{"from":2}},"reply":{}}]}"#;
        let names = matching_rules(script, CALL, 4);
        let names: Vec<_> = names.iter().map(Option::as_deref).collect();
        assert_eq!(
            names,
            [None, Some("second"), Some("third on"), Some("third on")]
        );
    }

    #[test]
    fn every_error_is_reported_with_its_path_and_fix() {
        let error = Script::parse(
            r#"{"rules":[{"match":{"modle":"x","count":0},"reply":{"status":99,
               "delays":{"head_ms":"soon"},"wire":{"cut":{"how":"bite"},"line_end":"nl"},
               "headers":{"bad name":"x"},"raw":{"body_base64":"*"}}},{}]}"#,
        )
        .unwrap_err()
        .to_string();
        for line in [
            "rules[0].match.modle: unknown field `modle`, expected one of `path`, `model`,",
            "rules[0].match.count: must be a whole number from 1",
            "rules[0].reply.status: must be a whole number from 200 to 599",
            "rules[0].reply.delays.head_ms: must be a whole number from 0 to 86400000",
            "rules[0].reply.wire.cut.how: unknown variant `bite`, expected one of `close`,",
            "rules[0].reply.wire.cut: must say one place:",
            "rules[0].reply.wire.line_end: unknown variant `nl`, expected one of `lf`,",
            "rules[0].reply.headers.bad name: is not a name of a header",
            "rules[0].reply.raw.body_base64: must be base64",
            "rules[1].reply: is missing; {} is the emulator's own answer",
        ] {
            assert!(error.contains(line), "{line} is not in {error}");
        }
        assert!(error.starts_with("10 errors in the script\n"), "{error}");
        let error = Script::parse("{\n \"rules\": [}").unwrap_err().to_string();
        assert!(error.contains("line 2, column 12: not JSON"), "{error}");
    }

    /// Replies with errors, and the beginning of each line that reports one.
    const FAULTY_REPLIES: &[(&str, &[&str])] = &[
        (
            r#"[]"#,
            &["reply: invalid type: sequence, expected an object"],
        ),
        (
            r#"{"wire":[],"raw":{"pieces":[{"delay_ms":-1},{"text":"a"},{"base64":"*"}]}}"#,
            &[
                "reply.raw.pieces[0].delay_ms: must be a whole number",
                "reply.raw.pieces[2].base64: must be base64 with padding",
                "reply.wire: invalid type: sequence",
            ],
        ),
        (
            r#"{"answer":{"tool_calls":[{},5,{"name":"f"},{"name":"f","nam":"g"}],
                "chunks":["a",5]}}"#,
            &[
                "reply.answer.tool_calls[0].name: is missing",
                "reply.answer.tool_calls[1]: invalid type: integer `5`, expected an object",
                "reply.answer.tool_calls[3].nam: unknown field `nam`",
                "reply.answer.chunks: must be a text, in double quotes, or a list of texts",
            ],
        ),
        (
            r#"{"answer":{"choices":[{"usage":{}}]}}"#,
            &["reply.answer.choices[0]: choices, speech, usage and output are fields of"],
        ),
        (
            r#"{"answer":{"choices":[5]}}"#,
            &["reply.answer.choices[0]: invalid type: integer `5`, expected an object"],
        ),
        (
            r#"{"answer":{"choices":[]}}"#,
            &["reply.answer.choices: must have 1 to 16 choices"],
        ),
        (
            r#"{"answer":{"text":"a","chunks":["b"],"audio":"*"}}"#,
            &[
                "reply.answer.audio: must be base64 of 24 kHz PCM",
                "reply.answer: chunks conflicts with text",
            ],
        ),
        (
            r#"{"error":{"comment":99,"place":"here"},"raw":{"body":"","pieces":[]}}"#,
            &[
                "reply.error.comment: must be true, false or a whole number from 100 to 999",
                "reply.error.place: unknown variant `here`, expected one of `natural`",
                "reply.raw: body, body_base64 and pieces exclude each other",
            ],
        ),
        (
            r#"{"answer":{"text":"a","choices":[{}]},"raw":{"pieces":[{"text":"a","base64":""}]}}"#,
            &[
                "reply.raw.pieces[0]: text and base64 exclude each other",
                "reply.answer: choices and speech conflict with the fields of a choice",
            ],
        ),
        (
            r#"{"answer":{"images":"a","speech":{}}}"#,
            &["reply.answer: choices and speech conflict with the fields of a choice"],
        ),
        (
            r#"{"status":200,"status":99,"headers":{"a":"1","a":"2"},"status":201}"#,
            &[
                "reply.status: is set twice",
                "reply.headers.a: is set twice",
            ],
        ),
        (
            r#"{"answer":"a","raw":{}}"#,
            &["reply.raw: conflicts with answer"],
        ),
        (
            r#"{"wire":{"cut":{"at_byte":1}},"headers":{"a":"\n"},"request_id":"\n"}"#,
            &[
                "reply.wire.cut.how: is missing",
                "reply.headers.a: must be a text of one line",
                "reply.request_id: must be printable ASCII",
            ],
        ),
    ];

    #[test]
    fn errors_of_replies_are_reported_each_once() {
        for (reply, lines) in FAULTY_REPLIES {
            let script = format!(r#"{{"rules":[{{"reply":{{}}}},{{"reply":{reply}}}]}}"#);
            let error = Script::parse(&script).unwrap_err().to_string();
            for line in *lines {
                assert!(
                    error.contains(&format!("\n- rules[1].{line}")),
                    "{line} is not in {error}"
                );
            }
            assert_eq!(error.lines().count(), 1 + lines.len(), "{error}");
        }
    }

    #[test]
    fn null_is_as_if_the_field_were_absent() {
        for reply in [
            r#"{"answer":null,"error":null,"raw":null,"status":null,"headers":null,
                "request_id":null,"delays":null,"wire":null}"#,
            r#"{"answer":{"text":null,"chunks":null,"tool_calls":null,"annotations":null,
                "audio":null,"beside_text":null,"choices":null,"speech":null,"usage":null}}"#,
            r#"{"error":{"status":null,"code":null,"place":null,"after_chunks":null,
                "comment":null},"delays":{"head_ms":null,"heartbeat_ms":null}}"#,
            r#"{"answer":{"speech":{"pieces":null,"url":null,"id":null,"expires_at":null}},
                "wire":{"cut":null,"line_end":null,"space":null,"split_bytes":null,"body":null}}"#,
            r#"{"raw":{"body":null,"pieces":[{"text":null,"delay_ms":null}]},
                "headers":{"server":null}}"#,
        ] {
            let script = format!(
                r#"{{"rules":[{{"name":null,"match":null,"reply":{reply}}},
                    {{"match":{{"text":null,"count":null,"stream":null}},"reply":{{}}}},
                    {{"match":{{"count":{{"from":null,"to":null}}}},"reply":{{}}}}]}}"#
            );
            if let Err(error) = Script::parse(&script) {
                panic!("{error}\n{script}");
            }
        }
    }

    #[test]
    fn the_built_in_script_is_valid() {
        let script = Script::parse(include_str!("quickstart.json")).unwrap();
        assert_eq!(script.len(), 4);
    }

    #[test]
    fn the_examples_of_the_documentation_are_scripts() {
        let document = include_str!("../../docs/emulator.md");
        let blocks = document.split("```json\n").skip(1);
        let scripts: Vec<_> = blocks
            .map(|block| block.split("```").next().unwrap())
            .collect();
        assert_eq!(scripts.len(), 4);
        for script in scripts {
            if let Err(error) = Script::parse(script) {
                panic!("{error}\n{script}");
            }
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let names = prop::sample::select(vec![
            "rules",
            "match",
            "reply",
            "model",
            "count",
            "from",
            "answer",
            "text",
            "chunks",
            "wire",
            "cut",
            "how",
            "at_byte",
            "raw",
            "pieces",
            "error",
            "place",
            "usage",
            "socket",
            "actions",
            "after",
            "sent",
            "close",
            "transcript",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((names.clone(), inner), 0..6).prop_map(|fields| {
                    fields
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect()
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_parsed_or_refused(text in ".{0,200}") {
            drop(Script::parse(&text));
        }

        #[test]
        fn an_arbitrary_document_is_parsed_or_refused_with_a_path(rule in json()) {
            let document = serde_json::json!({"rules": [rule]}).to_string();
            if let Err(error) = Script::parse(&document) {
                prop_assert!(error.to_string().contains("rules"), "{error}");
            }
        }

        #[test]
        fn every_text_matches_itself_as_a_pattern(text in "[abc*?]{0,12}") {
            prop_assert!(wildcard("*", &text));
            prop_assert!(wildcard(&"?".repeat(text.chars().count()), &text));
        }
    }
}
