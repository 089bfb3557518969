//! The layout of Rust code, which rustfmt decides. `cargo fmt --all` does not reach the fuzz
//! targets and the Rust client, because they are workspaces of their own.

use std::path::Path;
use std::process::Command;

/// What is wrong with the packages of these manifests: what rustfmt says.
pub(crate) fn faults<'a>(top: &Path, manifests: impl Iterator<Item = &'a str>) -> Vec<String> {
    let told = |manifest: &str| {
        let output = Command::new(env!("CARGO"))
            .args(["fmt", "--check", "--manifest-path", manifest])
            .args(["--", "-l"])
            .current_dir(top)
            .output()
            .expect("cargo runs");
        // Without rustfmt, this says how to get it.
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (!output.status.success()).then(|| format!("{manifest}: {said}"))
    };
    manifests.filter_map(told).collect()
}

#[test]
fn unformatted_code_is_reported() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("formatting");
    for (name, text, is_formatted) in [
        ("formatted", "fn main() {}\n", true),
        ("unformatted", "fn  main( ){}\n", false),
        ("unreadable", "fn main( {\n", false),
    ] {
        let package = folder.join(name);
        std::fs::create_dir_all(&package).expect("the folder is writable");
        let manifest = format!(
            "[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n\
             [[bin]]\nname = \"{name}\"\npath = \"main.rs\"\n"
        );
        std::fs::write(package.join("Cargo.toml"), manifest).expect("the folder is writable");
        std::fs::write(package.join("main.rs"), text).expect("the folder is writable");
        let manifest = format!("{name}/Cargo.toml");
        let faults = faults(&folder, std::iter::once(manifest.as_str()));
        assert_eq!(faults.is_empty(), is_formatted, "{name}: {faults:?}");
    }
}
