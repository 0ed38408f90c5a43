//! Where, and of what, a measurement is.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

/// Processor, cores, memory, kernel.
#[must_use]
pub fn machine() -> String {
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

/// What is measured; `-dirty` if files have changed since.
///
/// # Errors
/// Without git.
pub fn commit(root: &Path) -> Result<String> {
    let git = |args: &[&str]| -> Result<String> {
        let out = Command::new("git").args(args).current_dir(root).output()?;
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    // The results themselves are no change to what is measured.
    let status = git(&["status", "--porcelain", "--", ".", ":!bench/results", ":!docs"])?;
    let dirty = if status.is_empty() { "" } else { "-dirty" };
    Ok(git(&["rev-parse", "HEAD"])? + dirty)
}
