//! What the bindings need to be used where cargo has built them.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};
use std::process::Command;

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
        let source = root().join("python/psyne/__init__.py");
        std::fs::copy(source, package.join("__init__.py")).unwrap();
        let extension = libraries().join("lib_psyne.so");
        std::os::unix::fs::symlink(extension, package.join("_psyne.abi3.so")).unwrap();
    }
    let mut command = Command::new(PYTHON);
    command.env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}
