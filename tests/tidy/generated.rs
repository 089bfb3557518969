//! Compares committed code with what its generator writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The files that differ between two folders.
pub(crate) fn faults(fresh: &Path, committed: &Path) -> Vec<String> {
    let (fresh, committed) = (files(fresh), files(committed));
    let mut faults = Vec::new();
    for (name, bytes) in &fresh {
        match committed.get(name) {
            None => faults.push(format!("{name} is missing")),
            Some(other) if other != bytes => faults.push(format!("{name} is outdated")),
            Some(_) => {}
        }
    }
    for name in committed.keys().filter(|name| !fresh.contains_key(*name)) {
        faults.push(format!("{name} is not generated"));
    }
    faults
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("the folder exists");
    let file = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, fs::read(entry.path()).expect("it is a readable file"))
    };
    let entries = entries.map(|entry| entry.expect("the folder is readable"));
    entries.map(file).collect()
}

#[test]
fn each_kind_of_difference_is_found() {
    let folder = |name: &str, files: &[(&str, &str)]| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the folder is writable");
        for (name, text) in files {
            fs::write(folder.join(name), text).expect("the folder is writable");
        }
        folder
    };
    let fresh = folder("fresh", &[("a", "1"), ("b", "2"), ("c", "3")]);
    let committed = folder("committed", &[("a", "1"), ("b", "3"), ("d", "4")]);
    assert!(faults(&fresh, &fresh).is_empty());
    assert_eq!(
        faults(&fresh, &committed),
        ["b is outdated", "c is missing", "d is not generated"]
    );
}
