//! The rules for what lib.rs and Cargo.toml list twice.

use std::collections::BTreeSet;

use super::fault::{Fault, Rule};

static LAYOUT: Rule = Rule {
    name: "layout",
    why: "lib.rs is where a reader begins: a module without a line there is not found",
    fix: "one line \"- [`module`]: ...\" under `# Layout` for each `pub mod` of src/lib.rs",
};
static PROFILES: Rule = Rule {
    name: "profiles",
    why: "a profile inherits the packages of `release`, which are quick to build and not optimized",
    fix: "give each package of profile.release.package the profile's own opt-level",
};

/// The layout in lib.rs names each of its modules once, and nothing else.
pub(crate) fn layout(lib: &str) -> Vec<Fault> {
    const FILE: &str = "src/lib.rs";
    let declared: BTreeSet<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let mut listed = BTreeSet::new();
    let mut faults = Vec::new();
    for (at, line) in lib.lines().enumerate() {
        let name = line.strip_prefix("//! - [`");
        let Some((name, _)) = name.and_then(|rest| rest.split_once("`]: ")) else {
            continue;
        };
        if !declared.contains(name) {
            faults.push(LAYOUT.broken(FILE, at + 1, format!("`{name}` is no module")));
        }
        if !listed.insert(name) {
            faults.push(LAYOUT.broken(FILE, at + 1, format!("`{name}` is listed twice")));
        }
    }
    for name in declared.difference(&listed) {
        faults.push(LAYOUT.broken(FILE, 0, format!("no line for `{name}`")));
    }
    faults
}

/// `dist` and `bench` compile every package as they compile all others, and no profile has a line
/// for the package itself: cargo would ignore `strip`.
pub(crate) fn profiles(manifest: &toml::Table) -> Vec<Fault> {
    let profile = |name: &str| manifest.get("profile")?.as_table()?.get(name)?.as_table();
    let packages = |name| profile(name)?.get("package")?.as_table();
    let quick = packages("release").into_iter().flat_map(toml::Table::keys);
    let mut faults = Vec::new();
    for name in ["release", "dist", "bench"] {
        if packages(name).is_some_and(|all| all.contains_key("dashgate")) {
            let found = format!("profile.{name}.package.dashgate");
            faults.push(PROFILES.broken("Cargo.toml", 0, found));
        }
    }
    for package in quick {
        for name in ["dist", "bench"] {
            let wanted = profile(name).and_then(|profile| profile.get("opt-level"));
            let found = packages(name).and_then(|all| all.get(package)?.get("opt-level"));
            if found.is_none() || found != wanted {
                let found = format!("profile.{name}.package.{package}");
                faults.push(PROFILES.broken("Cargo.toml", 0, found));
            }
        }
    }
    faults
}

#[test]
fn a_module_without_its_line_is_seen() {
    let lib = "//! - [`a`]: x\n//! - [`b`]: y\npub mod a;\npub mod b;\n";
    assert!(layout(lib).is_empty());
    for (wrong, count) in [
        (lib.replace("//! - [`b`]: y\n", ""), 1),
        (lib.replace("pub mod b;\n", ""), 1),
        (lib.replace("[`b`]", "[`a`]"), 2),
    ] {
        assert_eq!(layout(&wrong).len(), count, "{wrong}");
    }
}

#[test]
fn a_package_that_is_not_optimized_is_seen() {
    let faults = |text: &str| {
        let manifest: toml::Table = text.parse().expect("it is TOML");
        profiles(&manifest).len()
    };
    let both = "[profile.release.package]\na.opt-level = 1\n\
        [profile.dist]\nopt-level = 3\npackage.a.opt-level = 3\n\
        [profile.bench]\nopt-level = 3\npackage.a.opt-level = 3\n";
    assert_eq!(faults(both), 0);
    assert_eq!(faults(&both.replace("package.a.opt-level = 3\n", "")), 2);
    let other = both.replacen("package.a.opt-level = 3", "package.a.opt-level = 1", 1);
    assert_eq!(faults(&other), 1);
    assert_eq!(faults("[profile.release]\nopt-level = 0"), 0);
    assert_eq!(faults("[profile.dist]\npackage.dashgate.opt-level = 3"), 1);
}
