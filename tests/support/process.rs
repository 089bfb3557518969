//! The real binary, under the limits of the system.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tonic::body::Body;

/// A gateway in a process of its own. Dropping it ends the process.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
}

impl Process {
    /// Starts it in front of this DashScope, with these settings (or variables), below these limits
    /// of a shell (`ulimit -v 1048576`).
    pub fn start(upstream: SocketAddr, settings: &[(&str, &str)], limits: &str) -> Self {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{limits}\nexec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_dashgate"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env_clear()
            .env("DASHSCOPE_API_KEY", "sk-canary")
            .env(
                "DASHSCOPE_HTTP_BASE_URL",
                format!("http://{upstream}/api/v1"),
            )
            .env("DASHGATE_LOG", "error")
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        for (key, value) in settings {
            // Secrets are not accepted where every process sees them.
            match key.starts_with("DASHGATE_") {
                true => command.env(key, value),
                false => command.args(["--set", &format!("{key}={value}")]),
            };
        }
        let mut child = command.spawn().expect("the gateway starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("a pipe");
        let mut output = BufReader::new(output);
        output.read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ");
        let address = address.unwrap_or_else(|| panic!("it says {line:?}"));
        let address = address.parse().expect("an address");
        // It says little more, and nobody waits for it to be read.
        std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(drop));
        Self { child, address }
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a state").is_none()
    }

    /// The exit code of a process that has ended by itself.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.try_wait().expect("a state")?.code()
    }

    /// The most memory that was ever resident, in bytes.
    pub fn peak(&self) -> usize {
        self.status("VmHWM:")
    }

    /// The memory that is resident now, in bytes.
    pub fn resident(&self) -> usize {
        self.status("VmRSS:")
    }

    fn status(&self, name: &str) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).expect("a process");
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.expect("a line").trim().trim_end_matches(" kB");
        kibibytes.parse::<usize>().expect("a number") << 10
    }

    /// A connection to it of its own.
    pub fn client(&self) -> hyper_util::client::legacy::Client<HttpConnector, Body> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .http2_only(true)
            .timer(TokioTimer::new())
            .build(connector)
    }

    /// Where its services are.
    pub fn origin(&self) -> http::Uri {
        format!("http://{}", self.address).parse().expect("a URI")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
