//! The examples' programs in each language, and what the bindings need to be used where cargo has
//! built them.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Debian's, which has Debian's NumPy.
const PYTHON: &str = "/usr/bin/python3";

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("below the root").into()
}

/// Where cargo has put libraries for this test.
pub fn libraries() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().into()
}

/// Python that knows the package, which is put together below `folder`.
pub fn python(folder: &Path) -> Command {
    let package = folder.join("psyne");
    if !package.exists() {
        std::fs::create_dir(&package).unwrap();
        for module in ["__init__.py", "_aio.py"] {
            let source = root().join("python/psyne").join(module);
            std::fs::copy(source, package.join(module)).unwrap();
        }
        let extension = libraries().join("lib_psyne.so");
        std::os::unix::fs::symlink(extension, package.join("_psyne.abi3.so")).unwrap();
    }
    let mut command = Command::new(PYTHON);
    command.env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The Rust programs.
const PROGRAMS: [(&str, &str); 6] = [
    ("ticks", env!("CARGO_BIN_EXE_ticks")),
    ("frames", env!("CARGO_BIN_EXE_frames")),
    ("prices", env!("CARGO_BIN_EXE_prices")),
    ("thermostat", env!("CARGO_BIN_EXE_thermostat")),
    ("calculator", env!("CARGO_BIN_EXE_calculator")),
    ("jobs", env!("CARGO_BIN_EXE_jobs")),
];

/// How a scenario's program is run in some language, with a folder for what that takes.
pub type Language = fn(&str, &Path) -> Command;

/// All of them.
pub const LANGUAGES: [(&str, Language); 3] = [("rust", rust), ("c", c), ("python", python_program)];

fn rust(scenario: &str, _: &Path) -> Command {
    let program = PROGRAMS.iter().find(|(name, _)| *name == scenario);
    Command::new(program.expect("it is one of the scenarios").1)
}

/// The C program, built against the library that cargo built beside this test.
fn c(scenario: &str, folder: &Path) -> Command {
    let program = folder.join(scenario);
    if !program.exists() {
        let mut cc = c_against(&format!("examples/c/{scenario}.c"), &program);
        cc.args(["-std=gnu11", "-O1"]);
        let built = cc.status().expect("a C compiler is installed");
        assert!(built.success(), "{scenario}.c compiles without a warning");
    }
    Command::new(program)
}

/// The compiler, told to make a program of a source below the root and that library, and to let
/// nothing pass.
pub fn c_against(source: &str, program: &Path) -> Command {
    let mut cc = Command::new("cc");
    cc.args(["-Wall", "-Wextra", "-Werror"]).arg(root().join(source)).arg("-o").arg(program);
    cc.arg("-I").arg(root().join("crates/psyne-c/include"));
    cc.arg("-L").arg(libraries()).arg("-lpsyne_c");
    cc.arg(format!("-Wl,-rpath,{}", libraries().display()));
    cc
}

fn python_program(scenario: &str, folder: &Path) -> Command {
    let mut command = python(folder);
    command.arg(root().join(format!("examples/python/{scenario}.py")));
    command
}

/// Starts a program whose input and output are ours.
pub fn start(mut command: Command, words: &[&str]) -> Child {
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// What it printed; it must have succeeded.
pub fn printed(child: Child, what: &str) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{what}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
