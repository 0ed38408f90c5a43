//! The pure crates for the browser: they must compile for wasm32.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{setup, sh};

const TARGET: &str = "wasm32-unknown-unknown";
/// Debian's own toolchain, where rustup cannot bring the target; the standard library is compiled
/// from Debian's sources.
const DEBIAN: &[(&str, &str)] = &[
    ("rustc-web", "usr/bin/rustc"),
    ("cargo-web", "usr/bin/cargo"),
    ("rust-web-src", "usr/lib/rustlib/src/rust/library/Cargo.toml"),
];

/// Checks the libraries of these crates.
pub(crate) fn check(crates: &[String]) -> Result<()> {
    let mut cargo = toolchain()?;
    cargo.args(["--lib", "--locked", "--target", TARGET]);
    cargo.args(crates.iter().flat_map(|name| ["-p", name.as_str()]));
    sh::run(cargo).context("the pure crates must compile for wasm32")
}

/// `cargo check` by whichever toolchain has the target.
fn toolchain() -> Result<Command> {
    if sh::has("rustup") {
        let installed =
            sh::output(sh::cmd("rustup", &["target", "list", "--installed"])).unwrap_or_default();
        if installed.lines().any(|line| line == TARGET)
            || sh::run(sh::cmd("rustup", &["target", "add", TARGET])).is_ok()
        {
            return Ok(sh::cargo(&["check"]));
        }
        sh::say("rustup cannot bring the target: taking Debian's toolchain");
    }
    setup::packages(DEBIAN)?;
    let mut cargo = sh::cmd("/usr/bin/cargo", &["check", "-Zbuild-std=std,panic_abort"]);
    // Beside our own output: another compiler's would throw it away.
    cargo.args(["--target-dir", "target/wasm"]);
    // The compiler that runs us names itself and its sources to its children.
    for name in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER"] {
        cargo.env_remove(name);
    }
    cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
    Ok(cargo)
}
