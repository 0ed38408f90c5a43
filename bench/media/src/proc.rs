//! Other processes: what they used, where they run, and that none outlives us.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Kernel clock ticks a second in /proc/PID/stat; the same on every Linux (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used so far, all its threads together.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// User and system time. On loopback the receiver's softirq is in it too.
    pub(crate) cpu_s: f64,
    /// Resident memory.
    pub(crate) rss_kb: f64,
    /// Resident memory that is not a file's.
    pub(crate) anon_kb: f64,
}

impl Usage {
    /// Reads /proc/PID/stat and status.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            std::fs::read_to_string(&path).with_context(|| format!("{path}: has it died?"))
        };
        let stat = read("stat")?;
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: f64 = ticks.filter_map(|text| text.parse::<f64>().ok()).sum();
        let status = read("status")?;
        let kb = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
        };
        Ok(Self { cpu_s: ticks / TICKS_PER_SECOND, rss_kb: kb("VmRSS:"), anon_kb: kb("RssAnon:") })
    }
}

/// A child that dies with us: by `Drop`, and by the kernel if we are killed.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    name: String,
}

impl Guard {
    /// Starts `command`, made by [`on_core`] or [`bound_to_us`].
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("{name} could not be started"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// Its process id. `setpriv` and `taskset` become the program, so it is the program's.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the reason if it has ended.
    pub(crate) fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}", self.name),
        }
    }

    /// Waits for its end and returns what it printed, if stdout is piped.
    pub(crate) fn output(mut self, limit: Duration) -> Result<String> {
        let mut out = self.child.stdout.take().context("stdout is not piped")?;
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut out, &mut text).map(|_| text)
        });
        let end = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                bail!("{} did not end within {} s", self.name, limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let text = reader.join().expect("the reader does not panic")?;
        if !status.success() {
            bail!("{}: {status} {}", self.name, text.trim());
        }
        Ok(text)
    }

    /// Asks it to end and waits up to a few seconds before it is killed.
    pub(crate) fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        if rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok() {
            let end = Instant::now() + Duration::from_secs(5);
            while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It may be gone already, which is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The core that servers have to themselves.
pub(crate) const SERVER_CORE: u32 = 0;
/// The core that loaders have to themselves.
pub(crate) const LOADER_CORE: u32 = 1;

/// A command on one core that the kernel kills when our main thread ends. Start it from there.
pub(crate) fn on_core(core: u32, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "-c", &core.to_string(), program]);
    command.stdin(Stdio::null());
    command
}

/// The same on any core; it is asked to end, so that it can end its own children.
pub(crate) fn bound_to_us(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", program]).stdin(Stdio::null());
    command
}

/// As many open files as we may have. Children inherit it.
pub(crate) fn raise_file_limit() -> Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_usage_is_read_and_grows() {
        let pid = std::process::id();
        let before = Usage::of(pid).unwrap();
        assert!(before.rss_kb >= before.anon_kb && before.anon_kb > 0.0);
        let mut sum = 0_u64;
        while Usage::of(pid).unwrap().cpu_s <= before.cpu_s {
            sum = std::hint::black_box((0..1_000_000_u64).fold(sum, u64::wrapping_add));
        }
    }

    #[test]
    fn a_child_dies_with_its_guard() {
        let guard = Guard::start("sleep", on_core(0, "sleep").arg("60")).unwrap();
        let pid = guard.pid();
        drop(guard);
        assert!(Usage::of(pid).is_err());
    }
}
