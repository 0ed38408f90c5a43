//! Every scenario, with each language at each end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How a scenario's program is run in one language.
type Program = (&'static str, PathBuf);

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

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("below the root").into()
}

/// The C program, built against the library that cargo built beside this test.
fn compiled(name: &str, folder: &Path) -> PathBuf {
    let beside = std::env::current_exe().unwrap();
    let libraries = beside.parent().unwrap();
    let program = folder.join(name);
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"]);
    cc.arg(root().join(format!("examples/c/{name}.c")));
    cc.arg("-I").arg(root().join("crates/psyne-c/include"));
    cc.arg("-L").arg(libraries).arg("-lpsyne_c");
    cc.arg(format!("-Wl,-rpath,{}", libraries.display()));
    let built = cc.arg("-o").arg(&program).status().expect("a C compiler is installed");
    assert!(built.success(), "{name}.c compiles without a warning");
    program
}

fn start(program: &Path, words: &[&str]) -> Child {
    let mut command = Command::new(program);
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
        let name = scenario.name;
        let programs: [Program; 2] =
            [("rust", scenario.rust.into()), ("c", compiled(name, folder.path()))];
        for (from, sender) in &programs {
            for (to, receiver) in &programs {
                let what = format!("{name} from {from} to {to}");
                let address = format!("ipc://examples-{}-{name}-{from}-{to}", std::process::id());
                let receiver = start(receiver, &["recv", &address]);
                let sender = start(sender, &["send", &address, &scenario.count.to_string()]);
                assert_eq!(printed(sender, &what), format!("sent {} {name}\n", scenario.count));
                assert_eq!(printed(receiver, &what), scenario.received, "{what}");
            }
        }
    }
}
