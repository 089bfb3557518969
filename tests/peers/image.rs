//! The image: built by Buildah from `deploy/Dockerfile`, and run with nothing but what is in it.
//!
//! No registry is asked. The stage that compiles is taken from this build, and what the image
//! stands on is put together here as distroless is: certificates and a user who is nobody. The
//! program of a test is not static, so it finds the libraries that it was linked with, and nothing
//! else. So a file or a right that it needs and the image lacks is seen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Case;
use super::judge::{equal, holds, json, text};
use super::process::{Said, ask};
use super::tools::{Tool, step};

const LIMIT: Duration = Duration::from_secs(300);

/// What the image stands on, by the name that the Dockerfile calls it.
const BASE: &str = "gcr.io/distroless/static-debian12:nonroot";
const IMAGE: &str = "localhost/dashgate:test";

const USER: &str = "65532:65532";
const PROGRAM: &str = "/usr/local/bin/dashgate";

pub(crate) const CASES: &[Case] = &[(
    "the_image_is_built_and_needs_nothing_that_is_not_in_it",
    Tool::Buildah,
    builds_and_runs,
)];

fn builds_and_runs(buildah: &Path) -> Result<(), String> {
    let yard = Yard::new(buildah)?;
    yard.base()?;
    let source = yard.folder.join("build/out");
    fs::create_dir_all(&source).map_err(told)?;
    let binary = env!("CARGO_BIN_EXE_dashgate");
    fs::copy(binary, source.join("dashgate")).map_err(told)?;
    let context = format!("build={}", yard.folder.join("build").display());
    let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/Dockerfile");
    let mut build = yard.buildah(&["bud", "--pull-never", "--isolation", "chroot"]);
    build
        .args(["--format", "docker", "--build-context", &context, "--file"])
        .arg(dockerfile)
        .args(["--tag", IMAGE])
        .arg(yard.folder.join("build"));
    step(&mut build)?;

    let seen = step(&mut yard.buildah(&["inspect", "--type", "image", IMAGE]))?;
    let seen = json(&seen.out)?;
    equal("the user", text(&seen, "/OCIv1/config/User"), USER)?;
    equal(
        "the signal",
        text(&seen, "/OCIv1/config/StopSignal"),
        "SIGTERM",
    )?;
    equal(
        "what runs",
        text(&seen, "/OCIv1/config/Entrypoint/0"),
        PROGRAM,
    )?;
    equal("what it does", text(&seen, "/OCIv1/config/Cmd/0"), "serve")?;

    let made = step(&mut yard.buildah(&["from", "--pull-never", IMAGE]))?;
    let container = made.out.trim();
    let answer = yard.inside(container, &["--env", "DASHGATE_ADDR="], &["ask", "Hello"])?;
    equal("the exit code of ask", answer.code, Some(0)).map_err(|why| why + &answer.err)?;
    let heard = answer.out.contains("You said: \"Hello\"");
    holds("it answers", heard, &answer.out)?;
    let refused = yard.inside(container, &[], &["serve"])?;
    equal("the exit code of serve", refused.code, Some(2))?;
    let why = refused.err.contains("--allow-anyone");
    holds("it says why it does not serve", why, &refused.err)
}

/// Where Buildah keeps what it makes. All of it is gone in the end.
struct Yard<'a> {
    buildah: &'a Path,
    folder: PathBuf,
}

impl<'a> Yard<'a> {
    fn new(buildah: &'a Path) -> Result<Self, String> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
        let _nothing_was_there = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(told)?;
        Ok(Self { buildah, folder })
    }

    fn buildah(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.buildah);
        command.args(["--storage-driver", "vfs", "--root"]);
        command.arg(self.folder.join("storage")).arg("--runroot");
        command.arg(self.folder.join("run")).args(arguments);
        command
    }

    /// Runs the program in a container, as the image's own user.
    fn inside(&self, container: &str, how: &[&str], arguments: &[&str]) -> Result<Said, String> {
        let mut run = self.buildah(&["run", "--isolation", "chroot", "--user", USER]);
        run.args(how).args([container, "--", PROGRAM]);
        ask(run.args(arguments), LIMIT)
    }

    /// What distroless has, and the libraries of this program.
    fn base(&self) -> Result<(), String> {
        let root = self.folder.join("base");
        for folder in ["etc/ssl/certs", "run", "tmp"] {
            fs::create_dir_all(root.join(folder)).map_err(told)?;
        }
        let wanted = step(Command::new("ldd").arg(env!("CARGO_BIN_EXE_dashgate")))?;
        let libraries = wanted.out.split_whitespace();
        for library in libraries.filter(|word| word.starts_with('/')) {
            let place = root.join(library.trim_start_matches('/'));
            fs::create_dir_all(place.parent().unwrap_or(&root)).map_err(told)?;
            fs::copy(library, place).map_err(told)?;
        }
        let certificates = "etc/ssl/certs/ca-certificates.crt";
        let _there_may_be_none =
            fs::copy(Path::new("/").join(certificates), root.join(certificates));
        let nobody = "nonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
        fs::write(root.join("etc/passwd"), nobody).map_err(told)?;
        let made = step(&mut self.buildah(&["from", "scratch"]))?;
        let container = made.out.trim();
        let mut copy = self.buildah(&["copy", "--quiet", container]);
        step(copy.arg(&root).arg("/"))?;
        step(&mut self.buildah(&["commit", "--quiet", container, BASE])).map(drop)
    }
}

impl Drop for Yard<'_> {
    fn drop(&mut self) {
        let _some_may_be_left = fs::remove_dir_all(&self.folder);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn told(error: std::io::Error) -> String {
    error.to_string()
}
