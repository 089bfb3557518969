//! One case, played by one runner: servers up, job in, result out, judged.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

use super::case::Case;
use super::cut::CutProxy;
use super::emulator::Emulator;
use super::judge::{faults, shown};
use super::language::Language;
use super::outages::{OutageProxy, Restart};
use super::process::{Said, ask};
use super::server::Server;
use super::{certificates, forks, live, made, notation, place, played};

/// Far longer than the slowest case takes, on a machine that is busy with something else.
const CASE_LIMIT: Duration = Duration::from_secs(180);
/// How long a server may need to see that its client is gone.
const END_LIMIT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The variables that name a proxy, in both spellings.
const PROXIES: [(&str, &str); 4] = [
    ("http_proxy", "HTTP_PROXY"),
    ("https_proxy", "HTTPS_PROXY"),
    ("grpc_proxy", "GRPC_PROXY"),
    ("all_proxy", "ALL_PROXY"),
];
/// Nobody listens there.
const DEAD_PROXY: &str = "http://127.0.0.1:9";
/// The end of a log says why it failed.
const LOG_SHOWN: usize = 4000;

/// Plays a case; what is wrong if it did not go as expected.
pub(crate) fn play(
    case: &Case,
    language: Language,
    runner: (&'static str, &'static str),
) -> Result<(), String> {
    let stage = Stage::set(case)?;
    let job = job(case, &stage)?;
    let said = said(case, language, runner, &job).map_err(|why| {
        let log = stage.log();
        format!("{why}\n{log}")
    })?;
    if said.code != Some(0) {
        let (code, err) = (said.code, tail(&said.err));
        return Err(format!(
            "the runner ended with {code:?}\n{err}\njob: {}",
            shown(&job)
        ));
    }
    let mut result = notation::result(&said.out)
        .map_err(|why| format!("{why}\n{}\n{}", tail(&said.out), tail(&said.err)))?;
    if let Some(events) = result.get_mut("live") {
        *events = live::summary(events)?;
    }
    stage.add_what_was_seen(case, &mut result)?;
    let result = Value::Object(result);
    let faults = faults(&expected(case), &result);
    if faults.is_empty() {
        return Ok(());
    }
    let about = &case.about;
    let faults = faults.join("\n  ");
    let (job, result, err, log) = (shown(&job), shown(&result), tail(&said.err), stage.log());
    Err(format!(
        "{about}\nwrong:\n  {faults}\njob: {job}\nresult: {result}\n{err}\n{log}"
    ))
}

/// What a runner says to a job.
fn said(
    case: &Case,
    language: Language,
    (name, argument): (&'static str, &'static str),
    job: &Value,
) -> Result<Said, String> {
    // An environment of its own needs a process that was started in it.
    if language.forks && !case.job.dead_proxy {
        let command = || without_proxies(language.runner("runners", argument));
        return forks::ask(name, command, job, CASE_LIMIT);
    }
    let mut command = without_proxies(language.runner("runner", argument));
    if case.job.dead_proxy {
        for (lower, upper) in PROXIES {
            command.env(lower, DEAD_PROXY).env(upper, DEAD_PROXY);
        }
    }
    ask(&mut command, job.to_string().as_bytes(), CASE_LIMIT)
}

/// What this machine's user has set up must not matter.
fn without_proxies(mut command: Command) -> Command {
    for (lower, upper) in PROXIES.into_iter().chain([("no_proxy", "NO_PROXY")]) {
        command.env_remove(lower).env_remove(upper);
    }
    command
}

/// What must be found: an error is a fault, unless the case speaks of it.
pub(crate) fn expected(case: &Case) -> Value {
    let mut expected = case.expect.clone();
    expected
        .entry("error")
        .or_insert_with(|| json!({"$absent": true}));
    if let Some(bound) = expected.remove("cancelled_within_ms") {
        let ended = json!({"end": "client closed", "end_ms": {"$range": [0, bound]}});
        expected.insert("cancelled".to_owned(), ended);
    }
    Value::Object(expected)
}

/// A path for a socket. In the folder for such things, because it may have a hundred letters only.
fn socket() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("dashgate-{}-{number}.sock", std::process::id());
    format!("unix:{}", std::env::temp_dir().join(name).display())
}

/// A folder for the store of one case. It is removed when it is dropped.
struct StoreFolder(PathBuf);

impl StoreFolder {
    fn new() -> Result<Self, String> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = place::made().join(format!("store-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        Ok(Self(folder))
    }
}

impl Drop for StoreFolder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// A gateway, and what is in front of it.
enum Before {
    Nothing(Server),
    /// What breaks the first connection.
    Cut(Server, CutProxy),
    Outages(OutageProxy),
}

impl Before {
    fn of(case: &Case, gateway: Server, restart: Restart) -> Result<Self, String> {
        if let Some(limit) = case.gateway.cut_after_bytes {
            let target = gateway.address().to_owned();
            let cut = runtime()?.block_on(CutProxy::start(target, limit))?;
            return Ok(Self::Cut(gateway, cut));
        }
        let outages = case.gateway.outages.clone();
        if outages.is_empty() {
            return Ok(Self::Nothing(gateway));
        }
        let proxy = OutageProxy::start(gateway, outages, restart);
        Ok(Self::Outages(runtime()?.block_on(proxy)?))
    }

    fn address(&self) -> String {
        match self {
            Self::Nothing(gateway) => gateway.address().to_owned(),
            Self::Cut(_, cut) => cut.address(),
            Self::Outages(proxy) => proxy.address(),
        }
    }

    fn log(&self) -> String {
        match self {
            Self::Nothing(gateway) | Self::Cut(gateway, _) => gateway.log(),
            Self::Outages(proxy) => proxy.log(),
        }
    }
}

/// The servers of one case.
enum Stage {
    Real {
        gateway: Before,
        emulator: Emulator,
        /// Where it keeps conversations.
        _store: Option<StoreFolder>,
    },
    Played(played::Gateway),
}

impl Stage {
    fn set(case: &Case) -> Result<Self, String> {
        if let Some(calls) = &case.gateway.played {
            let gateway = runtime()?.block_on(played::Gateway::start(calls.clone()))?;
            return Ok(Self::Played(gateway));
        }
        let script = case.upstream.as_ref().map(made::with_bytes);
        let emulator = Emulator::start(script.as_ref())?;
        let settings = case.gateway.settings.iter();
        let mut more: Vec<String> = settings
            .flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")])
            .collect();
        more.extend(certificates::settings(case)?);
        let store = match case.gateway.store {
            true => Some(StoreFolder::new()?),
            false => None,
        };
        // The flag is refused, because other users of a machine can see command lines.
        let variables = Vec::from_iter(store.as_ref().map(|folder| {
            let url = format!("sqlite:{}", folder.0.join("store.db").display());
            ("DASHGATE_STORE_URL", url)
        }));
        let listen = match case.gateway.unix {
            true => socket(),
            false => "127.0.0.1:0".to_owned(),
        };
        let upstream = emulator.url();
        let start = move || Server::gateway(&upstream, &listen, &more, &variables);
        let gateway = Before::of(case, start()?, Arc::new(start))?;
        Ok(Self::Real {
            gateway,
            emulator,
            _store: store,
        })
    }

    fn address(&self) -> String {
        match self {
            Self::Real { gateway, .. } => gateway.address(),
            Self::Played(gateway) => gateway.address(),
        }
    }

    fn log(&self) -> String {
        match self {
            Self::Real { gateway, .. } => tail(&gateway.log()),
            Self::Played(gateway) => tail(&format!("{:?}", gateway.seen())),
        }
    }

    /// What the servers tell, beside what the runner tells.
    fn add_what_was_seen(&self, case: &Case, to: &mut Map<String, Value>) -> Result<(), String> {
        let is_judged = |key: &str| case.expect.contains_key(key);
        if ["upstream", "seen", "cancelled_within_ms"]
            .into_iter()
            .any(is_judged)
        {
            let (key, all) = self.ended()?;
            let last = all.last().cloned().unwrap_or_default();
            to.insert("cancelled".to_owned(), last);
            let all = Value::Array(all);
            let told = if key == "seen" {
                all
            } else {
                json!({"requests": all})
            };
            to.insert(key.to_owned(), told);
        }
        if let (Self::Played(gateway), Some(expected)) = (self, case.expect.get("cancel_calls")) {
            let count = expected.as_array().map_or(0, Vec::len);
            let cancelled = cancelled(gateway, count)?;
            to.insert("cancel_calls".to_owned(), json!(cancelled));
        }
        Ok(())
    }

    /// All requests, once each of them has ended.
    fn ended(&self) -> Result<(&'static str, Vec<Value>), String> {
        let began = Instant::now();
        loop {
            let (key, all) = match self {
                Self::Real { emulator, .. } => ("upstream", emulator.journal()?),
                Self::Played(gateway) => ("seen", gateway.seen()),
            };
            let runs = |seen: &Value| seen.get("end").is_none_or(|end| end == "running");
            if !all.iter().any(runs) {
                return Ok((key, all));
            }
            if began.elapsed() > END_LIMIT {
                let log = self.log();
                return Err(format!(
                    "a request runs on after {END_LIMIT:?}: {all:?}\n{log}"
                ));
            }
            runtime()?.block_on(async { sleep(LOOK_AGAIN).await });
        }
    }
}

/// The request ids that were cancelled, once there are so many. Clients do not wait for it.
fn cancelled(gateway: &played::Gateway, count: usize) -> Result<Vec<String>, String> {
    let began = Instant::now();
    loop {
        let ids = gateway.cancelled();
        if ids.len() >= count || began.elapsed() > END_LIMIT {
            return Ok(ids);
        }
        runtime()?.block_on(async { sleep(LOOK_AGAIN).await });
    }
}

/// What the runner reads: files made, addresses and secrets put in.
fn job(case: &Case, stage: &Stage) -> Result<Value, String> {
    let mut options = case.job.options.clone();
    certificates::put_into(&mut options, case)?;
    let call = made::with_files(&Value::Object(case.job.call.clone()))?;
    Ok(json!({
        "target": case.job.target.replace("{address}", &stage.address()),
        "options": options,
        "call": call,
    }))
}

/// One runtime for all played gateways.
pub(crate) fn runtime() -> Result<&'static Runtime, String> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Runtime::new().ok());
    runtime
        .as_ref()
        .ok_or_else(|| "there is no runtime".to_owned())
}

fn tail(text: &str) -> String {
    let from = text.len().saturating_sub(LOG_SHOWN);
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at));
    text.get(from.unwrap_or(0)..).unwrap_or_default().to_owned()
}
