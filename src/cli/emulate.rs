//! `dashgate emulate`: runs the emulator.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::config::{Environment, ProcessEnvironment};
use crate::emulator::{self, Dialect, Script};

use super::error::Failure;
use super::exit::Exit;
use super::serve::{announce, listen, stoppable, until};
use super::terminal::Terminal;

/// Text below the help of `emulate`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  dashgate emulate
  DASHSCOPE_HTTP_BASE_URL=http://127.0.0.1:8089/api/v1 DASHSCOPE_API_KEY=sk-any python app.py
  dashgate emulate --listen 127.0.0.1:0 --script script.json
  dashgate emulate --dialect vllm-omni --model Qwen/Qwen3-Omni-30B-A3B-Instruct

It serves DashScope's HTTP API and its compatible mode, and accepts every key that begins with sk-.
At /v1 it plays a self-hosted OpenAI-style server, which needs no key. A script defines answers and
errors. The first line of stdout is `listening on ADDRESS`.";

/// Arguments of `emulate`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The listen address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8089")]
    listen: SocketAddr,
    /// A JSON file with answers and errors
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// A key to refuse; may be repeated
    #[arg(long, value_name = "KEY")]
    bad_key: Vec<String>,
    /// The server that is played at /v1: vllm, vllm-omni, sglang, sglang-omni, openai or dashscope
    #[arg(long, value_name = "DIALECT", default_value_t)]
    dialect: Dialect,
    /// A model that /v1 serves, and no other; may be repeated [default: every known model]
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// The key that /v1 requires [default: none]
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
}

/// Serves until a signal arrives.
pub(crate) async fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let script = match &arguments.script {
        Some(path) => script(path)?,
        None => Script::default(),
    };
    let mut settings = emulator::EmulatorConfig {
        script,
        dialect: arguments.dialect,
        models: arguments.model,
        api_key: arguments.api_key,
        ..emulator::EmulatorConfig::default()
    };
    settings.bad_keys.extend(arguments.bad_key);
    terminal.be_patient();
    let mut signals = listen()?;
    let address = arguments.listen;
    let taken = |error| Failure::unreachable(format!("cannot listen on {address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(taken)?;
    let local = listener.local_addr().map_err(taken)?;
    announce(&format!("listening on {local}"), terminal);
    let (stop, stopped) = oneshot::channel();
    let running = emulator::serve(listener, settings, until(stopped));
    match stoppable(running, stop, &mut signals, terminal).await {
        Some(Ok(())) => Ok(Exit::Done),
        Some(Err(error)) => Err(Failure::failed("INTERNAL", error.to_string())),
        None => Ok(Exit::Cancelled),
    }
}

fn script(path: &Path) -> Result<Script, Failure> {
    let name = path.display();
    let text = ProcessEnvironment
        .file(path)
        .map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    Script::parse(&text).map_err(|error| Failure::usage(format!("{name}: {error}")))
}
