//! Other processes for tests: this test binary once more, with a job.

#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What tells the other process what to do.
const JOB: &str = "PSYNE_TEST_JOB";

/// Another process; killed at the end.
pub(crate) struct Other(pub(crate) Child);

impl Other {
    /// Starts one that runs the ignored test `child` of the same file, which asks for its [`job`].
    pub(crate) fn start(words: &[&str]) -> Self {
        Self::spawn(Command::new(std::env::current_exe().unwrap()), words)
    }

    /// The same by a command that starts this test binary.
    pub(crate) fn spawn(mut command: Command, words: &[&str]) -> Self {
        let child = command
            .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
            .env(JOB, words.join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits until so many others are at its end of a channel: its death is heard of then.
    #[cfg(not(miri))]
    pub(crate) fn wait_until_met_by(&self, others: usize) {
        use std::time::{Duration, Instant};
        let deadline = Instant::now() + Duration::from_secs(60);
        let met = || {
            let processes = psyne_channel::observe::processes().unwrap();
            let us = processes.into_iter().find(|process| process.pid == self.pid());
            us.is_some_and(|us| us.ends.iter().any(|end| end.others.len() == others))
        };
        while !met() {
            assert!(Instant::now() < deadline, "it met {others} others within a minute");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The rest of the first line that begins with `word`.
    pub(crate) fn says(&mut self, word: &str) -> String {
        let output = BufReader::new(self.0.stdout.take().unwrap());
        let line = output.lines().find_map(|line| Some(line.unwrap().strip_prefix(word)?.into()));
        line.unwrap_or_else(|| panic!("it ended without saying {word:?}"))
    }

    /// As kill -9 does, at whatever instruction it is.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn finish(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The words of this process' job, if it is such another process.
pub(crate) fn job() -> Option<Vec<String>> {
    let words = std::env::var(JOB).ok()?;
    Some(words.split(' ').map(str::to_owned).collect())
}

/// A name that no other test uses.
pub(crate) fn name(what: &str) -> String {
    format!("test/{}/{what}", std::process::id())
}

/// Numbers that differ from run to run do not matter here: only that they are spread.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// For a test that counts what its process holds, which neighbours would change: nextest gives each
/// a process of its own, `cargo test` does not.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    HOLDERS.write().unwrap_or_else(PoisonError::into_inner)
}

/// For those beside it.
pub(crate) fn beside() -> RwLockReadGuard<'static, ()> {
    HOLDERS.read().unwrap_or_else(PoisonError::into_inner)
}

static HOLDERS: RwLock<()> = RwLock::new(());

/// Open files and mappings of this process.
pub(crate) fn held() -> (usize, usize) {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    (files, maps.lines().filter(|line| line.contains("memfd:psyne")).count())
}

/// Names of this process that somebody still has.
pub(crate) fn residue() -> Vec<String> {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let ours = format!("/{}", name(""));
    sockets.lines().filter(|line| line.contains(&ours)).map(str::to_owned).collect()
}
