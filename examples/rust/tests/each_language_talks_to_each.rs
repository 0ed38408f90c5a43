//! Every scenario, with each language at each end.

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{libraries, root};

/// What a scenario sends, and what its receiver must have seen.
struct Scenario {
    name: &'static str,
    count: u64,
    received: &'static str,
    rust: &'static str,
}

const SCENARIOS: [Scenario; 2] = [
    Scenario {
        name: "ticks",
        count: 20_000,
        received: "received 20000 ticks, sum 99995000.0\n",
        rust: env!("CARGO_BIN_EXE_ticks"),
    },
    Scenario {
        name: "frames",
        count: 300,
        // 256 frames of each byte value, and 44 more.
        received: "received 300 frames, sum 2201092096\n",
        rust: env!("CARGO_BIN_EXE_frames"),
    },
];

/// How a scenario's program is run in some language, with a folder for what that takes.
type Run = fn(&Scenario, &Path) -> Command;

const LANGUAGES: [(&str, Run); 3] = [("rust", rust), ("c", c), ("python", python)];

fn rust(scenario: &Scenario, _: &Path) -> Command {
    Command::new(scenario.rust)
}

/// The C program, built against the library that cargo built beside this test.
fn c(scenario: &Scenario, folder: &Path) -> Command {
    let program = folder.join(scenario.name);
    if !program.exists() {
        let mut cc = Command::new("cc");
        cc.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"]);
        cc.arg(root().join(format!("examples/c/{}.c", scenario.name)));
        cc.arg("-I").arg(root().join("crates/psyne-c/include"));
        cc.arg("-L").arg(libraries()).arg("-lpsyne_c");
        cc.arg(format!("-Wl,-rpath,{}", libraries().display()));
        let built = cc.arg("-o").arg(&program).status().expect("a C compiler is installed");
        assert!(built.success(), "{}.c compiles without a warning", scenario.name);
    }
    Command::new(program)
}

fn python(scenario: &Scenario, folder: &Path) -> Command {
    let mut command = support::python(folder);
    command.arg(root().join(format!("examples/python/{}.py", scenario.name)));
    command
}

fn start(mut command: Command, words: &[&str]) -> Child {
    command.args(words).stdout(Stdio::piped()).spawn().expect("the program starts")
}

/// What it printed; it must have succeeded.
fn printed(child: Child, what: &str) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{what}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_language_talks_to_each() {
    let folder = tempfile::tempdir().unwrap();
    for scenario in SCENARIOS {
        let (name, count) = (scenario.name, scenario.count.to_string());
        for (from, sender) in LANGUAGES {
            for (to, receiver) in LANGUAGES {
                let what = format!("{name} from {from} to {to}");
                let address = format!("ipc://examples-{}-{name}-{from}-{to}", std::process::id());
                let receiver = start(receiver(&scenario, folder.path()), &["recv", &address]);
                let sender = start(sender(&scenario, folder.path()), &["send", &address, &count]);
                assert_eq!(printed(sender, &what), format!("sent {count} {name}\n"));
                assert_eq!(printed(receiver, &what), scenario.received, "{what}");
            }
        }
    }
}
