//! `cargo xtask bench channel`: our channels beside their peers. README.md of bench says how.
//!
//! `bench-channel ROOT RESULT [--quick] [--only WORD]` measures; `bench-channel iceoryx …` and
//! `bench-channel other …` are other processes, which the former starts.

mod cases;
mod fan;
mod iceoryx;
mod kill;
mod kill_more;
mod many;
mod processes;
mod queues;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bench_report::place;
use bench_report::report::Results;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-channel: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["iceoryx", ref job @ ..] => iceoryx::other_side(job),
        ["other", ref job @ ..] => processes::other_side(job),
        [root, result, ref flags @ ..] => measure(Path::new(root), Path::new(result), flags),
        _ => bail!("start it by `cargo xtask bench channel`"),
    }
}

fn measure(root: &Path, result: &Path, flags: &[&str]) -> Result<()> {
    let quick = flags.contains(&"--quick");
    let only = flags.iter().skip_while(|flag| **flag != "--only").nth(1);
    let commit = place::commit(root)?;
    let rows = cases::all(if quick { 4 } else { 12 }, only.copied().unwrap_or_default());
    let results = Results { area: "channel", machine: place::machine(), commit, quick, rows };
    std::fs::write(result, serde_json::to_string_pretty(&results)? + "\n")
        .with_context(|| result.display().to_string())
}
