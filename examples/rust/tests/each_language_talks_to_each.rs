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
        // All at once: most of the time an interpreter starts, or waits for its other side.
        let mut pairs = Vec::new();
        for (from, sender) in LANGUAGES {
            for (to, receiver) in LANGUAGES {
                let address = format!("ipc://examples-{}-{name}-{from}-{to}", std::process::id());
                let receiver = start(receiver(name, folder.path()), &["recv", &address]);
                let sender = start(sender(name, folder.path()), &["send", &address, count]);
                pairs.push((format!("{name} from {from} to {to}"), sender, receiver));
            }
        }
        for (what, sender, receiver) in pairs {
            assert_eq!(printed(sender, &what), format!("sent {count} {name}\n"));
            assert_eq!(printed(receiver, &what), received, "{what}");
        }
    }
}

#[test]
fn help_says_how_a_program_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut helped = Vec::new();
    for name in ["ticks", "frames", "prices", "thermostat", "calculator", "jobs"] {
        for (language, program) in LANGUAGES {
            let help = start(program(name, folder.path()), &["--help"]);
            helped.push((name, format!("{name} in {language}"), help));
        }
    }
    for (name, what, help) in helped {
        let help = printed(help, &what);
        assert!(help.contains(&format!("ipc://{name}")), "{what}: {help}");
    }
    for (language, program) in LANGUAGES {
        let lost = start(program("ticks", folder.path()), &["huh"]).wait().unwrap();
        assert!(!lost.success(), "{language}");
    }
}
