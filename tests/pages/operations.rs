//! The page for operators names what exists, and every alert; the image sets what can be set.

use dashgate::error::Reason;

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
fn the_page_names_settings_and_reasons_that_exist() {
    let reference = read("docs/configuration.md");
    let settings: Vec<_> = rows(&reference)
        .into_iter()
        .filter_map(|row| words(row.first()?).first().copied())
        .collect();
    let sections: Vec<_> = settings
        .iter()
        .filter_map(|name| name.split_once('.'))
        .map(|(section, _)| section)
        .collect();
    let page = read(PAGE);
    let (mut named, mut reasons) = (0, 0);
    for word in page.split('`').skip(1).step_by(2) {
        if let Some((section, _)) = word.split_once('.')
            && sections.contains(&section)
            && !word.contains(' ')
        {
            assert!(settings.contains(&word), "no setting {word}");
            named += 1;
        }
        let loud = |letter: char| letter.is_ascii_uppercase() || letter == '_';
        if word.contains('_') && word.chars().all(loud) {
            let known = Reason::ALL.iter().any(|reason| reason.name() == word);
            let codes = [
                "NOT_SERVING",
                "RESOURCE_EXHAUSTED",
                "FAILED_PRECONDITION",
                "SLOW_CONSUMER",
                "RST_STREAM",
            ];
            // Variables of the environment that every program knows.
            let is_proxy = word.ends_with("_PROXY") || word == "SSL_CERT_FILE";
            assert!(
                known || is_proxy || codes.contains(&word),
                "no reason {word}"
            );
            reasons += 1;
        }
    }
    assert!(
        named > 20 && reasons > 12,
        "{named} settings, {reasons} reasons"
    );
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

#[test]
fn the_pages_of_security_name_settings_that_exist() {
    let reference = read("docs/configuration.md");
    let settings: Vec<_> = rows(&reference)
        .into_iter()
        .filter_map(|row| words(row.first()?).first().copied())
        .filter(|word| word.contains('.'))
        .collect();
    let groups: Vec<_> = settings
        .iter()
        .filter_map(|key| key.split('.').next())
        .collect();
    for page in ["SECURITY.md", "docs/behaviour.md", "docs/security.md"] {
        let text = read(page);
        let named = words(&text).into_iter().filter(|word| {
            let group = word.split_once('.').map(|(group, _)| group);
            let is_key = word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b"._".contains(&b));
            is_key && group.is_some_and(|group| groups.contains(&group))
        });
        let mut count = 0;
        for word in named {
            assert!(
                settings.contains(&word),
                "{page}: there is no setting {word}"
            );
            count += 1;
        }
        assert!(count > 5, "{page}: {count} settings");
    }
}
