//! TLS, certificates of callers, and Unix sockets, with programs that are not ours; and `dashgate`
//! itself as the one who calls.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::Case;
use super::certificates::{Authority, Folder};
use super::judge::{QUESTION, converse, equal, holds, json, text};
use super::process::{Said, ask};
use super::server::Server;
use super::tools::Tool;

/// A scan takes some seconds, all else less.
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) const CASES: &[Case] = &[
    ("grpcurl_calls_over_tls", Tool::Grpcurl, grpcurl_over_tls),
    (
        "grpcurl_shows_its_certificate",
        Tool::Grpcurl,
        grpcurl_with_a_certificate,
    ),
    (
        "grpcurl_calls_a_unix_socket",
        Tool::Grpcurl,
        grpcurl_over_a_socket,
    ),
    (
        "the_health_probe_reaches_every_kind_of_listener",
        Tool::HealthProbe,
        probes,
    ),
    ("sslyze_finds_nothing_weak", Tool::Sslyze, scan),
];

/// A gateway, and the files that one needs to call it.
struct Secure {
    server: Server,
    ca: PathBuf,
    client: (PathBuf, PathBuf),
    folder: Folder,
}

fn secure(client_ca: bool) -> Result<Secure, String> {
    let (authority, folder) = (Authority::new("the authority"), Folder::new());
    let (certificate, key) = folder.pair("server", &authority.server("the gateway"));
    let client = folder.pair("client", &authority.client("talk"));
    let ca = folder.write("authority.pem", authority.pem());
    let mut settings = vec![
        format!("server.tls.certificate={}", certificate.display()),
        format!("server.tls.key={}", key.display()),
    ];
    if client_ca {
        settings.push(format!("server.tls.client_ca={}", ca.display()));
    }
    Ok(Secure {
        server: Server::gateway_with("127.0.0.1:0", &settings)?,
        ca,
        client,
        folder,
    })
}

fn run(program: &Path, arguments: &[&str], paths: &[(&str, &Path)]) -> Result<Said, String> {
    let mut command = Command::new(program);
    for (flag, path) in paths {
        command.arg(flag).arg(path);
    }
    ask(command.args(arguments), LIMIT)
}

fn done(said: Said) -> Result<String, String> {
    equal("the exit code", said.code, Some(0))
        .map_err(|why| format!("{why}\n{}\n{}", said.out, said.err))?;
    Ok(said.out)
}

fn failed(what: &str, said: &Said) -> Result<(), String> {
    holds(what, said.code.is_some_and(|code| code != 0), said)
}

/// `dashgate` itself as a caller: `health`, then `ask`.
fn dashgate_calls(address: &str, paths: &[(&str, &Path)]) -> Result<(), String> {
    for verb in ["health", "ask"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dashgate"));
        command.env_clear().args([verb, "--server", address]);
        for (key, path) in paths {
            command.args(["--set", &format!("{key}={}", path.display())]);
        }
        if verb == "ask" {
            command.arg("Hello");
        }
        let said = done(ask(&mut command, LIMIT)?)?;
        holds("it is answered", !said.trim().is_empty(), &said)?;
    }
    Ok(())
}

fn grpcurl_over_tls(grpcurl: &Path) -> Result<(), String> {
    let secure = secure(false)?;
    let address = secure.server.address();
    let method = "dashgate.v1.ConversationService/Converse";
    let arguments = ["-d", QUESTION, address, method];
    let reply = done(run(grpcurl, &arguments, &[("-cacert", &secure.ca)])?)?;
    converse(&json(&reply)?)?;
    failed(
        "one that does not trust it",
        &run(grpcurl, &arguments, &[])?,
    )?;
    let mut clear = vec!["-plaintext"];
    clear.extend(arguments);
    failed("one in the clear", &run(grpcurl, &clear, &[])?)?;
    dashgate_calls(
        &format!("https://{address}"),
        &[("client.tls.ca", &secure.ca)],
    )
}

fn grpcurl_with_a_certificate(grpcurl: &Path) -> Result<(), String> {
    let secure = secure(true)?;
    let address = secure.server.address();
    let check = "grpc.health.v1.Health/Check";
    let (certificate, key) = &secure.client;
    let shown = [
        ("-cacert", secure.ca.as_path()),
        ("-cert", certificate),
        ("-key", key),
    ];
    let reply = json(&done(run(grpcurl, &[address, check], &shown)?)?)?;
    equal("the health", text(&reply, "/status"), "SERVING")?;
    let without = run(grpcurl, &[address, check], &[("-cacert", &secure.ca)])?;
    failed("one without a certificate", &without)?;
    let settings = [
        ("client.tls.ca", secure.ca.as_path()),
        ("client.tls.certificate", certificate),
        ("client.tls.key", key),
    ];
    dashgate_calls(&format!("https://{address}"), &settings)
}

fn grpcurl_over_a_socket(grpcurl: &Path) -> Result<(), String> {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("run")).map_err(|error| error.to_string())?;
    let path = folder.path("run/dashgate.sock");
    let listen = format!("unix:{}", path.display());
    let server = Server::gateway_with(&listen, &[])?;
    equal("the address", server.address(), &listen)?;
    let method = "dashgate.v1.ConversationService/Converse";
    let arguments = ["-plaintext", "-d", QUESTION, &listen, method];
    converse(&json(&done(run(grpcurl, &arguments, &[])?)?)?)?;
    dashgate_calls(&listen, &[])
}

fn probes(probe: &Path) -> Result<(), String> {
    let served = |arguments: &[&str], paths: &[(&str, &Path)]| {
        let said = run(probe, arguments, paths)?;
        equal("the exit code", said.code, Some(0)).map_err(|why| format!("{why}\n{said:?}"))
    };
    let plain = Server::gateway()?;
    served(&["-addr", plain.address()], &[])?;
    let folder = Folder::new();
    let listen = format!("unix:{}", folder.path("d.sock").display());
    let socket = Server::gateway_with(&listen, &[])?;
    served(&["-addr", socket.address()], &[])?;

    let open = secure(false)?;
    let address = ["-addr", open.server.address(), "-tls"];
    served(&address, &[("-tls-ca-cert", &open.ca)])?;
    let closed = secure(true)?;
    let address = ["-addr", closed.server.address(), "-tls"];
    let (certificate, key) = &closed.client;
    let shown = [
        ("-tls-ca-cert", closed.ca.as_path()),
        ("-tls-client-cert", certificate),
        ("-tls-client-key", key),
    ];
    served(&address, &shown)?;
    let without = run(probe, &address, &shown[..1])?;
    failed("one without a certificate", &without)
}

/// Mozilla's "intermediate" is TLS 1.2 and 1.3 with forward secrecy and authenticated ciphers;
/// sslyze ends with 1 if the server bears anything beyond, and the rest of its findings are read.
fn scan(python: &Path) -> Result<(), String> {
    let secure = secure(false)?;
    let report = secure.folder.path("report.json");
    let ca = secure.ca.display().to_string();
    let out = report.display().to_string();
    let arguments = [
        "-m",
        "sslyze",
        "--mozilla_config=intermediate",
        "--certinfo",
        "--heartbleed",
        "--openssl_ccs",
        "--compression",
        "--early_data",
        "--reneg",
        "--ems",
        "--robot",
        "--certinfo_ca_file",
        &ca,
        "--json_out",
        &out,
        secure.server.address(),
    ];
    let said = run(python, &arguments, &[])?;
    let found = done(said)?;
    let report = std::fs::read_to_string(&report).map_err(|error| error.to_string())?;
    weaknesses(&json(&report)?).map_err(|why| format!("{why}\n{found}"))
}

/// What a scan's report says, place by place.
fn weaknesses(report: &Value) -> Result<(), String> {
    let at = |place: &str| {
        let whole = format!("/server_scan_results/0/scan_result/{place}");
        let missing = || format!("{place} is not in the report");
        report.pointer(&whole).ok_or_else(missing)
    };
    for (version, spoken) in [
        ("ssl_2_0", false),
        ("ssl_3_0", false),
        ("tls_1_0", false),
        ("tls_1_1", false),
        ("tls_1_2", true),
        ("tls_1_3", true),
    ] {
        let accepted = at(&format!(
            "{version}_cipher_suites/result/accepted_cipher_suites"
        ))?;
        let accepted = accepted.as_array().ok_or("the suites are no list")?;
        equal(version, !accepted.is_empty(), spoken)?;
    }
    let renegotiation = "session_renegotiation/result";
    for (place, must) in [
        ("heartbleed/result/is_vulnerable_to_heartbleed", false),
        (
            "openssl_ccs_injection/result/is_vulnerable_to_ccs_injection",
            false,
        ),
        ("tls_compression/result/supports_compression", false),
        ("tls_1_3_early_data/result/supports_early_data", false),
        (
            &format!("{renegotiation}/is_vulnerable_to_client_renegotiation_dos"),
            false,
        ),
        (
            &format!("{renegotiation}/supports_secure_renegotiation"),
            true,
        ),
        (
            "tls_extended_master_secret/result/supports_ems_extension",
            true,
        ),
    ] {
        equal(place, at(place)?.as_bool(), Some(must))?;
    }
    Ok(())
}
