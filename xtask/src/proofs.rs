//! What says whether the unsafe code of the channels keeps its promises: loom, Miri, sanitizers.

use anyhow::Result;

use crate::sh;

const CRATE: &str = "psyne-channel";

/// Every interleaving of the index protocols: half a minute; its own build, since atomics are
/// others there.
pub(crate) fn loom() -> Result<()> {
    // Loom's threads have 32 KiB of stack, which code that nothing was optimized away from fills.
    let optimized = format!("profile.dev.package.{CRATE}.opt-level=1");
    let test = ["test", "--locked", "-p", CRATE, "--test", "every_interleaving"];
    let mut command = sh::cargo(&[&test[..], &["--config", &optimized]].concat());
    command.env("RUSTFLAGS", "--cfg loom");
    sh::run(command)
}

/// The tests that need no other process, in an interpreter that sees undefined behaviour.
pub(crate) fn miri() -> Result<()> {
    nightly("miri")?;
    let mut command = cargo(&["miri", "nextest", "run", "--locked", "-p", CRATE]);
    // Tests sleep, and proptest asks for its configuration.
    command.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    sh::run(command)
}

/// What a sanitizer looks for.
#[derive(Clone, Copy)]
pub(crate) enum Sanitizer {
    /// Memory that is not one's own, or is not there any more.
    Address,
    /// Accesses of two threads that nothing orders.
    Thread,
}

/// The tests, the standard library and all dependencies built with a sanitizer.
pub(crate) fn sanitize(what: Sanitizer) -> Result<()> {
    nightly("rust-src")?;
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let name = match what {
        Sanitizer::Address => "address",
        Sanitizer::Thread => "thread",
    };
    let test = ["nextest", "run", "-Zbuild-std", "--target", &target, "--locked", "-p", CRATE];
    let mut command = cargo(&test);
    command.env("RUSTFLAGS", format!("-Zsanitizer={name}"));
    sh::run(command)
}

/// Nightly's cargo, whatever runs us.
fn cargo(args: &[&str]) -> std::process::Command {
    sh::cmd("rustup", &[&["run", "nightly", "cargo"], args].concat())
}

/// Installs the toolchain with a component if that is missing.
fn nightly(component: &str) -> Result<()> {
    let list = ["component", "list", "--toolchain", "nightly", "--installed"];
    let installed = sh::output(sh::cmd("rustup", &list)).unwrap_or_default();
    if installed.lines().any(|line| line.starts_with(component)) {
        return Ok(());
    }
    let install = ["toolchain", "install", "nightly", "--profile", "minimal", "--component"];
    sh::run(sh::cmd("rustup", &[&install[..], &[component]].concat()))
}
