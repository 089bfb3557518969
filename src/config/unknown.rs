//! Environment variables that look like settings but are not: most are misspelt.

use super::all_settings;
use super::environment::Environment;
use super::file::distance;
use super::layers::FILE_VARIABLE;

/// The prefix of dashgate's variables.
const PREFIX: &str = "DASHGATE_";

/// Variables that the project's tests and clients read, not the gateway.
const PROJECT_VARIABLES: [&str; 9] = [
    "DASHGATE_BINARY",
    "DASHGATE_CHROMIUM",
    "DASHGATE_CLIENTS_FOLDER",
    "DASHGATE_CLIENTS_GATEWAY",
    "DASHGATE_CLIENTS_TARGET",
    "DASHGATE_REPOSITORY",
    "DASHGATE_REQUIRE_CLIENTS",
    "DASHGATE_REQUIRE_PEERS",
    "DASHGATE_REQUIRE_POSTGRES",
];

/// The largest edit distance at which a name is suggested.
const MAX_DISTANCE: usize = 4;

/// A warning for each unknown variable, with the nearest known one. It is not an error: the
/// variable may belong to another program. Its value is not shown.
pub fn unknown_variables(environment: &dyn Environment) -> Vec<String> {
    let mut names = environment.names();
    names.retain(|name| name.starts_with(PREFIX) && !is_known(name) && !is_set_by_kubernetes(name));
    names.sort_unstable();
    names.iter().map(|name| warning(name)).collect()
}

fn is_known(name: &str) -> bool {
    name == FILE_VARIABLE
        || PROJECT_VARIABLES.contains(&name)
        || all_settings::ALL
            .iter()
            .any(|setting| setting.variable == name)
}

/// Kubernetes sets such variables in every pod for a service called dashgate or dashgate-something.
fn is_set_by_kubernetes(name: &str) -> bool {
    let port = |name: &str| {
        name.split("_PORT_").skip(1).any(|rest| {
            rest.starts_with(|first: char| first.is_ascii_digit()) && rest.contains("_TCP")
        })
    };
    ["_SERVICE_HOST", "_SERVICE_PORT"]
        .iter()
        .any(|end| name.ends_with(end))
        || name.contains("_SERVICE_PORT_")
        || name == "DASHGATE_PORT"
        || port(name)
}

/// The known name that a misspelt one probably means.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Half of a short name may match by chance.
    let most = (name.chars().count() / 2).clamp(1, MAX_DISTANCE);
    let letters = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    // Transposed letters are one mistake, and count as two in the distance.
    let far = |known: &str| match letters(known) == letters(name) {
        true => distance(known, name).min(1),
        false => distance(known, name),
    };
    known
        .map(|known| (far(known), known))
        .min()
        .filter(|(distance, _)| *distance <= most)
        .map(|(_, known)| known)
}

fn warning(name: &str) -> String {
    // Half of a short name may match by chance.
    let own = name.chars().count().saturating_sub(PREFIX.len());
    let most = (own / 2).clamp(1, MAX_DISTANCE);
    let variables = all_settings::ALL.iter().map(|setting| setting.variable);
    let nearest = variables
        .chain([FILE_VARIABLE])
        .map(|known| (distance(known, name), known))
        .min()
        .filter(|(distance, _)| *distance <= most);
    match nearest {
        Some((_, near)) => format!("unknown environment variable {name}; did you mean {near}"),
        None => format!("unknown environment variable {name}; docs/configuration.md lists all"),
    }
}

#[cfg(test)]
mod tests {
    use super::unknown_variables;
    use crate::config::environment::fake::FakeEnvironment;

    #[test]
    fn a_misspelt_variable_is_reported_with_the_nearest_and_without_its_value() {
        let environment = FakeEnvironment::default()
            .variable("DASHGATE_SERVER_LISTN", "canary")
            .variable("DASHGATE_CONFG", "canary")
            .variable("DASHGATE_FOO", "canary")
            .variable("DASHGATE_WHATEVER_IT_MAY_BE", "canary")
            .variable("DASHGATE_SERVER_LISTEN", "127.0.0.1:1")
            .variable("DASHGATE_CONFIG", "d.toml")
            .variable("DASHGATE_REQUIRE_PEERS", "1")
            .variable("DASHGATE_REQUIRE_CLIENTS", "1")
            .variable("DASHGATE_SERVICE_HOST", "10.0.0.1")
            .variable("DASHGATE_SERVICE_PORT_GRPC", "50051")
            .variable("DASHGATE_PORT", "tcp://10.0.0.1:50051")
            .variable("DASHGATE_PORT_50051_TCP_ADDR", "10.0.0.1")
            .variable("DASHGATE_CANARY_PORT_50051_TCP", "tcp://10.0.0.1:50051")
            .variable("HOME", "/");
        let warning = unknown_variables(&environment);
        assert_eq!(
            warning,
            [
                "unknown environment variable DASHGATE_CONFG; did you mean DASHGATE_CONFIG",
                "unknown environment variable DASHGATE_FOO; docs/configuration.md lists all",
                "unknown environment variable DASHGATE_SERVER_LISTN; did you mean \
                 DASHGATE_SERVER_LISTEN",
                "unknown environment variable DASHGATE_WHATEVER_IT_MAY_BE; \
                 docs/configuration.md lists all",
            ]
        );
    }
}
