//! `cargo xtask bench media`: our media server beside nginx. README.md of bench says how.
//!
//! `bench-media ROOT STREAMR SCRATCH RESULT [--quick]` measures; `bench-media load JSON` is a
//! loader that the former starts on another core.

mod cases;
mod clip;
mod fetch;
mod floor;
mod http;
mod load;
mod play;
mod proc;
mod publish;
mod rounds;
mod servers;
mod wait;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bench_report::{place, report, stats};

use crate::load::Report;
use crate::report::Results;
use crate::rounds::{Bench, Plan};
use crate::servers::Paths;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-media: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    proc::raise_file_limit()?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["load", json] => {
            // A loader that fails says why where its starter looks.
            let report = load::run(&serde_json::from_str(json)?).unwrap_or_else(|error| Report {
                faults: vec![format!("{error:#}")],
                ..Report::default()
            });
            println!("{}", serde_json::to_string(&report)?);
            Ok(())
        }
        [root, streamr, scratch, result, ref flags @ ..] => {
            let absolute = |path: &str| std::path::absolute(path);
            let paths = Paths {
                root: absolute(root)?,
                streamr: absolute(streamr)?,
                scratch: absolute(scratch)?,
            };
            measure(paths, &absolute(result)?, flags)
        }
        _ => bail!("start it by `cargo xtask bench media`"),
    }
}

/// `--only WORD` leaves out the cases whose name lacks the word, for work on the bench itself.
fn measure(paths: Paths, result: &PathBuf, flags: &[&str]) -> Result<()> {
    let quick = flags.contains(&"--quick");
    let only = flags.iter().skip_while(|flag| **flag != "--only").nth(1);
    let plan = if quick { Plan::quick() } else { Plan::full() };
    let commit = place::commit(&paths.root)?;
    paths.prepare()?;
    let bench = Bench { plan, paths, began: Instant::now() };
    let rows = cases::all(&bench, only.copied().unwrap_or_default());
    let results = Results { area: "media", machine: place::machine(), commit, quick, rows };
    std::fs::write(result, serde_json::to_string_pretty(&results)? + "\n")
        .with_context(|| result.display().to_string())?;
    std::fs::remove_dir_all(&bench.paths.scratch)?;
    Ok(())
}
