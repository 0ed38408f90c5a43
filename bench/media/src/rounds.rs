//! Rounds: ours, the peer, ours, the peer …, each on a server that was just started.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::fetch;
use crate::load::{Http, Load, Report, Window};
use crate::proc::{Guard, LOADER_CORE, on_core};
use crate::publish;
use crate::servers::{Paths, Server, Who, path};

/// A loader that has not reported by then is stuck.
const LOAD_TIMEOUT: Duration = Duration::from_secs(180);
/// Segments in the playlist before segments are asked for.
const SEGMENTS: usize = 3;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Interleaved rounds of each case.
    pub(crate) rounds: usize,
    /// Seconds of a window.
    pub(crate) window_s: f64,
    /// Seconds of a window where units are many.
    pub(crate) short_s: f64,
    /// Parts that are waited for.
    pub(crate) parts: usize,
    /// Times that the browser opens the page.
    pub(crate) pages: usize,
    /// Void rounds are repeated once, but not after this: the whole must end in its time.
    pub(crate) repeat: Duration,
}

impl Plan {
    /// About four minutes.
    pub(crate) const fn quick() -> Self {
        Self {
            rounds: 2,
            window_s: 4.0,
            short_s: 2.0,
            parts: 4,
            pages: 8,
            repeat: Duration::from_secs(120),
        }
    }

    /// About twenty minutes: the figures for docs/benchmarks.md.
    pub(crate) const fn full() -> Self {
        Self { rounds: 5, window_s: 8.0, short_s: 4.0, parts: 15, pages: 20, repeat: Duration::MAX }
    }
}

/// What all cases need.
pub(crate) struct Bench {
    /// How much.
    pub(crate) plan: Plan,
    /// Where.
    pub(crate) paths: Paths,
    /// Since when.
    pub(crate) began: Instant,
}

/// Valid rounds of both.
#[derive(Debug, Default)]
pub(crate) struct Sides<T> {
    /// Ours.
    pub(crate) ours: Vec<T>,
    /// The peer's.
    pub(crate) peer: Vec<T>,
}

impl<T> Sides<T> {
    /// A number from each.
    pub(crate) fn map(&self, number: impl Fn(&T) -> f64) -> Sides<f64> {
        let each = |all: &[T]| all.iter().map(&number).collect();
        Sides { ours: each(&self.ours), peer: each(&self.peer) }
    }
}

/// Says what happens now.
pub(crate) fn say(text: &str) {
    eprintln!("  {text}");
}

impl Bench {
    /// Measures both, one after the other, `rounds` times.
    pub(crate) fn interleave<T>(
        &self,
        rounds: usize,
        mut one: impl FnMut(Who) -> Result<T>,
    ) -> Result<Sides<T>> {
        let mut sides = Sides { ours: Vec::new(), peer: Vec::new() };
        for round in 1..=rounds {
            for who in [Who::Ours, Who::Nginx] {
                let value = one(who).or_else(|error| {
                    if self.began.elapsed() > self.plan.repeat {
                        return Err(error);
                    }
                    say(&format!("{who:?}, round {round}: {error:#}; again"));
                    one(who)
                });
                let value = value.with_context(|| format!("{who:?}, round {round}"))?;
                match who {
                    Who::Ours => sides.ours.push(value),
                    Who::Nginx => sides.peer.push(value),
                }
            }
        }
        Ok(sides)
    }

    /// Starts a loader on its core.
    pub(crate) fn start(&self, core: u32, load: &Load) -> Result<Guard> {
        let own = std::env::current_exe()?;
        let mut command = on_core(core, path(&own)?);
        command.args(["load", &serde_json::to_string(load)?]);
        command.stdout(Stdio::piped());
        Guard::start("loader", &mut command)
    }

    /// Runs a loader to its end. A void round is an error.
    pub(crate) fn load(&self, load: &Load) -> Result<Report> {
        let text = self.start(LOADER_CORE, load)?.output(LOAD_TIMEOUT)?;
        let report: Report = serde_json::from_str(&text).context("the loader's report")?;
        ensure!(report.faults.is_empty(), "void: {}", report.faults.join("; "));
        Ok(report)
    }

    /// What to publish to a server.
    pub(crate) fn feed(&self, server: &Server, mbit_per_s: f64) -> publish::Spec {
        let keys = server.streams.iter().map(|stream| stream.key.clone()).collect();
        publish::Spec { addr: server.rtmp, keys, clip: self.paths.clip(), mbit_per_s }
    }

    /// A window over a server.
    pub(crate) fn window(server: &Server, settle_s: f64, seconds: f64) -> Window {
        Window { pid: server.guard.pid(), settle_s, seconds }
    }

    /// Asks a server for one address.
    pub(crate) fn ask(&self, server: &Server, what: &str, ask: &Ask) -> Result<Report> {
        let trust = ask.tls.then(|| self.paths.cert());
        let addr = if ask.tls { server.https } else { server.http };
        let spec = Http { addr, trust, path: what.into(), connections: ask.connections };
        let window = Self::window(server, 0.7, self.plan.short_s);
        self.load(&Load::Http { spec, window })
    }

    /// Publishes beside whatever is measured, until the guard is dropped.
    pub(crate) fn publish(&self, server: &Server, mbit_per_s: f64) -> Result<Guard> {
        let spec = self.feed(server, mbit_per_s);
        self.start(LOADER_CORE, &Load::Publish { spec, window: None })
    }
}

/// How to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// By HTTPS.
    pub(crate) tls: bool,
    /// On so many connections.
    pub(crate) connections: usize,
}

/// Playlist and newest segment of ours, once it has some.
pub(crate) fn newest(server: &Server) -> Result<(Vec<u8>, String)> {
    let path = server.playlist(0);
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if let Ok(body) = fetch::get(server.http, &path) {
            let text = String::from_utf8_lossy(&body).into_owned();
            let mut lines = text.lines();
            let mut segments = Vec::new();
            while let Some(line) = lines.next() {
                if line.starts_with("#EXTINF") {
                    segments.extend(lines.by_ref().find(|line| !line.starts_with('#')));
                }
            }
            if let Some(last) = segments.get(SEGMENTS - 1..).and_then(<[&str]>::last) {
                return Ok((body, beside(&path, last)));
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("{path} has no {SEGMENTS} segments after 20 s")
}

/// A relative reference, as far as playlists need it.
fn beside(base: &str, reference: &str) -> String {
    if reference.starts_with('/') {
        return reference.into();
    }
    let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/{reference}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved() {
        assert_eq!(beside("/hls/a/video0.m3u8", "video0/1.m4s"), "/hls/a/video0/1.m4s");
        assert_eq!(beside("/hls/a/video0.m3u8", "/x"), "/x");
    }
}
