//! The list of all settings: the rows of all tables, each with its name, variable, default and the
//! reason for it.

use super::setting::Setting;
use super::{
    callers_table, client_table, live_table, models_table, server_table, store_table,
    telemetry_table, timeouts_table, upstream_table,
};

/// The parts of the table, in the order of the reference.
const PARTS: [&[Setting]; 9] = [
    server_table::ROWS,
    timeouts_table::ROWS,
    upstream_table::ROWS,
    store_table::ROWS,
    models_table::ROWS,
    live_table::ROWS,
    callers_table::ROWS,
    telemetry_table::ROWS,
    client_table::ROWS,
];

/// All settings, in the order of the reference.
pub const ALL: &[Setting] = &joined::<{ length() }>();

/// Looks up a setting by its key.
pub fn find(key: &str) -> Option<&'static Setting> {
    ALL.iter().find(|setting| setting.key == key)
}

#[expect(
    clippy::indexing_slicing,
    reason = "it runs while the gateway is built: an index that is wrong does not compile"
)]
const fn length() -> usize {
    let (mut length, mut part) = (0, 0);
    while part < PARTS.len() {
        length += PARTS[part].len();
        part += 1;
    }
    length
}

#[expect(
    clippy::indexing_slicing,
    reason = "it runs while the gateway is built: an index that is wrong does not compile"
)]
const fn joined<const N: usize>() -> [Setting; N] {
    let mut all = [server_table::ROWS[0]; N];
    let (mut at, mut part, mut row) = (0, 0, 0);
    while at < N {
        if row == PARTS[part].len() {
            (part, row) = (part + 1, 0);
            continue;
        }
        all[at] = PARTS[part][row];
        (at, row) = (at + 1, row + 1);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn keys_and_variables_are_unique_and_texts_are_sentences() {
        for (field, mut names) in [
            ("key", ALL.iter().map(|s| s.key).collect::<Vec<_>>()),
            ("variable", ALL.iter().map(|s| s.variable).collect()),
        ] {
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), ALL.len(), "{field}");
        }
        for setting in ALL {
            assert!(setting.description.ends_with('.'), "{}", setting.key);
            assert!(setting.reason.ends_with('.'), "{}", setting.key);
            let parts = setting.key.split('.').count();
            assert!((2..=3).contains(&parts), "{}", setting.key);
        }
    }
}
