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
mod report;
mod rounds;
mod servers;
mod stats;
mod wait;
mod wire;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};

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
    let commit = commit(&paths)?;
    paths.prepare()?;
    let bench = Bench { plan, paths, began: Instant::now() };
    let rows = cases::all(&bench, only.copied().unwrap_or_default());
    let results = Results { area: "media", machine: machine(), commit, quick, rows };
    std::fs::write(result, serde_json::to_string_pretty(&results)? + "\n")
        .with_context(|| result.display().to_string())?;
    std::fs::remove_dir_all(&bench.paths.scratch)?;
    Ok(())
}

/// Processor, cores, memory, kernel.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (cpus, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let after = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = after(&cpus, "model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kb = after(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok());
    let gib = kb.unwrap_or(0.0_f64) / f64::from(1 << 20);
    let kernel = read("/proc/sys/kernel/osrelease");
    let virtual_ = if cpus.contains(" hypervisor") { ", virtual machine" } else { "" };
    format!("{model}, {cores} cores, {gib:.0} GiB, Linux {}{virtual_}", kernel.trim())
}

fn commit(paths: &Paths) -> Result<String> {
    let git = |args: &[&str]| -> Result<String> {
        let out = Command::new("git").args(args).current_dir(&paths.root).output()?;
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    // The results themselves are no change to what is measured.
    let status = git(&["status", "--porcelain", "--", ".", ":!bench/results", ":!docs"])?;
    let dirty = if status.is_empty() { "" } else { "-dirty" };
    Ok(git(&["rev-parse", "HEAD"])? + dirty)
}
