//! Queues, with each language at each end.

mod support;

use support::{LANGUAGES, printed, start};

/// A scenario, how much its sender sends, and what its receiver must have seen.
const SCENARIOS: [(&str, &str, &str); 2] = [
    ("ticks", "20000", "received 20000 ticks, sum 99995000.0\n"),
    // 256 frames of each byte value, and 44 more.
    ("frames", "300", "received 300 frames, sum 2201092096\n"),
];

#[test]
fn each_language_talks_to_each() {
    let folder = tempfile::tempdir().unwrap();
    for (name, count, received) in SCENARIOS {
        for (from, sender) in LANGUAGES {
            for (to, receiver) in LANGUAGES {
                let what = format!("{name} from {from} to {to}");
                let address = format!("ipc://examples-{}-{name}-{from}-{to}", std::process::id());
                let receiver = start(receiver(name, folder.path()), &["recv", &address]);
                let sender = start(sender(name, folder.path()), &["send", &address, count]);
                assert_eq!(printed(sender, &what), format!("sent {count} {name}\n"));
                assert_eq!(printed(receiver, &what), received, "{what}");
            }
        }
    }
}

#[test]
fn help_says_how_a_program_is_run() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["ticks", "frames", "prices", "thermostat", "calculator", "jobs"] {
        for (language, program) in LANGUAGES {
            let what = format!("{name} in {language}");
            let help = printed(start(program(name, folder.path()), &["--help"]), &what);
            assert!(help.contains(&format!("ipc://{name}")), "{what}: {help}");
        }
    }
    for (language, program) in LANGUAGES {
        let lost = start(program("ticks", folder.path()), &["huh"]).wait().unwrap();
        assert!(!lost.success(), "{language}");
    }
}
