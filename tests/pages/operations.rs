//! The page for operators names what exists, and every alert; the image sets what can be set.

use super::{read, rows, words};

const PAGE: &str = "docs/operations.md";

#[test]
fn the_page_says_for_every_alert_what_to_do() {
    let page = read(PAGE);
    let told: Vec<_> = rows(&page)
        .into_iter()
        .filter_map(|row| words(row.first()?).first().copied())
        .filter(|word| word.starts_with("Dashgate"))
        .collect();
    let text = read("deploy/observability/alerts.yaml");
    let alerts: Vec<_> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert_eq!(told, alerts);
}

#[test]
fn the_image_sets_what_can_be_set_and_runs_as_nobody() {
    let image = read("deploy/Dockerfile");
    let reference = read("docs/configuration.md");
    let variables: Vec<_> = image
        .split_whitespace()
        .filter(|word| word.starts_with("DASHGATE_") && word.contains('='))
        .filter_map(|word| word.split_once('='))
        .collect();
    assert_eq!(variables.len(), 3);
    for (name, _) in variables {
        assert!(
            reference.contains(&format!("`{name}`")),
            "no variable {name}"
        );
    }
    let last = image.rsplit("\nFROM ").next().unwrap_or_default();
    assert!(
        last.starts_with("gcr.io/distroless/static-debian12:nonroot\n"),
        "{last}"
    );
    assert!(image.contains("target-feature=+crt-static"));
    assert!(last.contains("\nUSER 65532:65532\n"));
    // There is no shell to read another form.
    for word in [
        "ENTRYPOINT [",
        "CMD [\"serve\"]",
        "CMD [\"/usr/local/bin/dashgate\", \"health\"]",
    ] {
        assert!(last.contains(word), "{word}");
    }
    let cargo = read("Cargo.toml");
    let oldest = cargo
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "));
    let oldest = oldest.expect("it is named").trim_matches('"');
    assert!(
        image.contains(&format!("FROM rust:{oldest}-")),
        "not {oldest}"
    );
}
