//! A loader is this program again, on the loader's core, with one of these as its argument; it
//! prints a [`Report`] as JSON.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::proc::Usage;
use crate::publish;

/// What to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "load", rename_all = "snake_case")]
pub(crate) enum Load {
    /// Publish; without a window until killed.
    Publish { spec: publish::Spec, window: Option<Window> },
    /// Publish one stream and play it many times.
    Play { feed: publish::Spec, name: String, players: usize, few: usize, window: Window },
    /// Ask for one address over and over.
    Http { spec: Http, window: Window },
    /// Wait for parts with blocking playlist requests.
    Wait { feed: publish::Spec, spec: Wait },
    /// Take what [`Load::FloorServer`] sends.
    Floor { addr: SocketAddr, waiters: usize, rounds: usize },
    /// Send the same bytes to many sockets, as a kernel's best case for [`Load::Wait`].
    FloorServer { addr: SocketAddr, waiters: usize, rounds: usize, bytes: usize },
}

/// Closed-loop requests on connections that stay open.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Http {
    /// Where.
    pub(crate) addr: SocketAddr,
    /// PEM of the certificate to trust; plain HTTP without.
    pub(crate) trust: Option<PathBuf>,
    /// Path to ask for.
    pub(crate) path: String,
    /// How many connections ask.
    pub(crate) connections: usize,
}

/// Blocked playlist reloads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Wait {
    /// HTTP address.
    pub(crate) addr: SocketAddr,
    /// Media playlist.
    pub(crate) path: String,
    /// Connections, each with one request open.
    pub(crate) waiters: usize,
    /// Parts to wait for.
    pub(crate) rounds: usize,
    /// The server.
    pub(crate) pid: u32,
}

/// When to measure which process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    /// The server.
    pub(crate) pid: u32,
    /// Seconds of full load before it.
    pub(crate) settle_s: f64,
    /// Its length.
    pub(crate) seconds: f64,
}

/// What a loader saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Length of the window.
    pub(crate) seconds: f64,
    /// What was delivered in it: requests, or connections served at their rate.
    pub(crate) units: f64,
    /// Bodies' bytes in it.
    pub(crate) bytes: f64,
    /// The server's share of a core.
    pub(crate) cpu: f64,
    /// Our own.
    pub(crate) loader_cpu: f64,
    /// The server at the end of the window.
    pub(crate) usage: Usage,
    /// The server with only a few connections, where that was asked for.
    pub(crate) few: Usage,
    /// Milliseconds from each part's first byte to each waiter.
    pub(crate) waits_ms: Vec<f64>,
    /// Why this round does not count; empty if it does.
    pub(crate) faults: Vec<String>,
}

impl Report {
    /// Notes a fault unless `holds`.
    pub(crate) fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(otherwise());
        }
    }
}

/// What the loop of a loader has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Go on.
    Go,
    /// The window opens now: remember the counters.
    Open,
    /// It closes now: report.
    Close,
}

/// Watches the clock, and the server's usage at both edges of the window.
pub(crate) struct Meter {
    window: Window,
    began: Instant,
    open: Option<(Instant, Usage, Usage)>,
    closed: Report,
}

impl Meter {
    /// Full load begins now.
    pub(crate) fn new(window: &Window) -> Self {
        Self { window: *window, began: Instant::now(), open: None, closed: Report::default() }
    }

    /// Call it all the time.
    pub(crate) fn step(&mut self) -> Result<Step> {
        let now = Instant::now();
        match &self.open {
            None if (now - self.began).as_secs_f64() < self.window.settle_s => Ok(Step::Go),
            None => {
                let ours = Usage::of(std::process::id())?;
                self.open = Some((Instant::now(), Usage::of(self.window.pid)?, ours));
                Ok(Step::Open)
            }
            Some((open, ..)) if (now - *open).as_secs_f64() < self.window.seconds => Ok(Step::Go),
            Some((open, server, ours)) => {
                let usage = Usage::of(self.window.pid)?;
                let seconds = open.elapsed().as_secs_f64();
                let own = Usage::of(std::process::id())?;
                self.closed = Report {
                    seconds,
                    cpu: (usage.cpu_s - server.cpu_s) / seconds,
                    loader_cpu: (own.cpu_s - ours.cpu_s) / seconds,
                    usage,
                    ..Report::default()
                };
                Ok(Step::Close)
            }
        }
    }

    /// What was measured, without the counters. After [`Step::Close`].
    pub(crate) fn report(self) -> Report {
        self.closed
    }
}

/// Does it and reports.
pub(crate) fn run(load: &Load) -> Result<Report> {
    match load {
        Load::Publish { spec, window } => publish::run(spec, window.as_ref()),
        Load::Play { feed, name, players, few, window } => {
            crate::play::run(feed, name, (*players, *few), window)
        }
        Load::Http { spec, window } => crate::http::run(spec, window),
        Load::Wait { feed, spec } => crate::wait::run(feed, spec),
        Load::Floor { addr, waiters, rounds } => crate::floor::receive(*addr, *waiters, *rounds),
        Load::FloorServer { addr, waiters, rounds, bytes } => {
            crate::floor::send(*addr, *waiters, *rounds, *bytes)
        }
    }
}

/// Microseconds since the Unix epoch: the clock that processes of one machine share.
pub(crate) fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_micros() as u64
}
