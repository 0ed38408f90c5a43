//! Running other programs, with what they do said out loud.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask lies in the root").to_path_buf()
}

/// A command that runs in the root.
pub(crate) fn cmd(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// `cargo`, the same that runs us.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = cmd(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()), args);
    // What cargo told us of xtask: build scripts that look at it (ring's) would run again, and all
    // that depends on them be built anew, each time that cargo is called by us and by hand in turn.
    for (name, _) in std::env::vars_os() {
        let ours = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_"];
        if name.to_str().is_some_and(|name| ours.iter().any(|begin| name.starts_with(begin))) {
            command.env_remove(name);
        }
    }
    command
}

/// Prints a line for people: what happens now.
pub(crate) fn say(text: &str) {
    use std::io::{IsTerminal, Write};
    let mut err = std::io::stderr().lock();
    // A closed stderr is no reason to stop working.
    let _ = if err.is_terminal() {
        writeln!(err, "\x1b[1;36m▸\x1b[0m {text}")
    } else {
        writeln!(err, "▸ {text}")
    };
}

/// Prints what somebody may want to read by a program.
pub(crate) fn print(text: &str) -> Result<()> {
    use std::io::Write;
    std::io::stdout().lock().write_all(text.as_bytes()).context("stdout is closed")
}

/// Runs a command to its end and says how long it took.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let shown = show(&command);
    say(&shown);
    let start = Instant::now();
    let status = command.status().with_context(|| format!("{shown}: could not be started"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    let seconds = start.elapsed().as_secs_f32();
    if seconds > 5.0 {
        say(&format!("  {seconds:.0} s"));
    }
    Ok(())
}

/// Runs a command quietly and returns what it printed.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let shown = show(&command);
    let out = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{shown}: could not be started"))?;
    if !out.status.success() {
        bail!("{shown}: {}", out.status);
    }
    String::from_utf8(out.stdout).with_context(|| format!("{shown}: printed no UTF-8"))
}

/// Whether a program can be found.
pub(crate) fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    let line = words.join(" ");
    if line.len() <= 160 {
        line
    } else {
        format!("{} …", line.chars().take(158).collect::<String>())
    }
}
