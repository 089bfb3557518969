//! docs/behaviour.md: every row is there once, and the tests that it names exist.

use std::collections::BTreeMap;

use super::fault::{Fault, Rule};

pub(crate) const PAGE: &str = "docs/behaviour.md";

static BEHAVIOUR: Rule = Rule {
    name: "behaviour",
    why: "a promise that no test shows is a hope, and a test that was renamed shows nothing",
    fix: "one row for each id; name a test as `FILE::NAME`, or say `not shown: ...` or \
           `not yet: ...`",
};

/// The ids: a letter and how many there are.
const IDS: [(char, usize); 5] = [('C', 27), ('U', 30), ('S', 17), ('P', 12), ('X', 30)];

/// What is wrong with the page. `source` gives the text of a file.
pub(crate) fn faults<'a>(page: &str, source: impl Fn(&str) -> Option<&'a str>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for (at, line) in page.lines().enumerate() {
        let broken = |found: String| BEHAVIOUR.broken(PAGE, at + 1, found);
        let Some(cells) = cells(line) else {
            continue;
        };
        let [id, _, _, shown] = cells.as_slice() else {
            faults.push(broken(format!("{} cells in a row", cells.len())));
            continue;
        };
        *rows.entry((*id).to_owned()).or_default() += 1;
        let mut named = 0;
        for test in words(shown).filter(|word| word.contains("::")) {
            named += 1;
            if !exists(test, &source) {
                faults.push(broken(format!("there is no test {test}")));
            }
        }
        let excused = ["not shown: ", "not yet: "]
            .iter()
            .any(|word| shown.starts_with(word));
        if excused == (named > 0) {
            faults.push(broken(format!("{id} names a test, or says why not")));
        }
    }
    let ids = IDS
        .iter()
        .flat_map(|(letter, last)| (1..=*last).map(move |n| format!("{letter}{n}")));
    for id in ids {
        let count = rows.remove(&id).unwrap_or_default();
        if count != 1 {
            faults.push(BEHAVIOUR.broken(PAGE, 0, format!("{id} is there {count} times")));
        }
    }
    for id in rows.keys() {
        faults.push(BEHAVIOUR.broken(PAGE, 0, format!("{id} is no id")));
    }
    faults
}

/// The cells of a row of a table, but for heads and rules.
fn cells(line: &str) -> Option<Vec<&str>> {
    let row = line.strip_prefix("| ")?.strip_suffix(" |")?;
    let cells: Vec<_> = row.split(" | ").map(str::trim).collect();
    (cells.first() != Some(&"Id")).then_some(cells)
}

/// What stands in backticks.
fn words(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn exists<'a>(test: &str, source: &impl Fn(&str) -> Option<&'a str>) -> bool {
    let found = test
        .split_once("::")
        .and_then(|(file, name)| Some((source(file)?, name)));
    found.is_some_and(|(text, name)| text.contains(&format!("fn {name}(")))
}

#[cfg(test)]
mod trials {
    use super::super::fault::names;
    use super::*;

    fn page(change: impl Fn(&str) -> String) -> String {
        let ids = IDS
            .iter()
            .flat_map(|(letter, last)| (1..=*last).map(move |n| format!("{letter}{n}")));
        let row = |id: String| change(&format!("| {id} | a | b | `tests/a.rs::shows` |"));
        ids.map(row).collect::<Vec<_>>().join("\n")
    }

    fn broken(page: &str) -> usize {
        let source = |file: &str| (file == "tests/a.rs").then_some("async fn shows() {}");
        names(&faults(page, source)).len()
    }

    #[test]
    fn a_page_with_every_row_is_right() {
        assert_eq!(broken(&page(str::to_owned)), 0);
        let excuse = page(|row| row.replace("`tests/a.rs::shows`", "not yet: nothing is kept"));
        assert_eq!(broken(&excuse), 0);
    }

    #[test]
    fn a_row_that_is_missing_or_there_twice_is_found() {
        let whole = page(str::to_owned);
        let (first, rest) = whole.split_once('\n').unwrap_or_default();
        assert_eq!(broken(rest), 1);
        assert_eq!(broken(&format!("{first}\n{whole}")), 1);
        assert_eq!(broken(&format!("{whole}\n| Z1 | a | b | not yet: c |")), 1);
    }

    #[test]
    fn a_test_that_is_not_there_is_found() {
        let rows: usize = IDS.iter().map(|(_, last)| last).sum();
        for wrong in [
            "`tests/a.rs::show`",
            "`tests/b.rs::shows`",
            "`shows`",
            "yes",
            "not yet",
        ] {
            let all = page(|row| row.replace("`tests/a.rs::shows`", wrong));
            assert_eq!(broken(&all), rows, "{wrong}");
        }
    }
}
