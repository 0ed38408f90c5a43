//! `cargo xtask bench net`: connections beside their peers. README.md of bench says how.
//!
//! `bench-net ROOT RESULT [--quick] [--only WORD]` measures.

mod association;
mod cases;
#[path = "../../../crates/psyne-rtc/tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bench_report::place;
use bench_report::report::Results;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-net: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [root, result, ref flags @ ..] => measure(Path::new(root), Path::new(result), flags),
        _ => bail!("start it by `cargo xtask bench net`"),
    }
}

fn measure(root: &Path, result: &Path, flags: &[&str]) -> Result<()> {
    let quick = flags.contains(&"--quick");
    let only = flags.iter().skip_while(|flag| **flag != "--only").nth(1);
    let commit = place::commit(root)?;
    let rows = cases::all(if quick { 3 } else { 7 }, only.copied().unwrap_or_default());
    let results = Results { area: "net", machine: place::machine(), commit, quick, rows };
    std::fs::write(result, serde_json::to_string_pretty(&results)? + "\n")
        .with_context(|| result.display().to_string())
}
