//! Who may call: the settings that decide it, and what may not be left open by accident.

use std::path::PathBuf;

use super::address::Address;
use super::checker::Checker;
use super::fault::Faults;
use super::raw::{Flags, Raw};
use super::settings::Callers;
use super::surroundings::Surroundings;
use super::value;

/// Reads the path of the file of keys only, so that keys can be made before all else is right.
pub fn load_keys_file(flags: &Flags, around: &dyn Surroundings) -> Result<Option<PathBuf>, Faults> {
    let mut raw = Raw::gather(flags, around);
    raw.faults
        .retain(|fault| fault.key == "config" || fault.key == "callers.keys_file");
    let mut checker = Checker::new(&raw);
    let path = keys_file(&mut checker);
    checker.finish(path)
}

/// Reads the section, for a gateway that listens here.
pub(crate) fn callers(checker: &mut Checker<'_>, listen: &Address) -> Callers {
    let callers = Callers {
        keys_file: keys_file(checker),
        allow_anyone: checker.read("callers.allow_anyone", value::switch),
        open_reflection: checker.read("callers.open_reflection", value::switch),
    };
    if callers.are_asked() && callers.allow_anyone {
        checker.clash(
            "callers.allow_anyone",
            "callers.keys_file says who may call, and this says that anyone may",
            "remove one of the two",
        );
    }
    if !listen.is_loopback() && !callers.are_asked() && !callers.allow_anyone {
        checker.clash(
            "server.listen",
            "others can reach this address, and nobody is asked who he is: anyone could call and \
             spend the key for DashScope",
            "set callers.keys_file (`dashgate keys new` makes one), listen on 127.0.0.1, or say \
             --allow-anyone",
        );
    }
    callers
}

fn keys_file(checker: &mut Checker<'_>) -> Option<PathBuf> {
    checker.read("callers.keys_file", |text| {
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::super::surroundings::fake::Fake;
    use super::*;

    fn told(pairs: &[(&str, &str)]) -> Option<String> {
        let flags = pairs.iter().fold(Flags::default(), |flags, (key, value)| {
            flags.with("--set", key, Some(*value))
        });
        let loaded = load(&flags, &Fake::default());
        loaded.err().map(|faults| faults.to_string())
    }

    #[test]
    fn an_address_that_others_reach_is_never_open_by_accident() {
        let keys = ("callers.keys_file", "keys.toml");
        let anyone = ("callers.allow_anyone", "true");
        for listen in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "192.168.1.1:1"] {
            let listen = ("server.listen", listen);
            let refused = told(&[listen]).unwrap();
            assert!(refused.contains("server.listen"), "{refused}");
            assert!(refused.contains("--allow-anyone"), "{refused}");
            assert_eq!(told(&[listen, keys]), None);
            assert_eq!(told(&[listen, anyone]), None);
            let both = told(&[listen, keys, anyone]).unwrap();
            assert!(both.contains("remove one of the two"), "{both}");
        }
        for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
            assert_eq!(told(&[("server.listen", listen)]), None);
        }
    }

    #[test]
    fn the_file_of_keys_is_found_whatever_else_is_wrong() {
        let around = Fake::default()
            .variable("DASHGATE_SERVER_LISTEN", "wrong")
            .variable("DASHGATE_CALLERS_KEYS_FILE", "keys.toml");
        let path = load_keys_file(&Flags::default(), &around).unwrap();
        assert_eq!(path, Some("keys.toml".into()));
        let none = load_keys_file(&Flags::default(), &Fake::default()).unwrap();
        assert_eq!(none, None);
    }
}
