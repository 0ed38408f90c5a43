//! C's own tests of the library, with sanitizers, and the header in the languages that read it.

mod support;

use std::process::Command;

use support::{c_against, printed, root, start};

#[test]
fn c_keeps_what_its_header_promises() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("what_c_can_do");
    let sanitized = ["-std=gnu11", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover"];
    let mut cc = c_against("crates/psyne-c/tests/what_c_can_do.c", &program);
    assert!(cc.args(sanitized).status().expect("a C compiler is installed").success());
    let said = printed(start(Command::new(program), &[]), "what_c_can_do");
    assert_eq!(said, "every promise was kept\n");
}

#[test]
fn the_header_is_c_and_cpp() {
    let header = root().join("crates/psyne-c/include/psyne.h");
    for (compiler, language, standard) in [("cc", "c", "-std=c11"), ("c++", "c++", "-std=c++17")] {
        let mut check = Command::new(compiler);
        check.args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]);
        check.args(["-include", header.to_str().unwrap(), "-x", language, "/dev/null"]);
        assert!(check.status().expect("compilers are installed").success(), "{standard}");
    }
}
