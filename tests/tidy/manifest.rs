//! The rule for what lib.rs lists twice.

use std::collections::BTreeSet;

use super::fault::{Fault, Rule};

static LAYOUT: Rule = Rule {
    name: "layout",
    why: "lib.rs is where a reader begins: a module without a line there is not found",
    fix: "one line \"- [`module`]: ...\" under `# Layout` for each `pub mod` of src/lib.rs",
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
